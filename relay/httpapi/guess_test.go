package httpapi

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// somebody knows one token.
type somebody struct{}

func (somebody) AuthenticateToken(token string, _ netip.Addr) (*identity.User, error) {
	if token == "dawk_good" {
		return &identity.User{Name: "app"}, nil
	}
	return nil, identity.ErrCredentials
}

// logins are the reasons of login events.
type logins []string

func (l *logins) Observe(e relay.Event) { *l = append(*l, e.Reason) }

// Whoever guesses at tokens is shut out for a while, from every door; others
// are not, and neither are the programs behind a proxy of this machine.
func TestGuessingAtTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen logins
		backoff := identity.NewBackoff(3)
		h := NewHandler(Config{Users: somebody{}, Backoff: backoff, Observer: &seen})
		ask := func(client, token string) *http.Response {
			r := httptest.NewRequest("GET", "/v1/messages/x", nil)
			r.RemoteAddr = client
			if token != "" {
				r.Header.Set("Authorization", "Bearer "+token)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Result()
		}
		want := func(client, token string, code int) {
			t.Helper()
			if got := ask(client, token).StatusCode; got != code {
				t.Errorf("%s with %q: %d, want %d", client, token, got, code)
			}
		}
		for range 5 {
			want("192.0.2.1:1", "", 401) // no guess
		}
		for range 3 {
			want("192.0.2.1:1", "dawk_bad", 401)
		}
		want("192.0.2.1:2", "dawk_good", 429)
		if got := ask("192.0.2.1:2", "").Header.Get("Retry-After"); got != "600" {
			t.Errorf("Retry-After: %q", got)
		}
		if !backoff.Blocked(netip.MustParseAddr("192.0.2.1")) {
			t.Error("the other doors do not know")
		}
		want("192.0.2.2:1", "dawk_good", 400)
		for range 9 {
			want("127.0.0.1:1", "dawk_bad", 401)
		}
		want("127.0.0.1:1", "dawk_good", 400)
		for range 3 {
			want("[2001:db8::1]:1", "dawk_bad", 401)
		}
		want("[2001:db8::ffff]:1", "dawk_good", 429) // one /64 is one client
		if n := len(seen); n < 4 || seen[0] != "credentials" || seen[3] != "blocked" {
			t.Errorf("events: %v", seen)
		}
		time.Sleep(identity.BackoffWindow)
		want("192.0.2.1:3", "dawk_good", 400)
	})
}
