package door_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// What a stranger calls itself is bounded and escaped before anybody is told.
func TestNamesOfStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, seen, _ := newDoor(t, 0)
		for _, name := range []string{strings.Repeat("x", 100_000), "alice\r\n\x1b[2Jroot"} {
			r := httptest.NewRequest("POST", "/login", nil)
			r.RemoteAddr = "192.0.2.1:99"
			if err := d.Login(httptest.NewRecorder(), r, name, "wrong"); err == nil {
				t.Errorf("%.20q may log in", name)
			}
			if told := seen.all[len(seen.all)-1]; len(told) > 400 || strings.ContainsAny(told, "\r\n\x1b") {
				t.Errorf("%d octets: %.40q", len(told), told)
			}
		}
	})
}
