package submission_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay/submission"
)

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}
func (s *syncBuffer) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// What a stranger on the wire puts behind STARTTLS must never be read as said
// inside TLS (CVE-2011-0411 and its many sisters).
func TestStartTLSInjection(t *testing.T) {
	l := submission.Listener{TLS: "starttls", Auth: "optional", TrustedNetworks: trustLoopback}
	t.Run("in one write", func(t *testing.T) {
		f := start(t, options{listener: l})
		f.play(hello + `=> "STARTTLS\r\nMAIL FROM:<evil@example.org>\r\n"` + "\n<- 503 5.5.1\n<- EOF")
	})
	t.Run("in two", func(t *testing.T) {
		bubble(t, options{listener: l}, func(t *testing.T, f *fixture) {
			f.play(hello + "-> STARTTLS\n<- 220\n-> MAIL FROM:<evil@example.org>\n<- EOF")
		})
	})
	t.Run("a handshake that fails does not go on in the clear", func(t *testing.T) {
		f := start(t, options{listener: l})
		c := f.play(hello + "-> STARTTLS\n<- 220")
		tc := tls.Client(c.c, &tls.Config{ServerName: "other.example.org", RootCAs: f.roots})
		if err := tc.Handshake(); err == nil {
			t.Fatal("the name was not checked")
		}
		c.c.Write([]byte("NOOP\r\n"))
		rest, _ := io.ReadAll(c.c)
		if bytes.Contains(rest, []byte("250 ")) || bytes.Contains(rest, []byte("500 ")) {
			t.Errorf("the session went on: %q", rest)
		}
	})
	t.Run("a handshake that stalls", func(t *testing.T) {
		bubble(t, options{listener: l}, func(t *testing.T, f *fixture) {
			c := f.play(hello + "-> STARTTLS\n<- 220")
			began := time.Now()
			f.more(c, "<- EOF")
			if d := time.Since(began); d != time.Minute {
				t.Errorf("cut after %v", d)
			}
		})
	})
	t.Run("the state before is forgotten", func(t *testing.T) {
		f := start(t, options{listener: l})
		c := f.play(hello + `
			-> MAIL FROM:<evil@example.org>
			<- 250
			-> STARTTLS
			<- 503 5.5.1
			-> RSET
			<- 250
			-> STARTTLS now
			<- 501 5.5.4
			-> STARTTLS
			<- 220
			TLS
			-> RCPT TO:<v@example.com>
			<- 503
			-> EHLO again.example.com
			<- 250
			` + envel + data + "-> .\n<- 250 2.0.0")
		f.more(c, "-> QUIT\n<- 221\n<- EOF")
		if m := f.q.Messages()[0]; m.Protocol != "ESMTPS" {
			t.Errorf("%+v", m.Message)
		}
	})
}

// TLS of the last century is spoken where a listener says so, and only there.
func TestOldTLS(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{hostname}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	pair := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	oldest := []string{"TLS_RSA_WITH_AES_128_CBC_SHA"}
	for _, c := range []struct {
		min     string
		ciphers []string
		ok      bool
	}{{"", oldest, false}, {"1.2", oldest, false}, {"1.1", oldest, false}, {"1.0", oldest, true}, {"1.0", nil, false}} {
		min, ok := c.min, c.ok
		f := start(t, options{listener: submission.Listener{TLS: "implicit", MinTLS: min, Ciphers: c.ciphers}, config: func(c *submission.Config) {
			c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }
		}})
		c, err := tls.Dial("tcp", f.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}})
		if (err == nil) != ok {
			t.Errorf("min_tls = %q: %v", min, err)
		}
		if err == nil {
			c.Close()
		}
		if _, err := tls.Dial("tcp", f.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}); err == nil {
			t.Errorf("min_tls = %q: RC4 is spoken", min)
		}
	}
}

// TestNoCBC: suites with CBC are spoken where a listener names them, or where it
// allows versions that have nothing else.
func TestNoCBC(t *testing.T) {
	const name = "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA"
	for _, c := range []struct {
		min     string
		ciphers []string
		ok      bool
	}{{"", nil, false}, {"1.2", nil, false}, {"1.2", []string{name}, true}, {"1.1", nil, true}} {
		f := start(t, options{listener: submission.Listener{TLS: "implicit", MinTLS: c.min, Ciphers: c.ciphers}})
		conn, err := tls.Dial("tcp", f.addr, &tls.Config{RootCAs: f.roots, ServerName: hostname, MaxVersion: tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}})
		if (err == nil) != c.ok {
			t.Errorf("min_tls = %q, ciphers %v: %v", c.min, c.ciphers, err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

// TestTranslatedNetworksAreNotTrusted: behind such a network stands everybody.
func TestTranslatedNetworksAreNotTrusted(t *testing.T) {
	for network, ok := range map[string]bool{"64:ff9b::/96": false, "64:ff9b:1::/48": false, "64:ff9b::/32": false,
		"64:ff9b::c000:200/120": false, "64:ff9b:1:2::/64": false, "64:ff9b::c000:201/128": true, "2001:db8::/32": true, "192.0.2.0/24": true} {
		l := trusted()
		l.Address, l.TrustedNetworks = "127.0.0.1:0", []netip.Prefix{netip.MustParsePrefix(network)}
		if faults := l.Validate(); (faults.Err() == nil) != ok {
			t.Errorf("%s: %v", network, faults.Err())
		}
	}
}

func TestExtensions(t *testing.T) {
	l := submission.Listener{TLS: "starttls", Auth: "required"}
	bubble(t, options{listener: l, config: func(c *submission.Config) { c.RequireTLS, c.MaxHold = true, time.Hour }}, func(t *testing.T, f *fixture) {
		c := f.dial()
		f.more(c, "<- 220")
		c.send("EHLO c\r\n")
		common := "250-relay.example.org greets you\n250-PIPELINING\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n"
		tail := "250-LIMITS RCPTMAX=5\n250 FUTURERELEASE 3600 2000-01-01T01:00:00Z"
		if got, want := c.reply(), common+"250-SMTPUTF8\n250-DSN\n250-SIZE 1048576\n250-STARTTLS\n"+tail; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		f.more(c, "-> STARTTLS\n<- 220\nTLS\n-> EHLO c")
		if got, want := c.reply(), common+"250-AUTH PLAIN LOGIN\n250-SMTPUTF8\n250-DSN\n250-SIZE 1048576\n250-REQUIRETLS\n"+tail; got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		f.more(c, `
			-> AUTH PLAIN AGFsaWNlAHNlY3JldA==
			<- 235
			-> MAIL FROM:<a@example.org> HOLDFOR=3601
			<- 501 5.5.4
			-> MAIL FROM:<a@example.org> HOLDFOR=1 HOLDUNTIL=2000-01-01T00:10:00Z
			<- 501 5.5.4
			-> MAIL FROM:<a@example.org> REQUIRETLS HOLDUNTIL=2000-01-01t00:10:00z
			<- 250
			-> RCPT TO:<b@example.com>
			<- 250
			-> DATA
			<- 354
			-> TLS-Required: No
			->
			-> .
			<- 250`)
		m := f.q.Messages()[0]
		if !m.RequireTLS || m.TLSOptional || !m.NotBefore.Equal(time.Date(2000, 1, 1, 0, 10, 0, 0, time.UTC)) {
			t.Errorf("%+v", m.Message)
		}
	})
}

func TestCertificatesReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile, made, err := submission.SelfSigned(dir, "one.example.org")
		check(t, err)
		if !made {
			t.Error("not made")
		}
		if _, _, again, err := submission.SelfSigned(dir, "one.example.org"); err != nil || again {
			t.Errorf("made again: %v %v", again, err)
		}
		if fi, err := os.Stat(keyFile); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("key file: %v %v", fi.Mode(), err)
		}
		var out syncBuffer
		certs, err := submission.LoadCertificates(certFile, keyFile, slog.New(slog.NewTextHandler(&out, nil)))
		check(t, err)
		names := func() string {
			t.Helper()
			c, err := certs.Get(nil)
			check(t, err)
			return c.Leaf.DNSNames[0]
		}
		_, _, made, err = submission.SelfSigned(dir, "two.example.org")
		check(t, err)
		if got := names(); !made || got != "one.example.org" {
			t.Errorf("within the second: %s, made %v", got, made)
		}
		time.Sleep(time.Second) // of the bubble's clock
		if got := names(); got != "two.example.org" {
			t.Errorf("after it: %s", got)
		}
		check(t, os.WriteFile(certFile, []byte("half"), 0o600))
		time.Sleep(time.Second)
		if got := names(); got != "two.example.org" {
			t.Errorf("after a broken file: %s", got)
		}
		time.Sleep(time.Second)
		names()
		if n := bytes.Count([]byte(out.String()), []byte("cannot be used")); n != 1 {
			t.Errorf("logged %d times", n)
		}
		if _, err := submission.LoadCertificates(filepath.Join(dir, "none"), keyFile, nil); err == nil {
			t.Error("a missing file is no error")
		}
	})
}

// A certificate that is not valid now never takes the place of one that is; that is
// told, and it is taken when its time comes. One that expires in use is told, too.
func TestExpiredCertificateReplacesNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		certFile, keyFile := filepath.Join(dir, "crt"), filepath.Join(dir, "key")
		write := func(name string, from, to time.Duration) {
			t.Helper()
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			check(t, err)
			now := time.Now()
			der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: now.Add(from), NotAfter: now.Add(to)},
				&x509.Certificate{SerialNumber: big.NewInt(1)}, key.Public(), key)
			check(t, err)
			pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
			check(t, err)
			check(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
			check(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
		}
		const day = 24 * time.Hour
		write("good.example.org", -day, 10*day)
		var out syncBuffer
		certs, err := submission.LoadCertificates(certFile, keyFile, slog.New(slog.NewTextHandler(&out, nil)))
		check(t, err)
		expect := func(name, trouble string) {
			t.Helper()
			time.Sleep(2 * time.Second) // of the bubble's clock
			c, err := certs.Get(nil)
			check(t, err)
			if got := c.Leaf.DNSNames[0]; got != name {
				t.Errorf("%s is in use, want %s", got, name)
			}
			if err := certs.Trouble(); (err == nil) != (trouble == "") || err != nil && !strings.Contains(err.Error(), trouble) {
				t.Errorf("trouble: %v, want %q", err, trouble)
			}
		}
		expect("good.example.org", "")
		write("expired.example.org", -2*day, -day)
		expect("good.example.org", "stays in use until 2000-01-11")
		write("early.example.org", day, 20*day)
		expect("good.example.org", "is valid from 2000-01-02")
		time.Sleep(2 * day)
		expect("early.example.org", "")
		time.Sleep(20 * day)
		expect("early.example.org", "has expired on 2000-01-21")
		write("expired.example.org", -2*day, -day) // one as bad as the other
		expect("expired.example.org", "has expired")
		if n := strings.Count(out.String(), "the certificate has expired"); n != 2 {
			t.Errorf("logged %d times:\n%s", n, out.String())
		}
	})
}
