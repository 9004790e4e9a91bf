package mx_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/replies"
)

// secret is a Credential that a test controls.
type secret struct {
	mu      sync.Mutex
	token   string
	err     error
	again   bool
	refused int
}

func (s *secret) Token(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token, s.err
}

func (s *secret) Refused(string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused++
	if s.again {
		s.token = "good"
	}
	return s.again
}

type holds struct {
	mu   sync.Mutex
	told []bool
}

func (h *holds) note(_ string, held bool, _ relay.Reply) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = append(h.told, held)
}

// smartHost is a transport with one route to a server.
func smartHost(t *testing.T, cfg mxtest.Config, r mx.Route, probe time.Duration) (*mx.Transport, *mxtest.Server, *holds) {
	t.Helper()
	srv, err := mxtest.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	h := &holds{}
	r.Name, r.To, r.User = "office", []string{"*"}, "scanner@example.org"
	r.Via = []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, Routes: []mx.Route{r}, HoldProbe: probe, OnHold: h.note, IdleTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr, srv, h
}

type failingLookup struct{}

func (failingLookup) LookupMX(context.Context, string) (a dns.Answer[dns.MX], err error) {
	return a, errors.New("not asked")
}

func (failingLookup) LookupAddrs(context.Context, string, string) (a dns.Answer[netip.Addr], err error) {
	return a, errors.New("not asked")
}

func isGood(s string) bool { return strings.HasPrefix(s, "good") }

func TestMechanisms(t *testing.T) {
	long := "good" + strings.Repeat("x", 7000)
	for _, c := range []struct {
		name, offer, auth string
		token             bool
		secret            string
		want              string // the AUTH command begins so
		refusal           string // part of the reply; "": it works
	}{
		{"microsoft", "LOGIN XOAUTH2", "", true, "good", "AUTH XOAUTH2 dXNlcj", ""},
		{"long token after the 334", "LOGIN XOAUTH2", "", true, long, "AUTH XOAUTH2", ""},
		{"bearer", "OAUTHBEARER", "", true, "good", "AUTH OAUTHBEARER bixh", ""},
		{"bearer refused", "OAUTHBEARER", "", true, "bad", "AUTH OAUTHBEARER", "535 5.7.8 wrong name or password (the server says status 400, scope https://mail.google.com/)"},
		{"too long", "XOAUTH2", "", true, strings.Repeat("x", 10000), "", "more than SMTP can carry"},
		{"password where only tokens go", "XOAUTH2", "", false, "pw", "", "takes no password any more, only OAuth2"},
		{"login", "LOGIN XOAUTH2", "", false, "pw", "AUTH LOGIN", ""},
		{"scram", "SCRAM-SHA-256", "", false, "pw", "AUTH SCRAM-SHA-256 biws", ""},
		{"scram wrong", "SCRAM-SHA-256", "", false, "wrong", "AUTH SCRAM-SHA-256", "535"},
		{"chosen", "PLAIN LOGIN SCRAM-SHA-256", "scram-sha-256", false, "pw", "AUTH SCRAM-SHA-256", ""},
		{"not offered", "PLAIN", "login", false, "pw", "", `does not offer auth = "login", but only: PLAIN`},
		{"external", "EXTERNAL", "external", false, "", "AUTH EXTERNAL c2Nhbm5lckBleGFtcGxlLm9yZw==", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr, srv, _ := smartHost(t, mxtest.Config{Auth: c.offer, Good: isGood, Users: map[string]string{"scanner@example.org": "pw"}},
				mx.Route{Auth: c.auth, Token: c.token, Credential: &secret{token: c.secret}}, 0)
			res := tr.Deliver(t.Context(), task(t, letter, "b@b.test"))
			if got := res.Replies[0].String(); c.refusal == "" && !res.Replies[0].Positive() || !strings.Contains(got, c.refusal) {
				t.Error(got)
			}
			if res.Replies[0].Permanent() {
				t.Error("trouble with a login bounces mail")
			}
			said := ""
			for _, line := range srv.Commands() {
				if strings.Contains(line, " AUTH ") {
					said = line
				}
				if len(line) > 512 {
					t.Errorf("a command line of %d octets", len(line))
				}
			}
			if !strings.Contains(said, c.want) {
				t.Errorf("said %q", said)
			}
		})
	}
}

func TestGmailRefusalIsDecodedAndExplained(t *testing.T) {
	cfg := mxtest.Gmail(isGood)
	cfg.AuthNeedsTLS = false
	tr, _, _ := smartHost(t, cfg, mx.Route{Token: true, Credential: &secret{token: "bad"}, Provider: replies.ProviderGoogle}, 0)
	got := tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Replies[0].Advised()
	for _, want := range []string{"535 5.7.8 Username and Password not accepted", "(the server says status 400", " → user is not the mailbox"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

// What mends a token does not mend a password.
func TestRefusedPasswordIsExplained(t *testing.T) {
	for _, c := range []struct {
		cfg      mxtest.Config
		provider replies.Provider
		want     string
	}{
		{mxtest.Microsoft365(isGood), replies.ProviderMicrosoft, "535 5.7.3 Authentication unsuccessful [FR0P281CA0001.DEUP281.PROD.OUTLOOK.COM 2026-11-22T12:00:00.000Z 08DE000000000000] → user or password is wrong"},
		{mxtest.Gmail(isGood), replies.ProviderGoogle, " → user or the app password is wrong"},
	} {
		c.cfg.AuthNeedsTLS = false
		tr, _, _ := smartHost(t, c.cfg, mx.Route{Credential: &secret{token: "pw"}, Provider: c.provider}, 0)
		got := tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Replies[0].Advised()
		if !strings.Contains(got, c.want) || strings.Count(got, " → ") != 1 || strings.Contains(got, "token") {
			t.Errorf("%q lacks %q", got, c.want)
		}
	}
}

func TestRejectedTokenMeansOneMoreLogin(t *testing.T) {
	s := &secret{token: "bad", again: true}
	tr, srv, h := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}}, mx.Route{Token: true, Credential: s}, 0)
	if r := tr.Deliver(t.Context(), task(t, letter, "b@b.test")); !r.Replies[0].Positive() || !r.HeldSince.IsZero() {
		t.Error(r.Replies[0])
	}
	if s.refused != 1 || srv.Sessions() != 2 || len(h.told) != 0 {
		t.Errorf("%d refusals, %d sessions, %v", s.refused, srv.Sessions(), h.told)
	}
}

func TestRouteIsHeldAndFreed(t *testing.T) {
	s := &secret{err: errors.New("AADSTS7000222: expired")}
	tr, srv, h := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}}, mx.Route{Token: true, Credential: s}, time.Hour)
	deliver := func() relay.Result { return tr.Deliver(t.Context(), task(t, letter, "b@b.test")) }
	first := deliver()
	s.mu.Lock()
	s.token, s.err = "good", nil
	s.mu.Unlock()
	second := deliver() // it may not knock yet
	for _, r := range []relay.Result{first, second} {
		if r.HeldSince.IsZero() || r.Replies[0].Permanent() || !strings.Contains(r.Replies[0].Text, "AADSTS7000222") {
			t.Errorf("%+v", r)
		}
	}
	if srv.Sessions() != 0 || len(tr.HeldRoutes()) != 1 {
		t.Errorf("%d sessions, %v", srv.Sessions(), tr.HeldRoutes())
	}
	tr.Release("office")
	if r := deliver(); !r.Replies[0].Positive() || !r.HeldSince.IsZero() {
		t.Error(r.Replies[0])
	}
	if len(h.told) != 2 || !h.told[0] || h.told[1] || len(tr.HeldRoutes()) != 0 {
		t.Error(h.told)
	}
}

func TestRepliesAboutTheLoginAreNoVerdictOnMail(t *testing.T) {
	for _, c := range []struct {
		event, reply string
		held, wait   bool
	}{
		{"mail", "530 5.7.57 Client not authenticated to send mail.", true, false},
		{"mail", "550 5.7.30 Basic authentication is not supported for Client Submission.", true, false},
		{"dot", "554 5.2.2 mailbox full; STOREDRV.Submission.Exception:QuotaExceededException", true, false},
		{"dot", "430 4.2.0 STOREDRV; mailbox logon failure; STOREDRV.Submission.Exception:ConnectionFailedTransientException.MapiExceptionLogonFailed", true, false},
		{"dot", "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", false, true},
		{"dot", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", false, true},
	} {
		tr, srv, _ := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}},
			mx.Route{Token: true, Credential: &secret{token: "good"}, Provider: replies.ProviderMicrosoft, Budget: shaping.Budget{PerMinute: 30}}, 0)
		if err := srv.Script(c.event, c.reply, 1); err != nil {
			t.Fatal(err)
		}
		r := tr.Deliver(t.Context(), task(t, letter, "b@b.test"))
		if reply := r.Replies[0]; reply.Permanent() || reply.Positive() || r.HeldSince.IsZero() == c.held || reply.Remedy == "" || strings.Contains(reply.Text, reply.Remedy) {
			t.Errorf("%s: %+v, held since %v", c.reply, reply, r.HeldSince)
		}
		if until := tr.Reserve("route:office"); until.IsZero() == c.wait {
			t.Errorf("%s: waits until %v", c.reply, until)
		}
	}
}

// A provider counts the connections of a mailbox, not those of our routes.
func TestRoutesToOneMailboxShareItsConnections(t *testing.T) {
	srv, err := mxtest.NewServer(mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	route := func(name, user string) mx.Route {
		return mx.Route{Name: name, To: []string{name + ".test"}, User: user, Token: true, Credential: &secret{token: "good"},
			Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}, Provider: replies.ProviderMicrosoft, Budget: shaping.Budget{Connections: 3}}
	}
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, Routes: []mx.Route{
		route("a", "one@example.org"), route("b", "One@example.org"), route("c", "two@example.org")}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for destination, want := range map[string]string{"route:a": "route:a", "route:b": "route:a", "route:c": "route:c"} {
		if got := tr.Provider(destination); got != want || tr.Allowance(got).Connections != 3 {
			t.Errorf("%s counts as %s, which may have %d connections; want %s", destination, got, tr.Allowance(got).Connections, want)
		}
	}
	for i, to := range []string{"x@a.test", "x@b.test", "x@c.test"} {
		if r := tr.Deliver(t.Context(), task(t, letter, to)).Replies[0]; !r.Positive() {
			t.Error(to, r)
		}
		if want := []int{1, 1, 2}[i]; srv.Sessions() != want {
			t.Errorf("%d connections after the mail to %s, want %d", srv.Sessions(), to, want)
		}
	}
}

// An idle connection of one route goes before another route to the same mailbox
// makes one that cannot be the same, as to another name of the host.
func TestIdleConnectionsOfAMailboxCount(t *testing.T) {
	srv, err := mxtest.NewServer(mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}, MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	route := func(name, host string) mx.Route {
		return mx.Route{Name: name, To: []string{name + ".test"}, User: "one@example.org", Token: true, Credential: &secret{token: "good"}, IP: "4",
			Via: []mx.Hop{{Host: host, Port: uint16(srv.Port())}}, Provider: replies.ProviderMicrosoft, Budget: shaping.Budget{Connections: 1}}
	}
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, Routes: []mx.Route{route("a", "127.0.0.1"), route("b", "localhost")}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for _, to := range []string{"x@a.test", "x@b.test", "y@a.test"} {
		if r := tr.Deliver(t.Context(), task(t, letter, to)).Replies[0]; !r.Positive() {
			t.Error(to, r)
		}
	}
	if srv.Sessions() != 3 || srv.Exceeded() != 0 {
		t.Errorf("%d connections, more than allowed %d times", srv.Sessions(), srv.Exceeded())
	}
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		via := []mx.Hop{{Host: "127.0.0.1", Port: 25}}
		route := func(name, user string, b shaping.Budget) mx.Route {
			return mx.Route{Name: name, To: []string{name + ".test"}, User: user, Password: "x", Via: via, Provider: replies.ProviderMicrosoft, Budget: b}
		}
		tr, err := mx.NewTransport(mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, Routes: []mx.Route{
			route("a", "one@example.org", shaping.Budget{PerMinute: 30}), route("b", "One@example.org", shaping.Budget{PerMinute: 30}),
			route("c", "two@example.org", shaping.Budget{MessagesPerDay: 2}),
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		// In any 60 s, whenever the minute begins, and for a mailbox, however
		// many routes lead to it.
		var sent []time.Time
		for i := range 200 {
			to := []string{"route:a", "route:b"}[i%2]
			for wait := tr.Reserve(to); !wait.IsZero(); wait = tr.Reserve(to) {
				if !wait.After(time.Now()) {
					t.Fatal("it says to wait until", wait, "which has passed")
				}
				time.Sleep(time.Until(wait)) // the bubble's clock
			}
			sent = append(sent, time.Now())
			time.Sleep(time.Duration(i%7) * 300 * time.Millisecond)
		}
		for i := 30; i < len(sent); i++ {
			if d := sent[i].Sub(sent[i-30]); d < time.Minute {
				t.Fatalf("31 messages in %v", d)
			}
		}
		for range 2 {
			if wait := tr.Reserve("route:c"); !wait.IsZero() {
				t.Error(wait)
			}
		}
		wait := tr.Reserve("route:c")
		if d := time.Until(wait); d < 24*time.Hour || d > 24*time.Hour+2*time.Minute {
			t.Errorf("the third of a day waits %v", d)
		}
		time.Sleep(time.Until(wait))
		if wait := tr.Reserve("route:c"); !wait.IsZero() {
			t.Errorf("it still waits, until %v", wait)
		}
		if tr.Reserve("example.com") != (time.Time{}) {
			t.Error("a domain has a budget")
		}
	})
}
