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

// Of mail that has left since the page was made, the button says that nothing was done, also
// where it asks first.
func TestStalePage(t *testing.T) {
	w := newWorld(t, operator.Operate)
	for _, verb := range []string{"hold", "delete"} {
		w.api = `{"end":{"now":"2026-12-01T04:00:00Z","dry_run":true}}`
		r := w.ask("POST", "/queue/act", url.Values{"verb": {verb}, "id": {"1RK3ZC8Q9D4-7ABC"}, "back": {"/message/1RK3ZC8Q9D4-7ABC"}, "token": {w.token}}, nil)
		to, err := url.Parse(r.Header().Get("Location"))
		if err != nil || r.Code != 303 || to.Path != "/message/1RK3ZC8Q9D4-7ABC" || !strings.Contains(to.Query().Get("done"), "Nothing was done: it is not in the queue any more") {
			t.Errorf("%s: %d to %q: %s", verb, r.Code, r.Header().Get("Location"), r.Body)
		}
		w.api = `{"end":{"now":"2026-12-01T04:00:00Z","messages":1,"deliveries":1}}`
		r = w.ask("POST", "/queue/act", url.Values{"verb": {verb}, "id": {"1RK3ZC8Q9D4-7ABC"}, "token": {w.token}}, nil)
		if asks := strings.Contains(r.Body.String(), "Are you sure?"); asks != (verb == "delete") {
			t.Errorf("%s of what is there: %d %s", verb, r.Code, r.Body)
		}
	}
}
