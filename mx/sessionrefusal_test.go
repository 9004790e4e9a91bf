package mx_test

import (
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
)

// TestRefusalsOfTheSession: a server that minds the clear, or wants a login of
// its MX clients, says nothing of this mail, which must not be returned for it.
func TestRefusalsOfTheSession(t *testing.T) {
	for _, c := range []struct {
		at, no  string
		level   tlspolicy.Level
		bounces bool
	}{
		{"mail", "530 5.7.0 Must issue a STARTTLS command first", tlspolicy.LevelOpportunistic, false},
		{"mail", "530 5.7.0 Must issue a STARTTLS command first", tlspolicy.LevelOff, false},
		{"rcpt", "523 5.7.10 encryption needed", tlspolicy.LevelOff, false},
		{"data", "554 5.7.11 encryption needed", tlspolicy.LevelOff, false},
		{"rcpt", "530 5.7.0 Authentication required", tlspolicy.LevelOff, false},
		{"mail", "535 5.7.8 authentication required", tlspolicy.LevelOff, false},
		{"mail", "550 5.7.1 not from you", tlspolicy.LevelOff, true},
	} {
		w := newWorld(t, mxtest.Config{Extensions: []string{"PIPELINING"}}, func(m *mx.Config) { m.TLS = c.level })
		w.script(c.at, c.no, 0)
		if r := w.deliver(task(t, letter, "a@b.test")).Replies[0]; r.Positive() || r.Permanent() != c.bounces {
			t.Errorf("%s %s: %v", c.at, c.no, r)
		}
	}
}
