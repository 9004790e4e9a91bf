package mx_test

import (
	"fmt"
	"strings"
	"testing"

	"dawk/mx/mxtest"
)

// TestClassification: what a reply at each stage means for the recipients,
// and whether another MX host is asked. "next" scripts the first host only;
// the second takes everything.
func TestClassification(t *testing.T) {
	const (
		relayed = "relayed" // by the second host
		defer_  = "defer"
		bounce  = "bounce"
		unknown = "unknown"
	)
	for _, c := range []struct {
		event, reply string
		want         string
	}{
		// The host, before MAIL: another may be better, and nothing is final.
		{"connect", "421 4.3.2 busy", relayed},
		{"connect", "450 4.7.1 come back", relayed},
		{"connect", "554 5.7.1 you are on a list", relayed},
		{"connect", "354 what?", relayed},
		{"connect", "garbage", relayed},
		{"connect", "drop", relayed},
		{"connect", "reset", relayed},
		{"ehlo", "421 bye", relayed},
		{"ehlo", "450 later", relayed},
		{"ehlo", "drop", relayed},
		{"ehlo", "close raw \"250-x\\r\\n250\"", relayed},
		// MAIL: trouble of the host leads on; the sender's is final or waits.
		{"mail", "421 4.3.2 shutting down", relayed},
		{"mail", "421 shutting down", relayed},
		{"mail", "452 4.3.1 disk full", relayed},
		{"mail", "452 disk full", relayed},
		{"mail", "451 4.4.3 DNS trouble", relayed},
		{"mail", "421 4.7.0 too much mail from you", defer_},
		{"mail", "450 4.7.1 too much mail from you", defer_},
		{"mail", "451 4.1.8 sender domain", defer_},
		{"mail", "451 later", defer_},
		{"mail", "550 5.7.1 not from you", bounce},
		{"mail", "550", bounce},
		{"mail", "999 odd", defer_},
		{"mail", "garbage", relayed},
		{"mail", "drop", relayed},
		{"mail", "reset", relayed},
		{"mail", "raw \"354 what?\\r\\n\"", relayed},
		// RCPT: a recipient's refusal is never another host's business.
		{"rcpt", "450 4.2.1 greylisted", defer_},
		{"rcpt", "452 4.2.2 mailbox full", defer_},
		{"rcpt", "452 4.5.3 too many", defer_}, // none was accepted: not ours to split
		{"rcpt", "421 4.3.2 bye", relayed},
		{"rcpt", "421 4.7.0 slow down", defer_},
		{"rcpt", "550 5.1.1 unknown", bounce},
		{"rcpt", "552 5.2.2 mailbox full", bounce},
		{"rcpt", "552 5.5.3 too many recipients", defer_},
		{"rcpt", "553 bad name", bounce},
		{"rcpt", "600 odd", defer_},
		{"rcpt", "drop", relayed},
		{"rcpt", "garbage", relayed},
		// DATA: after recipients were accepted this host has judged.
		{"data", "421 4.3.2 bye", defer_},
		{"data", "451 4.3.0 later", defer_},
		{"data", "554 5.5.1 no", bounce},
		{"data", "raw \"250 fine\\r\\n\"", defer_},
		{"data", "drop", defer_},
		// The reply to the final dot.
		{"dot", "421 4.3.2 not now", defer_},
		{"dot", "450 4.7.1 scanning", defer_},
		{"dot", "451", defer_},
		{"dot", "550 5.7.1 spam", bounce},
		{"dot", "552 5.3.4 too big", bounce},
		{"dot", "554", bounce},
		{"dot", "drop", unknown},
		{"dot", "reset", unknown},
		{"dot", "halfclose", unknown},
		{"dot", "garbage", unknown},
		{"dot", "raw \"354 more?\\r\\n\"", unknown},
		{"dot", "raw \"250-taken\\r\\n550 not\\r\\n\"", unknown},
		{"dot", "close raw \"250-taken\\r\\n25\"", unknown},
	} {
		for _, pipelining := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %s pipelining=%v", c.event, c.reply, pipelining), func(t *testing.T) {
				cfg := mxtest.Config{Extensions: []string{"8BITMIME"}}
				if pipelining {
					cfg.Extensions = append(cfg.Extensions, "PIPELINING")
				}
				w := newWorld(t, cfg, nil)
				if err := w.dns.Add("b.test. MX 20 mx2.b.test.\nmx2.b.test. A 127.0.0.2"); err != nil {
					t.Fatal(err)
				}
				cfg.Addr = fmt.Sprint("127.0.0.2:", w.srv.Port())
				second := newServer(t, cfg)
				action := c.reply
				if action == "garbage" {
					action = `raw "\x01 what is SMTP?\r\n"`
				}
				w.script(c.event, action, 0)
				res := w.deliver(task(t, letter, "x@b.test", "y@b.test"))
				for i, r := range res.Replies {
					got := defer_
					switch {
					case r.Positive():
						got = relayed
					case r.Permanent():
						got = bounce
					case res.Unknown:
						got = unknown
					}
					if got != c.want {
						t.Errorf("recipient %d: %s, want %s: %+v", i, got, c.want, r)
					}
					if got != relayed && (r.MTA != "mx.b.test" || r.Addr != "127.0.0.1") {
						t.Errorf("recipient %d: said by %q %q", i, r.MTA, r.Addr)
					}
				}
				if n := len(second.Messages()); (c.want == relayed) != (n == 1) {
					t.Errorf("the second host has %d messages, asked %d times", n, second.Sessions())
				}
				if c.want != relayed && second.Sessions() > 0 {
					t.Error("the second host was asked")
				}
			})
		}
	}
}

// TestOwnFate: one recipient's refusal never touches another's.
func TestOwnFate(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
		w.script("rcpt:no@b.test", "550 5.1.1 unknown", 0)
		w.script("rcpt:later@b.test", "450 4.2.1 later", 0)
		res := w.deliver(task(t, letter, "no@b.test", "yes@b.test", "later@b.test", "also@b.test"))
		for i, want := range []int{550, 250, 450, 250} {
			if res.Replies[i].Code != want {
				t.Errorf("%v: recipient %d: %v", ext, i, res.Replies[i])
			}
		}
		if m := w.srv.Messages(); len(m) != 1 || len(m[0].Recipients) != 2 {
			t.Errorf("%v: %+v", ext, m)
		}
		// And the connection is as good as new.
		if res := w.deliver(task(t, letter, "no@b.test")); res.Replies[0].Code != 550 || !res.Reused {
			t.Errorf("%v: then %+v", ext, res)
		}
		if res := w.deliver(task(t, letter, "yes@b.test")); !res.Replies[0].Positive() || !res.Reused {
			t.Errorf("%v: and then %+v", ext, res)
		}
	}
}

// TestGoneInTheMiddle: a 421 or a cut between recipients defers exactly those
// that have no answer of their own.
func TestGoneInTheMiddle(t *testing.T) {
	for _, action := range []string{"421 4.3.2 enough", "drop", "reset"} {
		for _, ext := range [][]string{{"PIPELINING"}, {}} {
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			w.script("rcpt:no@b.test", "550 5.1.1 unknown", 0)
			w.script("rcpt:gone@b.test", action, 0)
			res := w.deliver(task(t, letter, "no@b.test", "yes@b.test", "gone@b.test", "after@b.test"))
			// A reset may destroy replies that were on their way.
			if r := res.Replies[0]; r.Code != 550 && action != "reset" {
				t.Errorf("%s %v: %v", action, ext, r)
			}
			for _, r := range res.Replies[1:] {
				if r.Positive() || r.Permanent() {
					t.Errorf("%s %v: %v", action, ext, r)
				}
			}
		}
	}
}

// TestAllHostsFail: the reply says which host failed how.
func TestAllHostsFail(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("b.test. MX 5 mx0.b.test.\nmx0.b.test. A 127.0.0.9"); err != nil {
		t.Fatal(err)
	}
	w.script("connect", "554 5.7.1 you are on a list", 0)
	r := w.deliver(task(t, letter, "x@b.test")).Replies[0]
	if r.Permanent() || r.Code != 554 || r.MTA != "mx.b.test" {
		t.Errorf("%+v", r)
	}
	for _, want := range []string{"you are on a list", "mx0.b.test [127.0.0.9]", "refused"} {
		if !strings.Contains(r.Text, want) {
			t.Errorf("%q does not say %q", r.Text, want)
		}
	}
}
