package mx_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// rsaCertificate is one that RSA key exchange can use; nobody has signed it.
func rsaCertificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func trusted(t *testing.T, c *tls.Certificate) *x509.CertPool {
	t.Helper()
	leaf, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return pool
}

// deferred says whether the mail for the first recipient waits.
func deferred(res relay.Result) bool {
	return !res.Replies[0].Positive() && !res.Replies[0].Permanent()
}

// TestSecondTryOfTLS: which receivers get TLS at the second try, at which level,
// what is remembered of that, and that nothing else is given up for it.
func TestSecondTryOfTLS(t *testing.T) {
	cert := rsaCertificate(t, "mx.b.test")
	const first, second, clear, waits = "", "second", "clear", "waits"
	type by map[string]string // level and what an attempt came to
	for _, s := range []struct {
		name    string
		hello   int
		tls     func(*tls.Config)
		version string
		want    by
		next    string // what the next attempt needs where this one needed a second try
	}{
		{name: "resets a ClientHello above 1,400 octets", hello: 1400, version: "TLS1.3",
			want: by{"opportunistic": second, "required": second, "verified": second, "dane": second}, next: first},
		{name: "has RSA key exchange only", version: "TLS1.2", next: second, tls: func(c *tls.Config) {
			c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
		}, want: by{"opportunistic": second, "required": second, "verified": waits, "dane": waits}},
		{name: "refuses a name that it does not know", version: "TLS1.3", next: second, tls: func(c *tls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName != "" {
					return nil, nil // "unrecognized name"
				}
				return cert, nil
			}
		}, want: by{"opportunistic": second, "required": second, "verified": waits, "dane": waits}},
		{name: "sends an alert after the handshake of TLS 1.3", version: "TLS1.2", next: second, tls: func(c *tls.Config) {
			c.VerifyConnection = func(cs tls.ConnectionState) error {
				if cs.Version == tls.VersionTLS13 {
					return errors.New("not in this version")
				}
				return nil
			}
		}, want: by{"opportunistic": second, "required": second, "verified": waits, "dane": waits}},
		{name: "demands a certificate of its clients", tls: func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert }, next: clear,
			want: by{"opportunistic": clear, "required": waits, "verified": waits, "dane": waits}},
		{name: "demands a certificate, in TLS 1.3 alone", next: clear, tls: func(c *tls.Config) {
			c.ClientAuth, c.MinVersion = tls.RequireAnyClientCert, tls.VersionTLS13
		}, want: by{"opportunistic": clear, "required": waits, "verified": waits, "dane": waits}},
	} {
		for level, want := range s.want {
			t.Run(s.name+" "+level, func(t *testing.T) {
				w := newWorld(t, mxtest.Config{Certificate: cert, TLS: s.tls, MaxHello: s.hello}, func(c *mx.Config) {
					c.RootCAs, c.IdleTimeout, c.DANE = trusted(t, cert), -1, true
					c.TLS, _ = tlspolicy.ParseLevel(level)
				})
				w.dns.Authentic(true)
				if level == "dane" {
					if err := w.dns.Add(fmt.Sprintf("_%d._tcp.mx.b.test. %s", w.srv.Port(), tlsa(t, 3, 1, 1, cert.Certificate[0]))); err != nil {
						t.Fatal(err)
					}
				}
				for i, want := range []string{want, s.next} {
					before := w.srv.Sessions()
					res := w.deliver(task(t, letter, "x@b.test"))
					sessions := w.srv.Sessions() - before
					if s.want[level] == waits {
						if !deferred(res) || said(w.srv, "MAIL") || res.Replies[0].Stage != relay.StageTLS || sessions > 2 {
							t.Errorf("attempt %d: %+v, %d sessions", i+1, res, sessions)
						}
						continue
					}
					tries := map[string]int{first: 1, second: 2, clear: 3}
					if !res.Replies[0].Positive() || res.TLSTry != want || sessions != tries[want] || (res.TLSFailed == "") != (want == first) {
						t.Errorf("attempt %d: %+v, %d sessions, want %q", i+1, res, sessions, want)
					}
					if want != clear && res.TLS != s.version {
						t.Errorf("attempt %d: %s, want %s", i+1, res.TLS, s.version)
					}
				}
			})
		}
	}
}

// TestSecondTryIsNotForCertificates: a certificate stays the same however it is
// asked for; nobody is asked twice.
func TestSecondTryIsNotForCertificates(t *testing.T) {
	wrong, ca := certified(t, "other.test")
	w := newWorld(t, wrong, func(c *mx.Config) { c.TLS, c.RootCAs = tlspolicy.LevelVerified, ca.Pool() })
	res := w.deliver(task(t, letter, "x@b.test"))
	if !deferred(res) || w.srv.Sessions() != 1 {
		t.Errorf("%+v, %d sessions", res, w.srv.Sessions())
	}
}

// TestWhatHelpedIsLearned: that a host needs classical groups is learned where they
// may have helped, and forgotten where they did not.
func TestWhatHelpedIsLearned(t *testing.T) {
	cert := rsaCertificate(t, "mx.b.test")
	var mu sync.Mutex
	var hellos []bool // whether each offered a hybrid group
	note := func(c *tls.Config, mind func(*tls.ClientHelloInfo) bool) {
		c.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			mu.Lock()
			hellos = append(hellos, slices.Contains(h.SupportedCurves, tls.X25519MLKEM768))
			mu.Unlock()
			if mind != nil && mind(h) {
				h.Conn.Close()
			}
			return nil, nil
		}
	}
	for _, c := range []struct {
		name string
		tls  func(*tls.Config)
		want []bool // for three attempts
	}{
		{"TLS 1.2 helps", func(c *tls.Config) {
			note(c, nil)
			c.VerifyConnection = func(cs tls.ConnectionState) error {
				if cs.Version == tls.VersionTLS13 {
					return errors.New("not in this version")
				}
				return nil
			}
		}, []bool{true, false, true, false, true, false}},
		{"classical groups help", func(c *tls.Config) {
			note(c, func(h *tls.ClientHelloInfo) bool { return slices.Contains(h.SupportedCurves, tls.X25519MLKEM768) })
		}, []bool{true, false, false, false}},
		{"no name helps, and nobody says so", func(c *tls.Config) {
			note(c, func(h *tls.ClientHelloInfo) bool { return h.ServerName != "" })
		}, []bool{true, false, false, false, true, false}},
		{"no name helps", func(c *tls.Config) {
			note(c, nil)
			c.Certificates = nil
			c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName != "" {
					return nil, nil // "unrecognized name"
				}
				return cert, nil
			}
		}, []bool{true, false, true, false, true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mu.Lock()
			hellos = nil
			mu.Unlock()
			w := newWorld(t, mxtest.Config{Certificate: cert, TLS: c.tls}, func(m *mx.Config) {
				m.TLS, m.IdleTimeout = tlspolicy.LevelOpportunistic, -1
			})
			for range 3 {
				if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() || res.TLS == "" {
					t.Errorf("%+v", res)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(hellos, c.want) {
				t.Errorf("ClientHellos with hybrid groups: %v, want %v", hellos, c.want)
			}
		})
	}
}

// TestTurnedAwayAtTheSecondTry: a connection that is turned away before TLS says
// nothing of TLS: the clear comes next, and only where it may.
func TestTurnedAwayAtTheSecondTry(t *testing.T) {
	for level, clear := range map[string]bool{"opportunistic": true, "required": false, "dane": false} {
		for _, away := range []string{"421 4.3.2 too many connections", "554 5.7.1 not again", "drop"} {
			cert := rsaCertificate(t, "mx.b.test")
			w := newWorld(t, mxtest.Config{Certificate: cert}, func(c *mx.Config) {
				c.IdleTimeout, c.DANE = -1, true
				c.TLS, _ = tlspolicy.ParseLevel(level)
			})
			w.dns.Authentic(true)
			if level == "dane" {
				if err := w.dns.Add(fmt.Sprintf("_%d._tcp.mx.b.test. %s", w.srv.Port(), tlsa(t, 3, 1, 1, cert.Certificate[0]))); err != nil {
					t.Fatal(err)
				}
			}
			w.script("tls", "drop", 0)
			w.script("connect", "220 hello", 1)
			w.script("connect", away, 1)
			res := w.deliver(task(t, letter, "x@b.test"))
			if clear && (!res.Replies[0].Positive() || res.TLSTry != "clear" || w.srv.Sessions() != 3) ||
				!clear && (!deferred(res) || said(w.srv, "MAIL") || res.Replies[0].Stage != relay.StageTLS) {
				t.Errorf("%s, %s: %+v, %d sessions", level, away, res, w.srv.Sessions())
			}
		}
	}
}
