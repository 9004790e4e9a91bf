package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func manager(t *testing.T, cfg Config) *Manager {
	t.Helper()
	cfg.Log = slog.New(slog.DiscardHandler)
	if cfg.Names == nil {
		cfg.Names = []string{"relay.example.org"}
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var serial = big.NewInt(1000) // renewed after two thirds to the second

// put makes m's file a certificate for names, by a parent of another name, or by
// itself.
func put(t *testing.T, m *Manager, from, until time.Time, self bool, names ...string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "relay"}, DNSNames: names, NotBefore: from, NotAfter: until}
	parent := c
	if !self {
		parent = &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "authority"}, IsCA: true}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.keep(key, [][]byte{der}); err != nil {
		t.Fatal(err)
	}
}

func TestWhenTheAuthorityIsAsked(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	for _, c := range []struct {
		name string
		put  func(m *Manager)
		want time.Time
	}{
		{"nothing is there", func(*Manager) {}, time.Time{}},
		{"a placeholder", func(m *Manager) { put(t, m, now, now.Add(900*time.Hour), true, "relay.example.org") }, time.Time{}},
		{"for another name", func(m *Manager) { put(t, m, now, now.Add(900*time.Hour), false, "mail.example.org") }, time.Time{}},
		{"after two thirds", func(m *Manager) { put(t, m, now, now.Add(900*time.Hour), false, "relay.example.org") }, now.Add(600 * time.Hour)},
		{"not before a failure's time", func(m *Manager) {
			put(t, m, now.Add(-800*time.Hour), now.Add(100*time.Hour), false, "relay.example.org")
			m.state.Next = now.Add(time.Hour)
		}, now.Add(time.Hour)},
	} {
		m := manager(t, Config{Dir: t.TempDir()})
		c.put(m)
		if got := m.due(); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// Relays that got their certificates together renew them apart, each at its own time,
// after a restart, too.
func TestRenewalsAreApart(t *testing.T) {
	from := time.Now().Truncate(time.Second)
	times := map[time.Time]bool{}
	for n := range 100 {
		m := manager(t, Config{Dir: t.TempDir()})
		serial = big.NewInt(int64(7919 * n))
		put(t, m, from, from.Add(900*time.Hour), false, "relay.example.org")
		at := m.due()
		if at.Before(from.Add(570*time.Hour)) || at.After(from.Add(600*time.Hour)) {
			t.Errorf("%d: %v", n, at.Sub(from))
		}
		if again := manager(t, Config{Dir: m.cfg.Dir}); !again.due().Equal(at) {
			t.Errorf("%d: another time after a restart", n)
		}
		times[at] = true
	}
	serial = big.NewInt(1000)
	if len(times) < 90 {
		t.Errorf("%d different times", len(times))
	}
}

// The record goes into the zone that has the name, also where one is delegated.
func TestZoneOfAName(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		a := new(dns.Msg).SetReply(q)
		if name := q.Question[0].Name; name == "mail.example.org." || name == "org." {
			a.Answer = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeNS, Class: dns.ClassINET, Ttl: 60}, Ns: "ns.example.org."}}
		}
		_ = w.WriteMsg(a)
	})}
	done := make(chan error)
	go func() { done <- server.ActivateAndServe() }()
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
	for name, want := range map[string]string{
		"_acme-challenge.relay.mail.example.org": "mail.example.org",
		"_acme-challenge.mail.example.org":       "mail.example.org",
		"_acme-challenge.a.b.example.org":        "example.org",
		"_acme-challenge.example.org":            "example.org",
		"_acme-challenge.relay.example.co.uk":    "example.co.uk",
	} {
		if zone, err := zoneOf(t.Context(), resolver, name); err != nil || zone != want {
			t.Errorf("%s: %s, %v", name, zone, err)
		}
	}
	if err := pc.Close(); err != nil {
		t.Fatal(err)
	}
	<-done
	// Without an answer it is what is below the public suffix.
	if zone, err := zoneOf(t.Context(), &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, net.ErrClosed }}, "_acme-challenge.relay.mail.example.org"); err != nil || zone != "example.org" {
		t.Errorf("%s, %v", zone, err)
	}
}

// authority is as much of one as a client sees before a request for path, an account or
// an order, is refused for a while (RFC 8555 §6.6). It counts these requests.
func authority(t *testing.T, path, after string, asked *atomic.Int32) string {
	t.Helper()
	mux := http.NewServeMux()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Replay-Nonce", "nonce")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	mux.HandleFunc("/directory", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","revokeCert":"%[1]s/x","keyChange":"%[1]s/x"}`, s.URL)
	})
	mux.HandleFunc("/nonce", func(http.ResponseWriter, *http.Request) {})
	refuse := func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		asked.Add(1)
		w.Header().Set("Retry-After", after)
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusTooManyRequests)
		fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued"}`)
		return true
	}
	mux.HandleFunc("/account", func(w http.ResponseWriter, r *http.Request) {
		if refuse(w, r) {
			return
		}
		w.Header().Set("Location", s.URL+"/account/1")
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"status":"valid"}`)
	})
	mux.HandleFunc("/order", func(w http.ResponseWriter, r *http.Request) { refuse(w, r) })
	return s.URL + "/directory"
}

// A limit of the authority, on accounts or orders, told in seconds or as a date, is kept:
// it is asked once, also by a relay that is started again.
func TestLimitOfTheAuthorityIsKept(t *testing.T) {
	date := func(in time.Duration) string { return time.Now().Add(in).UTC().Format(http.TimeFormat) }
	for _, path := range []string{"/account", "/order"} {
		for form, after := range map[string]string{"seconds": "7200", "date": date(2*time.Hour + 10*time.Minute)} {
			t.Run(path+" in "+form, func(t *testing.T) { limitIsKept(t, path, after) })
		}
	}
}

func limitIsKept(t *testing.T, path, after string) {
	var orders atomic.Int32
	cfg := Config{Dir: t.TempDir(), Directory: authority(t, path, after, &orders)}
	m := manager(t, cfg)
	began := time.Now()
	m.settle(m.obtain(t.Context()))
	for _, m := range []*Manager{m, manager(t, cfg)} {
		s := m.Status()
		if s.Failures != 1 || !strings.Contains(s.Err, "too many certificates already issued") || s.Next.Before(began.Add(2*time.Hour)) {
			t.Errorf("%+v", s)
		}
	}
	if n := orders.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// Other names are another question.
	cfg.Names = []string{"mail.example.org"}
	if s := manager(t, cfg).Status(); s.Failures != 0 || !s.Next.IsZero() {
		t.Errorf("other names: %+v", s)
	}
}

func TestFailuresAreTriedMoreAndMoreRarely(t *testing.T) {
	m := manager(t, Config{Dir: t.TempDir()})
	for i, want := range []time.Duration{5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 40 * time.Minute} {
		m.settle(fmt.Errorf("no\r\nanswer"))
		if s := m.Status(); s.Failures != i+1 || time.Until(s.Next) > want || time.Until(s.Next) < want-time.Minute || strings.ContainsAny(s.Err, "\r\n") {
			t.Errorf("%d: %+v", i, s)
		}
	}
	for range 100 {
		m.settle(fmt.Errorf("no answer"))
	}
	if s := m.Status(); time.Until(s.Next) > 24*time.Hour {
		t.Errorf("%+v", s)
	}
	m.settle(nil)
	if s := m.Status(); s.Failures != 0 || s.Err != "" || !s.Next.IsZero() {
		t.Errorf("%+v", s)
	}
}

func TestPortsTaken(t *testing.T) {
	one, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	taken := one.Addr().String()
	m := manager(t, Config{Dir: t.TempDir(), HTTP: taken, TLS: taken})
	if _, err := m.prover(nil); err == nil || !strings.Contains(err.Error(), "set [tls] acme_dns") {
		t.Errorf("%v", err)
	}
	m = manager(t, Config{Dir: t.TempDir(), HTTP: taken, TLS: "127.0.0.1:0"})
	p, err := m.prover(nil)
	if err != nil || len(p.kinds) != 1 || p.kinds[0] != tlsProof {
		t.Fatalf("%v, %v", p, err)
	}
	p.close()
}

func TestProviders(t *testing.T) {
	const secret = "t0psecret"
	for name, c := range map[string]struct{ secret, want string }{
		"cloudflare":   {secret, ""},
		"rfc2136":      {secret, "needs a JSON object"},
		"elsewhere":    {secret, "is one of cloudflare, rfc2136"},
		"cloudflare ":  {secret, "is one of"},
		"cloudflare\t": {"{" + secret, "is one of"},
	} {
		_, err := NewProvider(name, c.secret)
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret)) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := NewProvider("cloudflare", "{"+secret); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("%v", err)
	}
	if _, err := NewProvider("rfc2136", `{"server": "192.0.2.53:53", "key_name": "k.", "key_alg": "hmac-sha256", "key": "c2VjcmV0"}`); err != nil {
		t.Error(err)
	}
}

// The state of another version, or half a file, is none.
func TestStateThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	m := manager(t, Config{Dir: dir})
	if err := os.WriteFile(m.path("state.json"), []byte(`{"failures": "`), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := manager(t, Config{Dir: dir}).Status(); s.Failures != 0 {
		t.Errorf("%+v", s)
	}
}
