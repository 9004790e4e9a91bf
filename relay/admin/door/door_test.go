package door_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/admin/door"
	"dawk/relay/admin/operator"
	"dawk/relay/identity"
)

// reasons remembers what events say of logins.
type reasons struct{ all []string }

func (r *reasons) Observe(e relay.Event) { r.all = append(r.all, e.Identity+" "+e.Reason) }

// newDoor has the operator alice, password "correct horse", and the token of program.
func newDoor(t *testing.T, limit int) (d *door.Door, e operator.Editor, seen *reasons, token string) {
	t.Helper()
	e = operator.Editor{Path: filepath.Join(t.TempDir(), "operators.toml")}
	hash, err := identity.HashPassword("correct horse")
	if err != nil {
		t.Fatal(err)
	}
	token, tokenHash := identity.NewToken()
	if err := e.Add(operator.Operator{Name: "alice", Role: operator.Operate, Password: hash}); err != nil {
		t.Fatal(err)
	}
	if err := e.AddToken(operator.Token{Name: "program", Role: operator.Read, Hash: tokenHash, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	seen = &reasons{}
	return &door.Door{Operators: operator.Open(e.Path), Sessions: door.NewSessions(), Backoff: identity.NewBackoff(limit),
		Observer: seen, Log: slog.New(slog.DiscardHandler)}, e, seen, token
}

// whoAnswers answers with who asks.
var whoAnswers = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	c := operator.CallerOf(r.Context())
	w.Write([]byte(c.Name + " " + c.Role.String()))
})

func ask(h http.Handler, method, from, authorization string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/v1/stats", nil)
	r.RemoteAddr = from
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, c := range cookies {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, e, _, token := newDoor(t, 0)
		h := d.Programs(whoAnswers)
		const from = "192.0.2.1:99"
		for authorization, want := range map[string]string{"Bearer " + token: "token:program read", "": " nobody", "Bearer dawk_x": " nobody",
			"Basic YTpi": " nobody", "Bearer": " nobody"} {
			if got := ask(h, "POST", from, authorization).Body.String(); got != want {
				t.Errorf("%q: %q, want %q", authorization, got, want)
			}
		}
		time.Sleep(time.Hour)
		if got := ask(h, "GET", from, "Bearer "+token).Body.String(); got != " nobody" {
			t.Errorf("a token whose time is over: %q", got)
		}
		if err := e.RemoveToken("PROGRAM"); err != nil {
			t.Error(err)
		}
	})
}

// Guessing is as slow as over SMTP, with passwords and tokens together.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, seen, token := newDoor(t, 4)
		h := d.Programs(whoAnswers)
		login := func(from, password string) (int, time.Duration) {
			r := httptest.NewRequest("POST", "/login", nil)
			r.RemoteAddr = from
			w, began := httptest.NewRecorder(), time.Now()
			if err := d.Login(w, r, "alice", password); err != nil {
				status, _ := d.Say(err)
				return status, time.Since(began)
			}
			return 200, time.Since(began)
		}
		const far = "192.0.2.1:99"
		for range 2 {
			if status, took := login(far, "wrong"); status != 401 || took != time.Second {
				t.Errorf("a wrong password: %d after %s", status, took)
			}
			ask(h, "GET", far, "Bearer dawk_x")
		}
		if status, _ := login(far, "correct horse"); status != 429 {
			t.Errorf("an address that guessed: %d", status)
		}
		if w := ask(h, "GET", far, "Bearer "+token); w.Code != 429 || w.Header().Get("Retry-After") == "" {
			t.Errorf("an address that guessed, with a token: %d", w.Code)
		}
		if status, _ := login("198.51.100.1:1", "correct horse"); status != 200 {
			t.Errorf("another address: %d", status)
		}
		// Loopback is everybody's: there the name is slowed down, right passwords included.
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			if _, took := login("127.0.0.1:9", "wrong"); took != want*time.Second {
				t.Errorf("a wrong password on loopback: %s, want %s", took, want*time.Second)
			}
		}
		if status, took := login("127.0.0.1:9", "correct horse"); status != 200 || took != 30*time.Second {
			t.Errorf("the right password on loopback: %d after %s", status, took)
		}
		if n := len(seen.all); n < 12 || !slices.Contains(seen.all, "alice ok") || !slices.Contains(seen.all, " blocked") {
			t.Errorf("%q", seen.all)
		}
	})
}

// cookieOf is the session that an answer sets.
func cookieOf(t *testing.T, w *httptest.ResponseRecorder) *http.Cookie {
	t.Helper()
	for _, c := range w.Result().Cookies() {
		if c.MaxAge > 0 {
			return c
		}
	}
	t.Fatal("there is no cookie")
	return nil
}

// TestSessions: a session is new at each login and ends with time, a logout, another
// password, or its person; alone it only looks.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, e, _, _ := newDoor(t, 0)
		h := d.Programs(whoAnswers)
		const from = "127.0.0.1:9"
		login := func(cookies ...*http.Cookie) *http.Cookie {
			r := httptest.NewRequest("POST", "https://relay.test/login", nil)
			r.RemoteAddr, r.TLS = from, nil
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			if err := d.Login(w, r, "Alice", "correct horse"); err != nil {
				t.Fatal(err)
			}
			return cookieOf(t, w)
		}
		looks := func(c *http.Cookie) bool {
			return ask(h, "GET", from, "", c).Body.String() == "alice operate"
		}
		one := login()
		if !one.HttpOnly || one.SameSite != http.SameSiteLaxMode || one.Path != "/" || one.Secure {
			t.Errorf("%+v", one)
		}
		if !looks(one) {
			t.Error("a session does not look")
		}
		if got := ask(h, "POST", from, "", one).Body.String(); got != " nobody" {
			t.Errorf("a session alone acts: %q", got)
		}
		two := login(one)
		if looks(one) || !looks(two) || one.Value == two.Value {
			t.Error("a login does not end the session before it")
		}
		time.Sleep(59 * time.Minute)
		if !looks(two) {
			t.Error("a session that was used within an hour has ended")
		}
		time.Sleep(61 * time.Minute)
		if looks(two) {
			t.Error("a session that was idle for an hour goes on")
		}
		three := login()
		for range 13 {
			time.Sleep(55 * time.Minute)
			looks(three)
		}
		time.Sleep(20 * time.Minute)
		if looks(three) {
			t.Error("a session lasts for more than twelve hours")
		}
		four := login()
		hash, err := identity.HashPassword("another horse")
		if err != nil {
			t.Fatal(err)
		}
		if err := e.SetPassword("alice", hash); err != nil {
			t.Fatal(err)
		}
		if looks(four) {
			t.Error("a session outlives its password")
		}
	})
}

// A session over TLS has a cookie that only TLS carries.
func TestSecureCookie(t *testing.T) {
	d, _, _, _ := newDoor(t, 0)
	r := httptest.NewRequest("POST", "/login", nil)
	r.RemoteAddr = "127.0.0.1:9"
	r.Header.Set("X-Forwarded-Proto", "https")
	w := httptest.NewRecorder()
	if err := d.Login(w, r, "alice", "correct horse"); err != nil {
		t.Fatal(err)
	}
	if c := cookieOf(t, w); !c.Secure || !strings.HasPrefix(c.Name, "__Host-") {
		t.Errorf("%+v", c)
	}
}

// While the file has mistakes nobody gets in, and its sentence is not for strangers.
func TestBrokenFile(t *testing.T) {
	d := &door.Door{Operators: operator.Open(t.TempDir()), Sessions: door.NewSessions(), Backoff: identity.NewBackoff(0),
		Observer: relay.Observers{}, Log: slog.New(slog.DiscardHandler)}
	w := ask(d.Programs(whoAnswers), "GET", "192.0.2.1:9", "Bearer dawk_x")
	if w.Code != 503 || strings.Contains(w.Body.String(), "/") && strings.Contains(w.Body.String(), "tmp") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
