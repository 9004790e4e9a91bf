package schedule

import (
	"time"

	"dawk/relay"
)

// DefaultConnections is how many attempts at once a provider takes if Limits do not
// say.
const DefaultConnections = 10

// Limits are what next hops allow. Functions that are nil set no limit besides
// DefaultConnections. They are called under the lock of the schedule's owner:
// they must be cheap and must not call it.
type Limits struct {
	// Reserve takes room for one message to a destination from its budget, or says when there may be
	// room; zero: there is. A Delivery that waits for its budget is not attempted, and nothing counts
	// as an attempt.
	Reserve func(destination string) (wait time.Time)
	// Provider names who takes the mail of a destination; "": an attempt must
	// find out first (relay.Admission). nil: each destination is its own.
	Provider func(destination string) string
	// Allowance is what a provider takes.
	Allowance func(provider string) Allowance
	// Spend counts a message with so many recipients in the rates of a provider where others count as
	// well, or says when there may be room; zero: it is counted. owed: it is counted in any case. nil:
	// nobody else counts.
	Spend func(provider string, a Allowance, messages, recipients int, owed bool) (wait time.Time)
	// Priority is that of an identity's mail.
	Priority func(identity string) relay.Priority
}

// Allowance is what a provider takes.
type Allowance struct {
	Connections   int        // at once; 0: DefaultConnections; below 0: none now
	Rate          relay.Rate // messages; zero: no limit
	RecipientRate relay.Rate // recipients of messages, likewise
	Recipients    int        // in one transaction: a Delivery with more counts as several messages; 0: no limit
}

// messages is how many a Delivery counts as.
func (a *Allowance) messages(recipients int) int {
	if a.Recipients <= 0 {
		return 1
	}
	return (recipients + a.Recipients - 1) / a.Recipients
}

// complete gives each limit a function.
func (l Limits) complete() Limits {
	if l.Reserve == nil {
		l.Reserve = func(string) time.Time { return time.Time{} }
	}
	if l.Provider == nil {
		l.Provider = func(destination string) string { return destination }
	}
	if l.Spend == nil {
		l.Spend = func(string, Allowance, int, int, bool) time.Time { return time.Time{} }
	}
	if l.Priority == nil {
		l.Priority = func(string) relay.Priority { return relay.PriorityNormal }
	}
	given := l.Allowance
	l.Allowance = func(provider string) (a Allowance) {
		if given != nil {
			a = given(provider)
		}
		if a.Connections == 0 {
			a.Connections = DefaultConnections
		}
		return a
	}
	return l
}

// waits says whether d has to wait for its budget, and if so suspends it until then.
func (s *Schedule) waits(d *destination) bool {
	until := s.limits.Reserve(s.dests.names[d.num])
	if until.IsZero() {
		return false
	}
	s.suspend(&d.suspension, s.clock(until), suspendedBudget)
	return true
}

// spend counts in the rates of p where others count as well, or says when there may be room.
func (s *Schedule) spend(p *provider, messages, recipients int, owed bool) (until int64) {
	if !p.messages.limited() && !p.recipients.limited() {
		return 0
	}
	if wait := s.limits.Spend(p.name, p.allowed, messages, recipients, owed); !wait.IsZero() {
		return s.clock(wait)
	}
	return 0
}

// WakeAll makes due what waits for a destination after an attempt, or is about to,
// and ends the suspension of the destination. It looks at every entry, so it is for
// rare occasions.
func (s *Schedule) WakeAll(destination string, now int64) {
	num, ok := s.dests.byName[destination]
	if !ok {
		return
	}
	for r := Ref(1); r <= s.used; r++ {
		e := s.at(r)
		if e.place == placeTaken && e.dest == num {
			s.woken[r] = true // it may come back from an earlier attempt
		}
		if e.place != placeWaiting || e.dest != num || e.attempts == 0 {
			continue
		}
		s.leave(r)
		e.due = now
		s.makeReady(r, false)
	}
	if d := s.active[num]; d != nil {
		d.probing = false
		s.wakeUp(d)
		s.park(d)
	}
}
