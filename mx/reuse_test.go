package mx_test

import (
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
)

// TestLazyRSET: RSET goes only where a transaction was left open, before the
// next MAIL, and EHLO is never said again.
func TestLazyRSET(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
		w.script("rcpt:no@b.test", "550 5.1.1 unknown", 0)
		w.deliver(task(t, letter, "a@b.test"))
		w.deliver(task(t, letter, "no@b.test"))
		w.deliver(task(t, letter, "c@b.test"))
		w.deliver(task(t, letter, "d@b.test"))
		var verbs []string
		for _, c := range w.srv.Commands() {
			verbs = append(verbs, strings.Fields(c)[1])
		}
		want := "EHLO MAIL RCPT DATA MAIL RCPT DATA RSET MAIL RCPT DATA MAIL RCPT DATA"
		if len(ext) == 0 {
			want = "EHLO MAIL RCPT DATA MAIL RCPT RSET MAIL RCPT DATA MAIL RCPT DATA"
		}
		if got := strings.Join(verbs, " "); got != want {
			t.Errorf("%v: %s", ext, got)
		}
	}
}

// TestDataForNobody: a server that answers 354 though it took no recipient is
// given an empty message, and the next one after it (RFC 2920 §3.1).
func TestDataForNobody(t *testing.T) {
	script := []struct{ expect, reply string }{
		{"", "220 hi\r\n"},
		{"EHLO", "250-hi\r\n250 PIPELINING\r\n"},
		{"MAIL", "250 ok\r\n550 5.1.1 no\r\n354 go\r\n"},
		{".\r\n", "554 5.5.1 nobody\r\n"},
		{"MAIL", "250 ok\r\n250 ok\r\n354 go\r\n"},
		{"From:", "250 taken\r\n"},
	}
	bubble(t, mxtest.Config{}, func(c *mx.Config) {
		c.Dial = func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				buf := make([]byte, 4096)
				for _, s := range script {
					if s.expect != "" {
						if n, err := theirs.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), s.expect) {
							t.Errorf("got %q, %v, want %s", buf[:n], err, s.expect)
							return
						}
					}
					io.WriteString(theirs, s.reply) //nolint:errcheck // seen at the next read
				}
				theirs.Read(buf) //nolint:errcheck // QUIT
			}()
			return ours, nil
		}
	}, func(w *world) {
		if res, _ := w.attempt(letter); res.Replies[0].Code != 550 {
			t.Errorf("%+v", res)
		}
		if res, _ := w.attempt(letter); !res.Replies[0].Positive() || !res.Reused {
			t.Errorf("then: %+v", res)
		}
	})
}

// TestStale: an idle connection that died is replaced without a word, however
// it died; a fresh one that fails is a failure.
func TestStale(t *testing.T) {
	for _, how := range []string{"disconnect", "mail 421 4.4.2 idle too long", "mail 421 4.7.0 idle too long", "mail drop", "mail reset"} {
		for _, ext := range [][]string{{"PIPELINING"}, {}} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			w.deliver(task(t, letter, "a@b.test"))
			if how == "disconnect" {
				w.srv.Disconnect()
			} else {
				event, action, _ := strings.Cut(how, " ")
				w.script(event, action, 1)
			}
			res := w.deliver(task(t, letter, "b@b.test"))
			if !res.Replies[0].Positive() || res.Reused || w.srv.Sessions() != 2 {
				t.Errorf("%s %v: %+v in %d sessions", how, ext, res, w.srv.Sessions())
			}
			if n := len(w.srv.Messages()); n != 2 {
				t.Errorf("%s %v: %d messages", how, ext, n)
			}
		}
	}
}

// TestMessagesPerSession: what a server says of one message too many in a session
// is no verdict on that message.
func TestMessagesPerSession(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
		w.deliver(task(t, letter, "a@b.test"))
		w.script("mail", "554 5.7.0 too many messages in this session", 1)
		if res := w.deliver(task(t, letter, "b@b.test")); !res.Replies[0].Positive() || w.srv.Sessions() != 2 {
			t.Errorf("%v: %+v in %d sessions", ext, res, w.srv.Sessions())
		}
		w.script("mail", "554 5.7.0 too many messages in this session", 2)
		if res := w.deliver(task(t, letter, "b@b.test")); !res.Replies[0].Permanent() {
			t.Errorf("%v: on a fresh connection: %+v", ext, res)
		}
		w.deliver(task(t, letter, "a@b.test"))
		w.script("mail", "554 5.7.0 limit exceeded for user", 1)
		if res := w.deliver(task(t, letter, "b@b.test")); !res.Replies[0].Permanent() {
			t.Errorf("%v: another limit: %+v", ext, res)
		}
	}
}

// TestNotReused: what may not share a connection does not.
func TestNotReused(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("dot", `raw "250 ok\r\n250 unasked for\r\n"`, 1)
	w.deliver(task(t, letter, "a@b.test"))
	if res := w.deliver(task(t, letter, "b@b.test")); res.Reused || !res.Replies[0].Positive() {
		t.Errorf("out of step: %+v", res)
	}

	w = newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.MessagesPerConnection = 3 })
	for range 7 {
		w.deliver(task(t, letter, "a@b.test"))
	}
	if n := w.srv.Sessions(); n != 3 {
		t.Errorf("7 messages, at most 3 each: %d sessions", n)
	}

	w = newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.IdleTimeout = -1 })
	w.deliver(task(t, letter, "a@b.test"))
	w.deliver(task(t, letter, "a@b.test"))
	if n := w.srv.Sessions(); n != 2 {
		t.Errorf("reuse turned off: %d sessions", n)
	}

	srv := newServer(t, mxtest.Config{Users: map[string]string{"one": "x", "two": "x"}})
	via := []mx.Hop{hop(t, srv.Addr(), true)}
	w = &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, Routes: []mx.Route{
		{To: []string{"one.test"}, User: "one", Password: "x", Via: via}, {To: []string{"two.test"}, User: "two", Password: "x", Via: via}}})}
	for _, to := range []string{"a@one.test", "a@two.test", "b@one.test", "b@two.test"} {
		if r := w.deliver(task(t, letter, to)).Replies[0]; !r.Positive() {
			t.Fatal(r)
		}
	}
	for _, m := range srv.Messages() {
		if !strings.HasSuffix(m.Recipients[0].Path, m.User+".test") {
			t.Errorf("%s sent with the login of %s", m.Recipients[0].Path, m.User)
		}
	}
	if n := srv.Sessions(); n != 2 {
		t.Errorf("two logins: %d sessions", n)
	}
}

// TestSharedAcrossDomains: domains with the same MX host share connections.
func TestSharedAcrossDomains(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("c.test. MX 5 mx.b.test."); err != nil {
		t.Fatal(err)
	}
	w.deliver(task(t, letter, "a@b.test"))
	if res := w.deliver(task(t, letter, "a@c.test")); !res.Reused {
		t.Errorf("%+v", res)
	}
}

// TestClose says QUIT on idle connections.
func TestClose(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.deliver(task(t, letter, "a@b.test"))
	w.tr.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := w.srv.WaitCommand(ctx, "QUIT", 1); err != nil {
		t.Error(err)
	}
	if r := w.deliver(task(t, letter, "a@b.test")).Replies[0]; !r.Positive() {
		t.Errorf("under way after Close: %v", r)
	}
}

// TestConcurrent: many deliveries at once, each message once and whole.
func TestConcurrent(t *testing.T) {
	cfg, _ := certified(t, "mx.b.test")
	w := newWorld(t, cfg, func(c *mx.Config) { c.MessagesPerConnection = 7 })
	var wg sync.WaitGroup
	const n = 100
	for i := range n {
		wg.Go(func() {
			body := letter + strings.Repeat("line\r\n", i)
			if r := w.tr.Deliver(context.Background(), task(t, body, "a@b.test")).Replies[0]; !r.Positive() {
				t.Errorf("%d: %v", i, r)
			}
		})
	}
	wg.Wait()
	var sizes []int
	for _, m := range w.srv.Messages() {
		sizes = append(sizes, len(m.Data))
	}
	slices.Sort(sizes)
	for i, size := range sizes {
		if size != len(letter)+6*i {
			t.Fatalf("message %d has %d octets", i, size)
		}
	}
	if len(sizes) != n {
		t.Errorf("%d messages", len(sizes))
	}
}
