package mx_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// TestLevels: what each level makes of each kind of server.
func TestLevels(t *testing.T) {
	good, ca := certified(t, "mx.b.test")
	wrongName := mxtest.Config{Certificate: certificate(t, ca, time.Hour, "other.test")}
	expired := mxtest.Config{Certificate: certificate(t, ca, -time.Minute, "mx.b.test")}
	stranger, _ := certified(t, "mx.b.test")
	const (
		tls, clear, deferred = "tls", "clear", "deferred"
	)
	for _, s := range []struct {
		name   string
		cfg    mxtest.Config
		script [2]string
		want   map[tlspolicy.Level]string
	}{
		{"no STARTTLS", mxtest.Config{}, [2]string{}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: clear, tlspolicy.LevelRequired: deferred, tlspolicy.LevelVerified: deferred}},
		{"good", good, [2]string{}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: tls, tlspolicy.LevelRequired: tls, tlspolicy.LevelVerified: tls}},
		{"wrong name", wrongName, [2]string{}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: tls, tlspolicy.LevelRequired: tls, tlspolicy.LevelVerified: deferred}},
		{"expired", expired, [2]string{}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: tls, tlspolicy.LevelRequired: tls, tlspolicy.LevelVerified: deferred}},
		{"unknown authority", stranger, [2]string{}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: tls, tlspolicy.LevelRequired: tls, tlspolicy.LevelVerified: deferred}},
		{"454 to STARTTLS", good, [2]string{"starttls", "454 4.7.0 not now"}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: clear, tlspolicy.LevelRequired: deferred, tlspolicy.LevelVerified: deferred}},
		{"554 to STARTTLS", good, [2]string{"starttls", "554 5.7.0 never"}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: clear, tlspolicy.LevelRequired: deferred, tlspolicy.LevelVerified: deferred}},
		{"broken handshake", good, [2]string{"tls", `close raw "this is not TLS at all\r\n"`}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: clear, tlspolicy.LevelRequired: deferred, tlspolicy.LevelVerified: deferred}},
		{"dropped at handshake", good, [2]string{"tls", "drop"}, map[tlspolicy.Level]string{
			tlspolicy.LevelOff: clear, tlspolicy.LevelOpportunistic: clear, tlspolicy.LevelRequired: deferred, tlspolicy.LevelVerified: deferred}},
	} {
		for level, want := range s.want {
			t.Run(s.name+" "+level.String(), func(t *testing.T) {
				w := newWorld(t, s.cfg, func(c *mx.Config) { c.TLS, c.RootCAs = level, ca.Pool() })
				if s.script[0] != "" {
					w.script(s.script[0], s.script[1], 0)
				}
				res := w.deliver(task(t, letter, "x@b.test"))
				r, got := res.Replies[0], clear
				switch {
				case !r.Positive() && !r.Permanent() && r.Enhanced().Class == 4:
					got = deferred
				case res.TLS != "":
					got = tls
				}
				if got != want {
					t.Errorf("%s, want %s: %+v", got, want, res)
				}
				mails := slices.ContainsFunc(w.srv.Commands(), func(c string) bool { return strings.Contains(c, "MAIL") })
				if want == deferred && mails {
					t.Error("MAIL was said all the same")
				}
				if m := w.srv.Messages(); want != deferred && (len(m) != 1 || m[0].TLS != (want == tls)) {
					t.Errorf("the server has %+v", m)
				}
				fellBack := want == clear && s.script[0] != "" && level == tlspolicy.LevelOpportunistic
				if fellBack != (res.TLSFailed != "") {
					t.Errorf("TLSFailed %q", res.TLSFailed)
				}
				reached := map[string]relay.TLSLevel{clear: relay.TLSClear, tls: relay.TLSUnverified}[want]
				switch {
				case fellBack:
					reached = relay.TLSFallback
				case want == tls && level == tlspolicy.LevelVerified:
					reached = relay.TLSVerified
				}
				if res.TLSLevel != reached {
					t.Errorf("level %q, want %q", res.TLSLevel, reached)
				}
				if want == tls && res.TLS != "TLS1.3" {
					t.Errorf("TLS %q", res.TLS)
				}
				// In the clear after a failed TLS only on a fresh connection.
				sessions := 2
				if s.script[0] == "tls" { // a second try lies between
					sessions = 3
				}
				if fellBack && w.srv.Sessions() != sessions {
					t.Errorf("%d sessions", w.srv.Sessions())
				}
			})
		}
	}
}

func TestImplicitTLS(t *testing.T) {
	cfg, ca := certified(t, "127.0.0.1")
	cfg.ImplicitTLS = true
	srv := newServer(t, cfg)
	for _, level := range []tlspolicy.Level{tlspolicy.LevelOpportunistic, tlspolicy.LevelVerified} {
		for _, pool := range []*x509.CertPool{ca.Pool(), x509.NewCertPool()} {
			w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, RootCAs: pool,
				Routes: []mx.Route{{To: []string{"*"}, TLS: level, Via: []mx.Hop{hop(t, "smtps://"+srv.Addr(), false)}}}})}
			res := w.deliver(task(t, letter, "x@b.test"))
			if ok := level == tlspolicy.LevelOpportunistic || pool.Equal(ca.Pool()); ok != res.Replies[0].Positive() || ok && res.TLS == "" {
				t.Errorf("%v: %+v", level, res)
			}
		}
	}
}

// TestLogin: PLAIN, LOGIN, long secrets, wrong ones, and where a password
// does not go.
func TestLogin(t *testing.T) {
	long := strings.Repeat("p", 600)
	secure, ca := certified(t, "hub.test")
	secure.Users = map[string]string{"scanner": "secret", "long": long}
	for _, c := range []struct {
		name, user, password string
		ext                  string // replaces the AUTH line
		script               [2]string
		ok                   bool
		text                 string
		sessions             int
	}{
		{"plain", "scanner", "secret", "", [2]string{}, true, "", 1},
		{"long", "long", long, "", [2]string{}, true, "", 1},
		{"LOGIN only", "scanner", "secret", "AUTH LOGIN", [2]string{}, true, "", 1},
		{"wrong", "scanner", "wrong", "", [2]string{}, false, "wrong name or password", 1}, // not twice: accounts get locked
		{"later", "scanner", "secret", "", [2]string{"auth", "454 4.7.0 directory down"}, false, "directory down", 2},
		{"nothing we speak", "scanner", "secret", "AUTH GSSAPI", [2]string{}, false, "GSSAPI", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := secure
			if c.ext != "" {
				cfg.Auth = strings.TrimPrefix(c.ext, "AUTH ")
			}
			srv := newServer(t, cfg)
			if c.script[0] != "" {
				if err := srv.Script(c.script[0], c.script[1], 0); err != nil {
					t.Fatal(err)
				}
			}
			d := newDNS(t, "hub.test. A 127.0.0.1\n")
			via := hop(t, "hub.test:"+srv.Addr()[strings.LastIndex(srv.Addr(), ":")+1:], true)
			w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, d), RootCAs: ca.Pool(),
				Routes: []mx.Route{{To: []string{"*"}, TLS: tlspolicy.LevelVerified, User: c.user, Password: c.password, Via: []mx.Hop{via, via}}}})}
			res := w.deliver(task(t, letter, "x@b.test"))
			r := res.Replies[0]
			if r.Positive() != c.ok || r.Permanent() || !c.ok && (r.Stage != relay.StageAuth || !strings.Contains(r.Text, c.text)) {
				t.Errorf("%+v", r)
			}
			if strings.Contains(r.Text, c.password) && c.password != "wrong" {
				t.Errorf("the reply tells the password: %q", r.Text)
			}
			if srv.Sessions() != c.sessions {
				t.Errorf("%d sessions", srv.Sessions())
			}
			for _, cmd := range srv.Commands() {
				if strings.Contains(cmd, "AUTH") && len(cmd) > 512 {
					t.Errorf("an AUTH line of %d octets", len(cmd))
				}
			}
			if c.ok && srv.Messages()[0].User != c.user {
				t.Errorf("logged in as %q", srv.Messages()[0].User)
			}
		})
	}
}

// TestRequireTLS: RFC 8689: only where REQUIRETLS is offered behind a verified
// certificate.
func TestRequireTLS(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	offers := append(slices.Clone(mxtest.DefaultExtensions), "REQUIRETLS")
	for _, c := range []struct {
		name   string
		tls    bool
		ext    []string
		pool   *x509.CertPool
		forged bool // or may be: the MX record is not secure
		status string
	}{
		{"offered", true, offers, ca.Pool(), false, ""},
		{"not offered", true, nil, ca.Pool(), false, "5.7.30"},
		{"without TLS", false, offers, ca.Pool(), false, "5.7.4"},
		{"not verified", true, offers, x509.NewCertPool(), false, "4.7.5"},
		{"nobody vouches for the MX record", true, offers, ca.Pool(), true, "4.7.5"},
	} {
		server := mxtest.Config{Extensions: c.ext}
		if c.tls {
			server.Certificate = cfg.Certificate
		}
		w := newWorld(t, server, func(cfg *mx.Config) { cfg.RootCAs = c.pool })
		w.dns.Authentic(!c.forged)
		tk := task(t, letter, "x@b.test")
		tk.Message.RequireTLS = true
		tk.Message.TLSOptional = true // is beaten
		r := w.deliver(tk).Replies[0]
		if c.status == "" {
			if !r.Positive() || !strings.Contains(w.srv.Messages()[0].MailParams, "REQUIRETLS") {
				t.Errorf("%s: %+v", c.name, r)
			}
		} else if r.Status.String() != c.status || r.Permanent() != (c.status[0] == '5') || len(w.srv.Messages()) > 0 {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}

// TestTLSOptional: "TLS-Required: No" lowers a message to opportunistic.
func TestTLSOptional(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.TLS = tlspolicy.LevelVerified })
	tk := task(t, letter, "x@b.test")
	if r := w.deliver(tk).Replies[0]; r.Positive() {
		t.Errorf("without: %v", r)
	}
	tk.Message.TLSOptional = true
	if r := w.deliver(tk).Replies[0]; !r.Positive() {
		t.Errorf("with: %v", r)
	}
}

// An idle connection that nobody looked at the certificate of, or in the clear,
// does not serve mail that must.
func TestLevelsDoNotShareConnections(t *testing.T) {
	cfg, _ := certified(t, "hub.test")
	srv := newServer(t, cfg)
	via := []mx.Hop{{Host: "hub.test", Port: uint16(srv.Port())}}
	w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", RootCAs: x509.NewCertPool(),
		Resolver: newResolver(t, newDNS(t, "hub.test. A 127.0.0.1")), Routes: []mx.Route{
			{Name: "strict", To: []string{"strict.test"}, TLS: tlspolicy.LevelVerified, Via: via},
			{Name: "off", To: []string{"off.test"}, TLS: tlspolicy.LevelOff, Via: via},
			{Name: "any", To: []string{"any.test"}, TLS: tlspolicy.LevelRequired, Via: via}}})}
	for i, c := range []struct {
		to     string
		level  relay.TLSLevel
		reused bool
	}{
		{"x@off.test", relay.TLSClear, false}, {"x@any.test", relay.TLSUnverified, false},
		{"x@off.test", relay.TLSClear, true}, {"x@any.test", relay.TLSUnverified, true}, {"x@strict.test", "", false},
	} {
		if res := w.deliver(task(t, letter, c.to)); res.TLSLevel != c.level || res.Reused != c.reused || res.Replies[0].Positive() == (c.level == "") {
			t.Errorf("%d: %+v", i, res)
		}
	}
	if n := len(srv.Messages()); n != 4 {
		t.Errorf("%d messages", n)
	}
}

// TestSessionsAreResumed: a new connection to a host goes on with the TLS session of
// the one before, by TLS 1.2 and 1.3, with a certificate that is checked and one that
// is not. A connection that is kept needs one handshake for all of its messages.
func TestSessionsAreResumed(t *testing.T) {
	for _, level := range []tlspolicy.Level{tlspolicy.LevelRequired, tlspolicy.LevelVerified} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for idle, want := range map[time.Duration][]bool{-1: {false, true, true}, time.Minute: {false}} {
				cfg, ca := certified(t, "hub.test")
				var mu sync.Mutex
				var resumed []bool
				cfg.TLS = func(c *tls.Config) {
					c.MaxVersion = version
					c.SetSessionTicketKeys([][32]byte{{1}}) // those of all its connections
					c.VerifyConnection = func(s tls.ConnectionState) error {
						mu.Lock()
						defer mu.Unlock()
						resumed = append(resumed, s.DidResume)
						return nil
					}
				}
				srv := newServer(t, cfg)
				w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", IdleTimeout: idle, RootCAs: ca.Pool(),
					Resolver: newResolver(t, newDNS(t, "hub.test. A 127.0.0.1")), Routes: []mx.Route{
						{To: []string{"*"}, TLS: level, Via: []mx.Hop{{Host: "hub.test", Port: uint16(srv.Port())}}}}})}
				for range 3 {
					if r := w.deliver(task(t, letter, "x@dest.test")).Replies[0]; !r.Positive() {
						t.Fatalf("%+v", r)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(resumed, want) {
					t.Errorf("%v, %s, idle for %v: resumed %v, want %v", level, tls.VersionName(version), idle, resumed, want)
				}
			}
		}
	}
}

// TestResumption: a TLS session made without looking at the certificate does
// not open the door to who must look.
func TestResumption(t *testing.T) {
	cfg, _ := certified(t, "hub.test")
	srv := newServer(t, cfg)
	via := []mx.Hop{{Host: "hub.test", Port: uint16(srv.Port())}}
	w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", IdleTimeout: -1, RootCAs: x509.NewCertPool(),
		Resolver: newResolver(t, newDNS(t, "hub.test. A 127.0.0.1")), Routes: []mx.Route{
			{To: []string{"strict.test"}, TLS: tlspolicy.LevelVerified, Via: via}, {Name: "lax", To: []string{"*"}, TLS: tlspolicy.LevelRequired, Via: via}}})}
	for range 3 {
		if r := w.deliver(task(t, letter, "x@lax.test")).Replies[0]; !r.Positive() {
			t.Fatalf("%+v", r)
		}
	}
	if r := w.deliver(task(t, letter, "x@strict.test")).Replies[0]; r.Positive() || r.Status.String() != "4.7.5" {
		t.Errorf("%+v", r)
	}
}
