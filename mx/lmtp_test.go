package mx_test

import (
	"path/filepath"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// lmtpWorld is a Transport whose one route leads to a server at via; $ in via
// stands for the server's port, @ for the path of its socket.
func lmtpWorld(t *testing.T, cfg mxtest.Config, via string) *world {
	t.Helper()
	if strings.Contains(via, "unix:") {
		cfg.Addr = "unix:" + filepath.Join(t.TempDir(), "mx.sock")
	}
	w := &world{t: t, srv: newServer(t, cfg)}
	if path, ok := strings.CutPrefix(cfg.Addr, "unix:"); ok {
		via += path
	} else {
		via += w.srv.Addr()
	}
	w.tr = newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: oneHost{},
		Routes: []mx.Route{{Name: "hub", To: []string{"*"}, Via: []mx.Hop{hop(t, via, false)}}}})
	return w
}

// TestNextHops: LMTP and SMTP, over TCP and unix sockets. Only an LMTP
// server's yes is a delivery.
func TestNextHops(t *testing.T) {
	for _, c := range []struct {
		via  string
		lmtp bool
	}{{"lmtp://", true}, {"lmtp+unix:", true}, {"smtp+unix:", false}, {"", false}} {
		t.Run(c.via, func(t *testing.T) {
			w := lmtpWorld(t, mxtest.Config{LMTP: c.lmtp}, c.via)
			one := task(t, letter, "x@b.test", "y@b.test")
			one.Message.Recipients[0].Notify = relay.NotifySuccess
			for i, reused := range []bool{false, true} {
				res := w.deliver(one)
				if !res.Replies[0].Positive() || !res.Replies[1].Positive() || res.Delivered != c.lmtp || res.Reused != reused {
					t.Errorf("%d: %+v", i, res)
				}
				if c.lmtp == res.DSN {
					t.Error("an LMTP server is told to write notices of its own")
				}
			}
			if m := w.srv.Messages(); len(m) != 2 || w.srv.Sessions() != 1 || string(m[0].Data) != letter {
				t.Errorf("%d messages in %d sessions", len(m), w.srv.Sessions())
			}
		})
	}
}

// TestLMTPOwnFate: each recipient has an answer of its own after the final dot.
func TestLMTPOwnFate(t *testing.T) {
	for _, ext := range [][]string{{"PIPELINING"}, {}} {
		w := lmtpWorld(t, mxtest.Config{LMTP: true, Extensions: ext}, "lmtp://")
		w.script("rcpt:unknown@b.test", "550 5.1.1 unknown", 0)
		w.script("dot:full@b.test", "452 4.2.2 mailbox full", 0)
		w.script("dot:spam@b.test", "550 5.7.1 the filter of this mailbox", 0)
		for range 2 {
			res := w.deliver(task(t, letter, "full@b.test", "unknown@b.test", "yes@b.test", "spam@b.test", "also@b.test"))
			for i, want := range []int{452, 550, 250, 550, 250} {
				if r := res.Replies[i]; r.Code != want {
					t.Errorf("%v: recipient %d: %v", ext, i, r)
				}
			}
			if res.Unknown || !res.Delivered {
				t.Errorf("%v: %+v", ext, res)
			}
		}
		if m := w.srv.Messages(); len(m) != 2 || len(m[0].Recipients) != 2 || w.srv.Sessions() != 1 {
			t.Errorf("%v: %+v in %d sessions", ext, m, w.srv.Sessions())
		}
	}
}

// TestLMTPLost: whoever had an answer keeps it when the server goes away
// between two; the fate of the others is unknown, and never "failed".
func TestLMTPLost(t *testing.T) {
	for _, action := range []string{"drop", "halfclose", `raw "what?\r\n"`, "421 4.3.2 shutting down"} {
		w := lmtpWorld(t, mxtest.Config{LMTP: true}, "lmtp+unix:")
		w.script("dot:second@b.test", action, 0)
		res := w.deliver(task(t, letter, "first@b.test", "second@b.test", "third@b.test"))
		if !res.Replies[0].Positive() || !res.Unknown {
			t.Errorf("%s: %+v", action, res)
		}
		for _, r := range res.Replies[1:] {
			if r.Positive() || r.Permanent() {
				t.Errorf("%s: %+v", action, r)
			}
		}
	}
}

// TestLMTPNobody: an LMTP server that took no recipient answers nothing to the
// final dot, even if it said 354 before: nobody waits for it.
func TestLMTPNobody(t *testing.T) {
	w := lmtpWorld(t, mxtest.Config{LMTP: true}, "lmtp://")
	w.script("rcpt", "550 5.1.1 unknown", 1)
	if res := w.deliver(task(t, letter, "no@b.test")); res.Replies[0].Code != 550 {
		t.Errorf("%+v", res)
	}
	if res := w.deliver(task(t, letter, "yes@b.test")); !res.Replies[0].Positive() || !res.Reused {
		t.Errorf("then: %+v", res)
	}
}

// TestNoSocket: a socket that is not there defers, and names its path.
func TestNoSocket(t *testing.T) {
	w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: oneHost{},
		Routes: []mx.Route{{Name: "hub", To: []string{"*"}, Via: []mx.Hop{hop(t, "lmtp+unix:/nonexistent/lmtp", false)}}}})}
	r := w.deliver(task(t, letter, "x@b.test")).Replies[0]
	if r.Permanent() || r.Status.String() != "4.4.1" || !strings.Contains(r.Text, "/nonexistent/lmtp") {
		t.Errorf("%+v", r)
	}
}

// TestNotSMTP: a server that speaks the other of the two protocols is found
// out before any mail is said.
func TestNotSMTP(t *testing.T) {
	for via, lmtp := range map[string]bool{"lmtp://": false, "": true} {
		w := lmtpWorld(t, mxtest.Config{LMTP: lmtp}, via)
		if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Permanent() || r.Code != 500 || r.Stage != relay.StageEHLO {
			t.Errorf("%q: %+v", via, r)
		}
	}
}
