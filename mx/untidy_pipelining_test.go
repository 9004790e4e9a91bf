package mx_test

import (
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
)

// TestAnnouncedRepliesHeal: a server that answers 1yz first is out of step with
// commands that came in one write. It stays as it is, so that the next attempt
// must send them one by one.
func TestAnnouncedRepliesHeal(t *testing.T) {
	for at, do := range map[string]string{
		"mail": `raw "150 wait\r\n250 ok\r\n"`,
		"rcpt": `raw "150 wait\r\n250 ok\r\n"`,
		"data": `raw "150 wait\r\n354 go\r\n"`,
	} {
		w := newWorld(t, mxtest.Config{Extensions: []string{"PIPELINING"}}, func(*mx.Config) {})
		w.script(at, do, 0)
		if r := w.deliver(task(t, letter, "a@b.test")).Replies[0]; r.Positive() || r.Permanent() {
			t.Errorf("%s, all at once: %v", at, r)
		}
		if r := w.deliver(task(t, letter, "a@b.test")).Replies[0]; !r.Positive() || len(w.srv.Messages()) != 1 {
			t.Errorf("%s, one by one: %v, %d messages", at, r, len(w.srv.Messages()))
		}
	}
}
