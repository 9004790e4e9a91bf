package mx_test

import (
	"fmt"
	"testing"

	"dawk/mx/mxtest"
	"dawk/relay"
)

// many are recipients at b.test.
func many(n int) (to []string) {
	for i := range n {
		to = append(to, fmt.Sprintf("r%d@b.test", i))
	}
	return to
}

func waiting(r relay.Reply) bool { return !r.Positive() && !r.Permanent() }

// TestSlowDownIsHeard: a host that ends the session for how much it gets hears no
// more from this attempt, however few recipients it takes at a time.
func TestSlowDownIsHeard(t *testing.T) {
	for _, ext := range [][]string{{}, {"LIMITS RCPTMAX=1"}, {"PIPELINING", "LIMITS RCPTMAX=1"}} {
		for _, at := range []string{"mail", "rcpt", "rcpt:r1@b.test", "data"} {
			for _, no := range []string{"421 4.7.0 slow down", "421 too busy"} {
				w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
				w.script(at, no, 0)
				res := w.deliver(task(t, letter, many(60)...))
				if n := w.srv.Sessions(); n != 1 || !waiting(res.Replies[59]) {
					t.Errorf("%v, %s %s: %d connections, %v", ext, at, no, n, res.Replies[59])
				}
			}
		}
	}
}

// TestSlowDownTeachesNoNumber: a 421 for how much we send says nothing of how many
// recipients go in one transaction.
func TestSlowDownTeachesNoNumber(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("rcpt:r1@b.test", "421 4.7.0 slow down", 1)
	w.deliver(task(t, letter, many(3)...))
	if w.deliver(task(t, letter, many(3)...)); len(w.srv.Messages()) != 1 {
		t.Errorf("%d messages", len(w.srv.Messages()))
	}
}

// TestConnectionsOfAnAttempt: a host that takes little or nothing on a connection
// is given a bounded number of them in an attempt, and the rest waits.
func TestConnectionsOfAnAttempt(t *testing.T) {
	for _, c := range []struct {
		ext     string
		script  [2]string
		refused bool
		most    int
	}{
		{"LIMITS RCPTMAX=1", [2]string{"rset", "502 5.5.1 no"}, true, 3},
		{"LIMITS RCPTMAX=1 MAILMAX=1", [2]string{}, true, 3},
		{"LIMITS RCPTMAX=1 MAILMAX=1", [2]string{}, false, 20},
	} {
		w := newWorld(t, mxtest.Config{Extensions: []string{c.ext}}, nil)
		if c.refused {
			w.script("rcpt", "550 5.1.1 no such user", 0)
		}
		if c.script[0] != "" {
			w.script(c.script[0], c.script[1], 0)
		}
		res := w.deliver(task(t, letter, many(60)...))
		if n := w.srv.Sessions(); n != c.most || !waiting(res.Replies[59]) || waiting(res.Replies[0]) {
			t.Errorf("%+v: %d connections, %v, %v", c, n, res.Replies[0], res.Replies[59])
		}
	}
}
