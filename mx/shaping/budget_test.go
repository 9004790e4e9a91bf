package shaping

import (
	"slices"
	"testing"
	"time"

	"dawk/relay/limits"
)

// together is what machines count together.
type together struct {
	full  string // a limit that has no room
	until time.Time
	did   []string
}

func (s *together) Take(l limits.Limit, n int) time.Time { return s.do("take", l) }
func (s *together) Has(l limits.Limit) time.Time         { return s.do("has", l) }
func (s *together) Owe(l limits.Limit, n int)            { s.do("owe", l) }

func (s *together) do(what string, l limits.Limit) time.Time {
	s.did = append(s.did, what+" "+l.Name)
	if l.Name == s.full {
		return s.until
	}
	return time.Time{}
}

// A mailbox that several machines use has the room that all of them left, and its own limits.
func TestBudgetOfSeveralMachines(t *testing.T) {
	now := time.Now()
	s := &together{until: now.Add(time.Hour)}
	m := NewMeter(Budget{PerMinute: 2, MessagesPerDay: 10, RecipientsPerDay: 20})
	m.Share("route:out", s)
	const minute, day, recipients = "mailbox route:out 2 messages in 1m", "mailbox route:out 10 messages in 1d", "mailbox route:out 20 recipients in 1d"
	for _, full := range []string{minute, day, recipients} {
		s.full = full
		if wait := m.Reserve(now); !wait.Equal(s.until) {
			t.Errorf("%s has no room, and the wait is until %v", full, wait)
		}
	}
	s.full, s.did = "", nil
	if wait := m.Reserve(now); !wait.IsZero() {
		t.Errorf("there is room, and the wait is until %v", wait)
	}
	m.Sent(now, 3)
	if want := []string{"has " + recipients, "has " + day, "take " + minute, "take " + day, "owe " + recipients}; !slices.Equal(s.did, want) {
		t.Errorf("%q", s.did)
	}
	m.Reserve(now)
	s.did = nil
	if wait := m.Reserve(now); !wait.Equal(now.Add(time.Minute)) || len(s.did) > 0 {
		t.Errorf("its own limit: until %v, asked %q", wait, s.did)
	}
}
