package door_test

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// What a link of another site asks for is not asked by the person whose browser
// follows it, and no answer of the API is a page.
func TestLinksOfOthers(t *testing.T) {
	d, _, _, _ := newDoor(t, 0)
	h := d.Programs(whoAnswers)
	login := httptest.NewRequest("POST", "/login", nil)
	login.RemoteAddr = "127.0.0.1:9"
	in := httptest.NewRecorder()
	if err := d.Login(in, login, "alice", "correct horse"); err != nil {
		t.Fatal(err)
	}
	for site, want := range map[string]string{"cross-site": " nobody", "same-site": " nobody", "same-origin": "alice operate",
		"none": "alice operate", "": "alice operate"} {
		r := httptest.NewRequest("GET", "/v1/queue/1RK3ZC8Q9D4-7ABC/content", nil)
		r.RemoteAddr = "127.0.0.1:9"
		r.AddCookie(cookieOf(t, in))
		r.Header.Set("Sec-Fetch-Site", site)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Body.String(); got != want {
			t.Errorf("%q: %q, want %q", site, got, want)
		}
		if v := w.Header(); v.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(v.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%v", v)
		}
	}
}
