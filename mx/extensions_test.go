package mx_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// TestRefusedParameters: a parameter that a server refuses is left out once, if
// the mail can do without it. Then the answer counts.
func TestRefusedParameters(t *testing.T) {
	for _, refusal := range []string{"501 syntax error in parameters", "504 parameter not implemented", "555 what parameter?", "501 5.5.4 invalid"} {
		for _, c := range []struct {
			name   string
			event  string
			times  int // that it is refused
			ext    string
			change func(*relay.Message)
			sent   string // the parameters that the mail went with, or "-": it is returned
		}{
			{"SIZE", "mail", 1, "SIZE", nil, " "},
			{"SIZE, for ever", "mail", 0, "SIZE", nil, "-"},
			{"RET and ENVID", "mail", 1, "DSN", func(m *relay.Message) { m.Ret, m.EnvID = relay.RetFull, "x" }, " "},
			{"NOTIFY", "rcpt", 1, "DSN", func(m *relay.Message) { m.Recipients[0].Notify = relay.NotifySuccess }, " "},
			{"ORCPT", "rcpt", 1, "DSN", func(m *relay.Message) { m.Recipients[0].ORcpt = relay.ORcpt{Type: "rfc822", Addr: "a@b.test"} }, " "},
			{"BODY=7BIT", "mail", 1, "8BITMIME", func(m *relay.Message) { m.Body = relay.Body7Bit }, " "},
			{"BODY=8BITMIME, after conversion", "mail", 1, "8BITMIME", func(m *relay.Message) { m.EightBit = true }, " "},
			{"SMTPUTF8 stays", "mail", 1, "SMTPUTF8", func(m *relay.Message) { m.SMTPUTF8 = true }, "-"},
			{"none was given", "rcpt", 1, "SIZE", nil, "-"},
		} {
			t.Run(c.name+" "+refusal, func(t *testing.T) {
				w := newWorld(t, mxtest.Config{Extensions: strings.Fields(c.ext)}, func(cfg *mx.Config) {
					cfg.SevenBit = func(*relay.Message, relay.Content) (relay.Content, error) {
						return newContent("Subject: converted\r\n\r\nx\r\n"), nil
					}
				})
				w.script(c.event, refusal, c.times)
				tk := task(t, letter, "x@b.test")
				if c.change != nil {
					c.change(tk.Message)
				}
				res := w.deliver(tk)
				if c.sent == "-" {
					if !res.Replies[0].Permanent() || len(w.srv.Messages()) > 0 {
						t.Errorf("%+v", res)
					}
					return
				}
				if !res.Replies[0].Positive() || w.srv.Sessions() != 1 {
					t.Fatalf("%+v", res)
				}
				m := w.srv.Messages()[0]
				if got := m.MailParams + " " + m.Recipients[0].Params; got != c.sent || tk.Message.EightBit != strings.Contains(string(m.Data), "converted") {
					t.Errorf("%q, %s", got, m.Data)
				}
			})
		}
	}
}

// TestRequireTLSIsNeverLeftOut: nor is anything else that says what must become
// of the mail.
func TestRequireTLSIsNeverLeftOut(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	cfg.Extensions = []string{"REQUIRETLS", "SIZE"}
	w := newWorld(t, cfg, func(c *mx.Config) { c.DANE, c.RootCAs = true, ca.Pool() })
	w.dns.Authentic(true)
	w.script("mail", "501 syntax error in parameters", 0)
	tk := task(t, letter, "x@b.test")
	tk.Message.RequireTLS = true
	res := w.deliver(tk)
	mails := 0
	for _, c := range w.srv.Commands() {
		if strings.Contains(c, "MAIL FROM") {
			if mails++; !strings.Contains(c, "REQUIRETLS") {
				t.Error(c)
			}
		}
	}
	if !res.Replies[0].Permanent() || mails != 2 {
		t.Errorf("%d times MAIL: %+v", mails, res)
	}
}

// lostInput is a server that offers PIPELINING and forgets what came behind the
// command that it has just answered, as one with a second buffer does. refuse:
// it minds that, and says so.
func lostInput(refuse string) (serve func(net.Conn), batches func() []string) {
	var mu sync.Mutex
	var seen []string
	serve = func(nc net.Conn) {
		defer nc.Close()
		io.WriteString(nc, "220 mx.b.test\r\n")
		buf := make([]byte, 64<<10)
		for content := false; ; {
			n, err := nc.Read(buf)
			if err != nil {
				return
			}
			in := string(buf[:n])
			verb, _, _ := strings.Cut(in, " ")
			mu.Lock()
			seen = append(seen, strings.TrimSpace(verb)+fmt.Sprint(strings.Count(in, "\r\n")))
			mu.Unlock()
			reply := "250 ok"
			switch {
			case content:
				content = !strings.HasSuffix(in, "\r\n.\r\n")
				if content {
					continue
				}
			case strings.HasPrefix(in, "EHLO"):
				reply = "250-mx.b.test\r\n250 PIPELINING"
			case strings.HasPrefix(in, "DATA"):
				reply, content = "354 go", true
			case strings.Count(in, "\r\n") > 1 && refuse == "hang up":
				return
			case strings.Count(in, "\r\n") > 1 && refuse != "":
				reply = refuse
			}
			io.WriteString(nc, reply+"\r\n")
		}
	}
	return serve, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// TestPipeliningThatLosesCommands: a server that offers PIPELINING, and loses or
// refuses commands that come ahead of their time, gets them one by one at the next
// attempt. No refusal of such commands returns the mail.
func TestPipeliningThatLosesCommands(t *testing.T) {
	for _, refuse := range []string{"", "hang up", "503 5.5.0 improper pipelining", "501 syntax error", "500 line too long"} {
		t.Run(refuse, func(t *testing.T) {
			serve, batches := lostInput(refuse)
			bubble(t, mxtest.Config{}, func(c *mx.Config) {
				c.IdleTimeout, c.Dial = -1, func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go serve(theirs)
					return ours, nil
				}
			}, func(w *world) {
				if res := w.tr.Deliver(context.Background(), task(t, letter, "x@b.test", "y@b.test")); !deferred(res) {
					t.Fatalf("first attempt: %+v", res)
				}
				before := len(batches())
				if res := w.tr.Deliver(context.Background(), task(t, letter, "x@b.test", "y@b.test")); !res.Replies[0].Positive() || !res.Replies[1].Positive() {
					t.Errorf("second attempt: %+v, %v", res, batches())
				}
				if got := batches()[before:]; !slices.Contains(got, "MAIL1") || slices.Contains(got, "MAIL4") {
					t.Errorf("second attempt: %v", got)
				}
			})
		})
	}
}

// TestFewerRecipients: a server that ends the session at the third recipient is
// given two at a time from the next attempt on, and gets the mail.
func TestFewerRecipients(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		w := newWorld(t, mxtest.Config{Extensions: ext}, func(c *mx.Config) { c.IdleTimeout = -1 })
		var to []string
		for i := range 5 {
			to = append(to, fmt.Sprintf("r%d@b.test", i))
		}
		w.script("rcpt:r2@b.test", "421 4.5.3 too many recipients", 1)
		if res := w.deliver(task(t, letter, to...)); !deferred(res) || len(w.srv.Messages()) != 0 {
			t.Fatalf("%+v", res)
		}
		res := w.deliver(task(t, letter, to...))
		var sizes []int
		for _, m := range w.srv.Messages() {
			sizes = append(sizes, len(m.Recipients))
		}
		if !res.Replies[4].Positive() || !slices.Equal(sizes, []int{2, 2, 1}) {
			t.Errorf("%v: %v, %+v", ext, sizes, res)
		}
	}
}

// TestRefusedMailTeachesNothing: that the commands behind a refused one fail is no
// sign of trouble with PIPELINING.
func TestRefusedMailTeachesNothing(t *testing.T) {
	for event, reply := range map[string]string{"mail": "550 5.7.1 no", "rcpt": "550 5.1.1 no"} {
		w := newWorld(t, mxtest.Config{Extensions: []string{"PIPELINING"}}, func(c *mx.Config) { c.IdleTimeout = -1 })
		w.script(event, reply, 1)
		w.deliver(task(t, letter, "x@b.test"))
		// With the commands at once, DATA is there although nobody was taken.
		w.script("rcpt", "550 5.1.1 no", 1)
		before := len(w.srv.Commands())
		w.deliver(task(t, letter, "x@b.test"))
		if got := w.srv.Commands()[before:]; !slices.ContainsFunc(got, func(c string) bool { return strings.HasSuffix(c, " DATA") }) {
			t.Errorf("%s: %v", event, got)
		}
	}
}
