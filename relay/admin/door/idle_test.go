package door_test

import (
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// A page that stays open does not keep its session from being idle.
func TestLookingOnIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _, _ := newDoor(t, 0)
		r := httptest.NewRequest("POST", "/login", nil)
		r.RemoteAddr = "127.0.0.1:9"
		in := httptest.NewRecorder()
		if err := d.Login(in, r, "alice", "correct horse"); err != nil {
			t.Fatal(err)
		}
		live := httptest.NewRequest("GET", "/live", nil)
		live.RemoteAddr = r.RemoteAddr
		live.AddCookie(cookieOf(t, in))
		for range 59 {
			time.Sleep(time.Minute)
			if !d.Lasts(live) {
				t.Fatal("the session ends within the hour")
			}
		}
		time.Sleep(2 * time.Minute)
		if d.Lasts(live) || d.Session(live) != nil {
			t.Error("an open page keeps the session")
		}
	})
}
