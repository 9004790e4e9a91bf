package submission_test

import (
	"crypto/tls"
	"io"
	"net"
	stdsmtp "net/smtp"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"dawk/relay"
	"dawk/relay/accept/accepttest"
	"dawk/relay/submission"
)

// Clients that others wrote, over real sockets and real TLS.

const letter = "From: a@example.org\r\nSubject: hi\r\n\r\n.\r\n..\r\n.dot\r\nüml\r\n\r\n"

func TestNetSMTP(t *testing.T) {
	for _, mode := range []string{"starttls", "implicit"} {
		t.Run(mode, func(t *testing.T) {
			f := start(t, options{listener: submission.Listener{TLS: mode, Auth: "required"}})
			conf := &tls.Config{RootCAs: f.roots, ServerName: hostname}
			var c *stdsmtp.Client
			if mode == "implicit" {
				tc, err := tls.Dial("tcp", f.addr, conf)
				check(t, err)
				c, err = stdsmtp.NewClient(tc, hostname)
				check(t, err)
			} else {
				plain, err := net.Dial("tcp", f.addr)
				check(t, err)
				c, err = stdsmtp.NewClient(plain, hostname)
				check(t, err)
				check(t, c.StartTLS(conf))
			}
			if ok, _ := c.Extension("CHUNKING"); ok {
				t.Error("CHUNKING is offered")
			}
			check(t, c.Auth(stdsmtp.PlainAuth("", "alice", "secret", hostname)))
			for range 3 {
				check(t, c.Mail("a@example.org"))
				check(t, c.Rcpt("b@example.com"))
				w, err := c.Data()
				check(t, err)
				_, err = io.WriteString(w, letter)
				check(t, err)
				check(t, w.Close())
			}
			check(t, c.Quit())
			arrived(t, f, 3)
		})
	}
}

func TestGoSMTPClient(t *testing.T) {
	f := start(t, options{listener: submission.Listener{Auth: "required"}})
	conf := &tls.Config{RootCAs: f.roots, ServerName: hostname}
	for _, auth := range []sasl.Client{sasl.NewPlainClient("", "alice", "secret"), sasl.NewLoginClient("alice", "secret")} {
		c, err := smtp.DialStartTLS(f.addr, conf)
		check(t, err)
		check(t, c.Auth(auth))
		check(t, c.Mail("a@example.org", &smtp.MailOptions{UTF8: true, Return: smtp.DSNReturnHeaders, EnvelopeID: "x+y"}))
		check(t, c.Rcpt("দূত@example.com", &smtp.RcptOptions{Notify: []smtp.DSNNotify{smtp.DSNNotifyFailure},
			OriginalRecipientType: smtp.DSNAddressTypeUTF8, OriginalRecipient: "দূত@example.com"}))
		w, err := c.Data()
		check(t, err)
		_, err = io.WriteString(w, letter)
		check(t, err)
		r, err := w.CloseWithResponse()
		check(t, err)
		if !strings.HasPrefix(r.StatusText, "queued as ") && !strings.Contains(r.StatusText, "queued as ") {
			t.Errorf("%+v", r)
		}
		check(t, c.Quit())
	}
	for _, m := range arrived(t, f, 2) {
		if m.EnvID != "x+y" || m.Ret != relay.RetHdrs || !m.SMTPUTF8 || m.Recipients[0].Notify != relay.NotifyFailure ||
			m.Recipients[0].ORcpt != (relay.ORcpt{Type: "utf-8", Addr: "দূত@example.com"}) || m.Protocol != "UTF8SMTPSA" {
			t.Errorf("%+v", m.Message)
		}
	}
}

// arrived checks that n letters came, unchanged.
func arrived(t *testing.T, f *fixture, n int) []accepttest.Stored {
	t.Helper()
	got := f.q.Messages()
	if len(got) != n {
		t.Fatalf("%d messages", len(got))
	}
	for _, m := range got {
		if !strings.HasSuffix(m.Content, "\r\n"+letter) {
			t.Errorf("changed: %q", m.Content)
		}
		if !strings.HasPrefix(m.Content, "Received: from hidden.invalid\r\n\tby relay.example.org (dawk) with ") || !strings.Contains(m.Content, " (TLS1.3 TLS_") {
			t.Errorf("%q", m.Content)
		}
		if m.Identity != "alice" || m.Client != "127.0.0.1" {
			t.Errorf("%+v", m.Message)
		}
	}
	return got
}

// Many clients at once, some of which vanish: everything that was promised is
// there, once, and nothing else.
func TestManyClients(t *testing.T) {
	f := start(t, options{listener: trusted()})
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for range 10 {
				c, err := smtp.Dial(f.addr)
				if err != nil {
					t.Error(err)
					return
				}
				if i%4 == 0 { // half a message
					_ = c.Mail("a@example.org", nil)
					_ = c.Rcpt("b@example.com", nil)
					if w, err := c.Data(); err == nil {
						_, _ = io.WriteString(w, letter)
					}
					_ = c.Close()
					continue
				}
				if err := c.SendMail("a@example.org", []string{"b@example.com"}, strings.NewReader(letter)); err != nil {
					t.Error(err)
				}
				_ = c.Quit()
			}
		})
	}
	wg.Wait()
	if n := len(f.q.Messages()); n != 150 {
		t.Errorf("%d messages", n)
	}
}
