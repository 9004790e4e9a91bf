package mx_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"dawk/mx"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// backend is a receiver that none of us wrote: go-smtp's server.
type backend struct {
	mu       sync.Mutex
	received []received
}

type received struct {
	from, user string
	opts       smtp.MailOptions
	to         []string
	rcptOpts   []smtp.RcptOptions
	data       []byte
}

type backendSession struct {
	b *backend
	r received
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) { return &backendSession{b: b}, nil }

func (s *backendSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *backendSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if password != "secret" {
			return smtp.ErrAuthFailed
		}
		s.r.user = user
		return nil
	}), nil
}

func (s *backendSession) Mail(from string, o *smtp.MailOptions) error {
	s.r.from, s.r.opts = from, *o
	return nil
}

func (s *backendSession) Rcpt(to string, o *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "no@") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.r.to, s.r.rcptOpts = append(s.r.to, to), append(s.r.rcptOpts, *o)
	return nil
}

func (s *backendSession) Data(r io.Reader) (err error) {
	if s.r.data, err = io.ReadAll(r); err != nil {
		return err
	}
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.received = append(s.b.received, s.r)
	return nil
}

func (s *backendSession) Reset()        { s.r = received{user: s.r.user} }
func (s *backendSession) Logout() error { return nil }

// goSMTP starts go-smtp's server.
func goSMTP(t testing.TB, cert *tls.Certificate) (*backend, int) {
	t.Helper()
	b := &backend{}
	srv := smtp.NewServer(b)
	srv.Domain, srv.EnableSMTPUTF8, srv.EnableDSN, srv.EnableREQUIRETLS = "mx.b.test", true, true, true
	srv.AllowInsecureAuth, srv.MaxMessageBytes, srv.MaxLineLength = true, 10<<20, 4000
	srv.ErrorLog = quiet{}
	if cert != nil {
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return b, l.Addr().(*net.TCPAddr).Port
}

type quiet struct{}

func (quiet) Printf(string, ...any) {}
func (quiet) Println(...any)        {}

// TestGoSMTP: round trips to a server of other people's.
func TestGoSMTP(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	b, port := goSMTP(t, cfg.Certificate)
	names := newDNS(t, zone)
	names.Authentic(true) // REQUIRETLS wants it
	w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Port: port, AllowNetworks: loopback,
		Resolver: newResolver(t, names), TLS: tlspolicy.LevelVerified, RootCAs: ca.Pool()})}
	bodies := []string{letter, "", ".\r\n..\r\n", letter + strings.Repeat("x", 998) + "\r\n", letter + "\x80\xff é 伊\r\n",
		letter + strings.Repeat(strings.Repeat("y", 70)+"\r\n.\r\n", 5_000)}
	for i, body := range bodies {
		tk := task(t, body, "no@b.test", `"a b\"c"@b.test`, "伊@b.test")
		m := tk.Message
		m.EightBit, m.SMTPUTF8, m.EnvID, m.Ret = i == 4, true, "env+id", relay.RetHdrs
		m.Recipients[1].Notify = relay.NotifySuccess | relay.NotifyFailure
		m.Recipients[2].ORcpt = relay.ORcpt{Type: "utf-8", Addr: "伊@example.org"}
		res := w.deliver(tk)
		if res.Replies[0].Code != 550 || !res.Replies[1].Positive() || !res.Replies[2].Positive() || !res.DSN || res.TLS != "TLS1.3" || res.Reused != (i > 0) {
			t.Fatalf("%d: %+v", i, res)
		}
		got := b.received[i]
		if !bytes.Equal(got.data, []byte(body)) || got.from != "a@example.org" {
			t.Errorf("%d: the content has changed: %d octets of %d", i, len(got.data), len(body))
		}
		if len(got.to) != 2 || got.to[0] != `a b"c@b.test` || got.to[1] != "伊@b.test" {
			t.Errorf("%d: recipients %q", i, got.to)
		}
		if o := got.opts; o.EnvelopeID != "env+id" || o.Return != smtp.DSNReturnHeaders || !o.UTF8 || o.Size != int64(len(body)) {
			t.Errorf("%d: %+v", i, o)
		}
		if o := got.rcptOpts; fmt.Sprint(o[0].Notify) != "[SUCCESS FAILURE]" || o[1].OriginalRecipient != "伊@example.org" {
			t.Errorf("%d: %+v", i, o)
		}
	}
	tk := task(t, letter, "x@b.test")
	tk.Message.RequireTLS = true
	res := w.deliver(tk) // go-smtp offers REQUIRETLS behind TLS only
	if !res.Replies[0].Positive() || !b.received[len(bodies)].opts.RequireTLS {
		t.Errorf("REQUIRETLS: %+v", res)
	}
}

func TestGoSMTPLogin(t *testing.T) {
	b, port := goSMTP(t, nil)
	for password, ok := range map[string]bool{"secret": true, "wrong": false} {
		w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, Routes: []mx.Route{
			{To: []string{"*"}, User: "scanner", Password: password, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(port)}}}}})}
		if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Positive() != ok || r.Permanent() {
			t.Errorf("%s: %+v", password, r)
		}
	}
	if len(b.received) != 1 || b.received[0].user != "scanner" {
		t.Errorf("%+v", b.received)
	}
}

// null answers without looking: what remains is the cost of the client.
func null(b *testing.B) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveNull(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func serveNull(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "220 null\r\n") //nolint:errcheck // a benchmark
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		reply := "250 ok\r\n"
		switch {
		case bytes.HasPrefix(buf[:n], []byte("EHLO")):
			reply = "250-null\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
		case bytes.HasPrefix(buf[:n], []byte("MAIL")):
			reply = "250 ok\r\n250 ok\r\n354 go\r\n"
		case bytes.HasPrefix(buf[:n], []byte("QUIT")):
			return
		}
		if _, err := io.WriteString(c, reply); err != nil {
			return
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	port := null(b)
	for _, reuse := range []bool{true, false} {
		b.Run(fmt.Sprintf("reuse=%v", reuse), func(b *testing.B) {
			cfg := mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, MessagesPerConnection: 1 << 30,
				Routes: []mx.Route{{To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(port)}}}}}
			if !reuse {
				cfg.IdleTimeout = -1
			}
			tr := newTransport(b, cfg)
			body := letter + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 56)
			b.ReportAllocs()
			for b.Loop() {
				if res := tr.Deliver(b.Context(), task(b, body, "x@b.test")); !res.Replies[0].Positive() {
					b.Fatal(res.Replies[0])
				}
			}
		})
	}
}
