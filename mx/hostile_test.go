package mx_test

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/smtpclient"
)

// certified is a server configuration with a certificate for names, and a CA
// that vouches for it.
func certified(t testing.TB, names ...string) (mxtest.Config, *mxtest.CA) {
	t.Helper()
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	return mxtest.Config{Certificate: certificate(t, ca, time.Hour, names...)}, ca
}

func certificate(t testing.TB, ca *mxtest.CA, valid time.Duration, names ...string) *tls.Certificate {
	t.Helper()
	c, err := ca.Certificate(valid, names...)
	if err != nil {
		t.Fatal(err)
	}
	return &c
}

// TestHostile: whatever a receiver does at whatever stage, the attempt ends
// soon, the mail is deferred, and memory stays bounded.
func TestHostile(t *testing.T) {
	stages := []string{"connect", "ehlo", "starttls", "tls", "mail", "rcpt", "data", "body", "dot"}
	actions := []string{"drop", "reset", "halfclose", "stall", "endless", `raw "\x00\xff\xfe\r\n"`, `raw "250"`,
		`slow 2ms 250 ` + strings.Repeat("x", 4000), "raw \"" + strings.Repeat("250-y", 3000) + "\"", "421 4.3.2 bye", "noread"}
	big := letter + strings.Repeat(strings.Repeat("z", 998)+"\r\n", 12_000) // more than socket buffers hold
	cfg, _ := certified(t, "mx.b.test")
	for _, stage := range stages {
		for _, action := range actions {
			if stage == "body" && (strings.HasPrefix(action, "raw") || strings.HasPrefix(action, "slow")) {
				continue // a reply before the content is "dot" with another name
			}
			t.Run(stage+" "+action[:min(len(action), 20)], func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, cfg, func(c *mx.Config) {
					short := 40 * time.Millisecond
					c.Timeouts = smtpclient.Timeouts{Connect: short, Greeting: short, Command: short, Data: short, Block: short, FinalDot: short, Session: 500 * time.Millisecond}
				})
				w.script(stage, action, 0)
				body := letter
				if stage == "body" {
					body = big
				}
				r := w.deliver(task(t, body, "x@b.test")).Replies[0]
				if r.Permanent() {
					t.Errorf("bounced: %+v", r)
				}
				if r.Positive() && stage != "starttls" && stage != "tls" {
					t.Errorf("taken for success: %+v", r)
				}
				if strings.ContainsAny(r.Text, "\r\n\x00") || len(r.Text) > 1024 {
					t.Errorf("text: %q", r.Text)
				}
			})
		}
	}
}

// TestInjectedPlaintext: what follows the 220 to STARTTLS in the clear is
// never read as if it came through TLS, and there is no second try in the
// clear for who sends it.
func TestInjectedPlaintext(t *testing.T) {
	cfg, _ := certified(t, "mx.b.test")
	w := newWorld(t, cfg, nil)
	w.script("starttls", `raw "220 go on\r\n250 2.1.0 injected\r\n"`, 0)
	r := w.deliver(task(t, letter, "x@b.test")).Replies[0]
	if r.Positive() || r.Permanent() || !strings.Contains(r.Text, "plain text") {
		t.Errorf("%+v", r)
	}
	if len(w.srv.Messages()) != 0 || w.srv.Sessions() != 1 {
		t.Errorf("%d messages in %d sessions", len(w.srv.Messages()), w.srv.Sessions())
	}
}

// TestManyRecipients: a receiver that answers every RCPT at length while it
// is still being written to cannot block us, nor we it.
func TestManyRecipients(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.RecipientsPerMessage = 1000 })
	w.script("rcpt:*", "250 2.1.5 "+strings.Repeat("a very long welcome ", 90), 0)
	var to []string
	for i := range 1000 {
		to = append(to, fmt.Sprintf("user%d@b.test", i))
	}
	res := w.deliver(task(t, letter, to...))
	for i, r := range res.Replies {
		if !r.Positive() {
			t.Fatalf("%d: %v", i, r)
		}
	}
	if m := w.srv.Messages(); len(m) != 1 || len(m[0].Recipients) != 1000 {
		t.Errorf("%d messages", len(m))
	}
}

// TestBatches: recipients beyond what a transaction may hold go in others, on
// the same connection.
func TestBatches(t *testing.T) {
	var to []string
	for i := range 25 {
		to = append(to, fmt.Sprintf("user%d@b.test", i))
	}
	for name, c := range map[string]struct {
		ext      []string
		rcpt     string
		times    int
		sizes    []int
		sessions int
	}{
		"ours":               {nil, "", 0, []int{10, 10, 5}, 1},
		"LIMITS RCPTMAX":     {[]string{"PIPELINING", "LIMITS RCPTMAX=7"}, "", 0, []int{7, 7, 7, 4}, 1},
		"LIMITS MAILMAX":     {[]string{"PIPELINING", "LIMITS MAILMAX=2"}, "", 0, []int{10, 10, 5}, 2},
		"without PIPELINING": {[]string{}, "", 0, []int{10, 10, 5}, 1},
	} {
		w := newWorld(t, mxtest.Config{Extensions: c.ext}, func(cfg *mx.Config) { cfg.RecipientsPerMessage = 10 })
		res := w.deliver(task(t, letter, to...))
		for i, r := range res.Replies {
			if !r.Positive() {
				t.Errorf("%s: %d: %v", name, i, r)
			}
		}
		var sizes []int
		for _, m := range w.srv.Messages() {
			sizes = append(sizes, len(m.Recipients))
		}
		if fmt.Sprint(sizes) != fmt.Sprint(c.sizes) || w.srv.Sessions() != c.sessions {
			t.Errorf("%s: %v in %d sessions", name, sizes, w.srv.Sessions())
		}
	}
}

// TestDomainsOfATransaction: a smart host that takes recipients of so many
// domains at a time gets no more, and no more transactions than that needs.
func TestDomainsOfATransaction(t *testing.T) {
	for limit, want := range map[int][]int{1: {3, 2, 1}, 2: {5, 1}, 3: {6}} {
		w := newWorld(t, mxtest.Config{Extensions: []string{"PIPELINING", fmt.Sprint("LIMITS RCPTDOMAINMAX=", limit)}}, nil)
		hop, err := mx.ParseHop(w.srv.Addr(), false)
		if err != nil {
			t.Fatal(err)
		}
		w.tr = newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, w.dns), Routes: []mx.Route{{Via: []mx.Hop{hop}}}})
		res := w.deliver(task(t, letter, "1@a.test", "2@b.test", "3@a.test", "4@c.test", "5@b.test", "6@a.test"))
		for i, r := range res.Replies {
			if !r.Positive() {
				t.Errorf("%d: %d: %v", limit, i, r)
			}
		}
		var sizes []int
		for _, m := range w.srv.Messages() {
			sizes = append(sizes, len(m.Recipients))
		}
		if !slices.Equal(sizes, want) || w.srv.Sessions() != 1 {
			t.Errorf("%d: %v in %d sessions, want %v", limit, sizes, w.srv.Sessions(), want)
		}
	}
}

// TestTooManyRecipientsToldLate: a server that accepts all recipients and minds
// their number only then gets them in smaller transactions, at once and for the
// messages after that.
func TestTooManyRecipientsToldLate(t *testing.T) {
	for _, c := range []struct {
		event, reply string
		messages     int // of five recipients
	}{
		{"dot", "554 Transaction failed: Recipient count exceeds 2.", 3},
		{"dot", "552 5.5.3 no", 3},
		{"dot", "450 4.5.3 too many recipients", 3},
		{"data", "554 too many recipients, at most 4 go", 2},
	} {
		for _, ext := range [][]string{{"PIPELINING"}, {}} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, func(c *mx.Config) { c.IdleTimeout = -1 })
			w.script(c.event, c.reply, 1)
			for sent := 1; sent <= 2; sent++ {
				res := w.deliver(task(t, letter, "first@b.test", "second@b.test", "third@b.test", "fourth@b.test", "fifth@b.test"))
				for i, r := range res.Replies {
					if !r.Positive() {
						t.Errorf("%s %v: %d: %v", c.reply, ext, i, r)
					}
				}
				if m := w.srv.Messages(); len(m) != sent*c.messages || w.srv.Sessions() != sent {
					t.Errorf("%s %v: %d messages in %d sessions", c.reply, ext, len(m), w.srv.Sessions())
				}
			}
		}
	}
}

// A server that names no number is given a smaller one at each attempt, and the
// content is sent twice in an attempt at most for that.
func TestRecipientsAreSplitOnceAnAttempt(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.IdleTimeout = -1 })
	to := make([]string, 100)
	for i := range to {
		to[i] = fmt.Sprintf("r%d@b.test", i)
	}
	w.script("dot", "554 too many recipients", 4) // it takes twelve
	for attempt, refused := range []int{2, 2, 0} {
		before := len(w.srv.Commands())
		res := w.deliver(task(t, letter, to...))
		sent := 0
		for _, c := range w.srv.Commands()[before:] {
			if strings.HasSuffix(c, "DATA") {
				sent++
			}
		}
		if positive := res.Replies[99].Positive(); positive != (refused == 0) || refused > 0 && (sent != refused || !deferred(res) || res.Replies[99].Status.String() != "4.5.3") {
			t.Errorf("attempt %d: sent %d times, %v", attempt+1, sent, res.Replies[99])
		}
	}
}

// A server that minds the number of recipients whatever it is has the last word.
func TestTooManyRecipientsForEver(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("dot", "554 too many recipients", 0)
	res := w.deliver(task(t, letter, "first@b.test", "second@b.test", "third@b.test"))
	for i, r := range res.Replies {
		if !r.Permanent() {
			t.Errorf("%d: %v", i, r)
		}
	}
}

// TestTooManyRecipients: 452 and 552 after some were accepted mean
// "another transaction", at once.
func TestTooManyRecipients(t *testing.T) {
	for _, reply := range []string{"452 4.5.3 too many recipients", "452 too many recipients", "552 5.5.3 too many", "552 too many recipients", "550 too many recipients"} {
		for _, ext := range [][]string{{"PIPELINING"}, {}} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			w.script("rcpt:third@b.test", reply, 1)
			w.script("rcpt:fourth@b.test", reply, 1)
			w.script("rcpt:fifth@b.test", reply, 1)
			res := w.deliver(task(t, letter, "first@b.test", "second@b.test", "third@b.test", "fourth@b.test", "fifth@b.test"))
			for i, r := range res.Replies {
				if !r.Positive() {
					t.Errorf("%s %v: %d: %v", reply, ext, i, r)
				}
			}
			// Two each, as it takes: it is not asked for more again.
			if m := w.srv.Messages(); len(m) != 3 || w.srv.Sessions() != 1 {
				t.Errorf("%s %v: %d messages in %d sessions", reply, ext, len(m), w.srv.Sessions())
			}
		}
	}
}

// TestFullMailboxWithoutStatus: a bare 552 may mean either; one that is said of
// a recipient who is asked for first is his own, and delays nobody.
func TestFullMailboxWithoutStatus(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("rcpt:full@b.test", "552 mailbox is full", 0)
	res := w.deliver(task(t, letter, "first@b.test", "full@b.test", "third@b.test"))
	if r := res.Replies; !r[0].Positive() || !r[1].Permanent() || r[1].Code != 552 || !r[2].Positive() || len(w.srv.Messages()) != 1 {
		t.Errorf("%+v, %d messages", r, len(w.srv.Messages()))
	}
}

// TestCommandsOneByOne: a server that offers PIPELINING and then minds the order
// of what comes so gets one command after the other, and the mail.
func TestCommandsOneByOne(t *testing.T) {
	for _, at := range []string{"rcpt:*", "data"} {
		w := newWorld(t, mxtest.Config{}, nil)
		w.script(at, "503 5.5.1 bad sequence of commands", 2)
		res := w.deliver(task(t, letter, "first@b.test", "second@b.test"))
		want := 1
		if at == "data" {
			want = 0 // it says so again, though one by one
		}
		for _, r := range res.Replies {
			if r.Positive() != (want == 1) || r.Permanent() {
				t.Errorf("%s: %+v", at, r)
			}
		}
		if n := len(w.srv.Messages()); n != want || w.srv.Sessions() != 1 {
			t.Errorf("%s: %d messages in %d sessions", at, n, w.srv.Sessions())
		}
	}
}

// TestLastWords: a receiver that has enough in the middle of the content says
// why and stops reading; its words count.
func TestLastWords(t *testing.T) {
	bubble(t, mxtest.Config{}, nil, func(w *world) {
		w.script("body", "552 5.3.4 that is enough", 0)
		big := strings.Repeat(strings.Repeat("z", 998)+"\r\n", 12_000)
		res, _ := w.attempt(big)
		if r := res.Replies[0]; r.Code != 552 || !r.Permanent() || res.Unknown {
			t.Errorf("%+v", res)
		}
	})
}

// TestContentThatMustNotGo: damaged content is refused without a final dot,
// and its connection is not used again.
func TestContentThatMustNotGo(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	r := w.deliver(task(t, "a\r\n.\nMAIL FROM:<x@example.org>\r\n", "x@b.test")).Replies[0]
	if !r.Permanent() || r.Status.String() != "5.6.0" {
		t.Errorf("%+v", r)
	}
	if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() || res.Reused {
		t.Errorf("then: %+v", res)
	}
	if m := w.srv.Messages(); len(m) != 1 || string(m[0].Data) != letter {
		t.Errorf("the server has %+v", m)
	}
}
