package pages_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"dawk/relay/admin/operator"
)

// A form that comes after the session has ended does nothing, and says so.
func TestFormAfterTheSession(t *testing.T) {
	w := newWorld(t, operator.Operate)
	w.cookie = nil
	r := w.ask(http.MethodPost, "/queue/act", url.Values{"verb": {"delete"}, "id": {"1RK3ZC8Q9D4-7ABC"}, "token": {w.token}, "sure": {"yes"}}, nil)
	if page := r.Body.String(); r.Code != 401 || !strings.Contains(page, "nothing was done") || !strings.Contains(page, `name="password"`) {
		t.Errorf("%d %s", r.Code, page)
	}
	if len(w.asked) > 0 {
		t.Errorf("%q", w.asked)
	}
	if r := w.ask(http.MethodPost, "/logout", nil, nil); r.Code != 303 || r.Header().Get("Location") != "/login" {
		t.Errorf("logout: %d to %q", r.Code, r.Header().Get("Location"))
	}
}
