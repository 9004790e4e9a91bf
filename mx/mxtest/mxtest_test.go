package mxtest_test

import (
	"bufio"
	"context"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"dawk/mx/mxtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T, cfg mxtest.Config) *mxtest.Server {
	t.Helper()
	s, err := mxtest.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestServer with a client that is not ours.
func TestServer(t *testing.T) {
	s := newServer(t, mxtest.Config{})
	if err := s.Script("rcpt:no@b.test", "550 5.1.1 not\\nhere", 1); err != nil {
		t.Fatal(err)
	}
	body := []byte("Subject: x\r\n\r\n.dot\r\n..\r\n")
	err := smtp.SendMail(s.Addr(), nil, "a@example.org", []string{"no@b.test"}, body)
	if err == nil || !strings.Contains(err.Error(), `not\nhere`) {
		t.Errorf("first: %v", err)
	}
	if err := smtp.SendMail(s.Addr(), nil, "a@example.org", []string{"no@b.test", "yes@b.test"}, body); err != nil {
		t.Errorf("second: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	m, err := s.Wait(ctx, 1)
	if err != nil || string(m[0].Data) != string(body) || m[0].From != "a@example.org" || len(m[0].Recipients) != 2 || m[0].Session != 2 {
		t.Errorf("%+v, %v", m, err)
	}
	gone, cancel2 := context.WithCancel(ctx)
	cancel2()
	if _, err := s.Wait(gone, 2); err == nil || !strings.Contains(err.Error(), "have 1") {
		t.Errorf("waiting in vain: %v", err)
	}
}

func TestTLSAndLogin(t *testing.T) {
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.Certificate(time.Hour, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, mxtest.Config{Certificate: &cert, Users: map[string]string{"u": "p"}})
	for password, ok := range map[string]bool{"p": true, "q": false} {
		// PlainAuth sends to localhost without TLS.
		err := smtp.SendMail(s.Addr(), smtp.PlainAuth("", "u", password, "127.0.0.1"), "a@example.org", []string{"b@b.test"}, nil)
		if strings.Contains(err.Error(), "unknown authority") {
			continue // it does STARTTLS and does not know our CA: that far it got
		}
		t.Errorf("%s (%v): %v", password, ok, err)
	}
}

func TestScriptErrors(t *testing.T) {
	s := mxtest.Unlistened(mxtest.Config{})
	for _, bad := range [][2]string{{"hello", "drop"}, {"rcpt:[", "drop"}, {"rcpt", "explode"}, {"rcpt", "55 no"}, {"rcpt", "delay x 450"}} {
		if err := s.Script(bad[0], bad[1], 0); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// TestStrictEnd: only CRLF.CRLF ends a message, and bare CR and LF are kept.
func TestStrictEnd(t *testing.T) {
	s := newServer(t, mxtest.Config{})
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body := "a\n.\nb\r\n.\nc\n.\r\nd\r.\re\r\r\n"
	if _, err := c.Write([]byte("HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n" + strings.Replace(body, "\r\n.\n", "\r\n..\n", 1) + ".\r\nQUIT\r\n")); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewScanner(c)
	var last string
	for r.Scan() {
		last = r.Text()
	}
	if m := s.Messages(); len(m) != 1 || string(m[0].Data) != body || !strings.HasPrefix(last, "221") {
		t.Errorf("%+v, %q", m, last)
	}
}

func TestDNS(t *testing.T) {
	d, err := mxtest.NewDNS("a.test. A 192.0.2.1\n")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ask := func(network string) *dns.Msg {
		t.Helper()
		m, _, err := (&dns.Client{Net: network, Timeout: 5 * time.Second}).Exchange(new(dns.Msg).SetQuestion("A.test.", dns.TypeA), d.Addr())
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	for _, network := range []string{"udp", "tcp"} {
		if m := ask(network); len(m.Answer) != 1 {
			t.Errorf("%s: %v", network, m)
		}
	}
	d.Fault("a.test", "A", mxtest.ServFail)
	if m := ask("udp"); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v", m)
	}
	d.Fault("a.test", "A", mxtest.NoFault)
	d.Remove("a.test", "A")
	if m := ask("udp"); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
		t.Errorf("%v", m)
	}
	if d.Queries("a.test", "A") != 4 {
		t.Errorf("%d queries", d.Queries("a.test", "A"))
	}
	if err := d.Add("not a record"); err == nil {
		t.Error("nonsense was accepted")
	}
}
