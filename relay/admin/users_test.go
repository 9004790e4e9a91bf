package admin_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"dawk/relay/admin"
)

func TestHoldsOfUsers(t *testing.T) {
	s := newStore()
	h := handlerFor(admin.Config{Queue: s, Dispatcher: s,
		Holds: func() []admin.UserHold { return []admin.UserHold{{Name: "alice", Rule: "a flood"}} },
		ReleaseUser: func(name string) (admin.UserHold, error) {
			if name != "alice@x/y" {
				return admin.UserHold{}, fmt.Errorf("%s: %w", name, admin.ErrNotHeld)
			}
			return admin.UserHold{Name: name}, nil
		}})
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/holds", 200, "a flood"},
		{"GET", "/v1/health", 200, "the user alice is on hold: a flood"},
		{"POST", "/v1/holds/release?name=alice@x/y", 200, "alice@x/y"},
		{"POST", "/v1/holds/release?name=bob", 404, "not on hold"},
		{"GET", "/v1/devices", 501, "profile"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.body) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}
