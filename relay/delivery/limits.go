package delivery

import (
	"time"

	"dawk/relay"
)

// Limits are what next hops allow. Functions that are nil set no limit besides
// Config.PerProvider. They are called under the dispatcher's lock: they must be
// cheap and must not call it.
type Limits struct {
	// Reserve takes room for one message to a destination from its budget, or
	// says when there may be some; zero: go ahead. A Delivery that waits for
	// its budget is not attempted, and nothing counts as an attempt.
	Reserve func(destination string) (wait time.Time)
	// Provider names who takes the mail of a destination; "": an attempt must
	// find out first (relay.Admission). nil: each destination is its own.
	Provider func(destination string) string
	// Allowance is what a provider takes.
	Allowance func(provider string) Allowance
}

// Allowance is what a provider takes.
type Allowance struct {
	Connections   int        // at once; 0: Config.PerProvider
	Rate          relay.Rate // messages; zero: no limit
	RecipientRate relay.Rate // recipients of messages, likewise
}

// limits are those of a scheduler; no function is nil.
type limits struct {
	reserve    func(destination string) int64 // until when it waits for its budget; 0: it does not
	providerOf func(destination string) string
	allowance  func(provider string) Allowance
}

func noLimits(perProvider int) limits {
	return limits{
		reserve:    func(string) int64 { return 0 },
		providerOf: func(destination string) string { return destination },
		allowance:  func(string) Allowance { return Allowance{Connections: perProvider} },
	}
}

// limit makes the scheduler heed l; clock is the dispatcher's.
func (s *scheduler) limit(l Limits, clock *clock) {
	if l.Provider != nil {
		s.providerOf = l.Provider
	}
	if own := s.allowance; l.Allowance != nil {
		s.allowance = func(provider string) Allowance {
			a := l.Allowance(provider)
			if a.Connections <= 0 {
				a.Connections = own(provider).Connections
			}
			return a
		}
	}
	if l.Reserve == nil {
		return
	}
	s.reserve = func(destination string) int64 {
		wait := l.Reserve(destination)
		if wait.IsZero() {
			return 0
		}
		return clock.at(wait)
	}
}

// waits says whether d has to wait for its budget, and lets it rest until then.
func (s *scheduler) waits(d *destination) bool {
	until := s.reserve(s.dests.names[d.num])
	if until == 0 {
		return false
	}
	s.rests.begin(&d.rest, until, restBudget)
	return true
}

// Wake makes everything due now that waits for a destination after an attempt,
// or is about to, and ends its rest: what kept it from being reached is over.
func (d *Dispatcher) Wake(destination string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if num, ok := d.sched.dests.byName[destination]; ok && d.loaded {
		d.sched.wakeAll(num, d.clock.now())
		d.pump()
	}
}

// wakeAll looks at every entry: it is for what happens seldom.
func (s *scheduler) wakeAll(num uint32, now int64) {
	for r := ref(1); r <= s.used; r++ {
		e := s.at(r)
		if e.place == placeOut && e.dest == num {
			s.woken[r] = true // it may come back from an attempt of before
		}
		if e.place != placeWaiting || e.dest != num || e.attempts == 0 {
			continue
		}
		s.leave(r)
		e.due = now
		s.makeReady(r, false, now)
	}
	if d := s.active[num]; d != nil {
		d.proving = false
		s.wakeUp(d)
		s.offer(d)
	}
}

// accountHold keeps the time that d's route is held out of d's age: HeldAt says
// since when, until the first attempt that the hold did not stop.
func accountHold(m *relay.Message, d *relay.Delivery, r relay.Result) {
	switch {
	case d.Held: // by the operator, meanwhile
	case !r.HeldSince.IsZero() && d.HeldAt.IsZero():
		d.HeldAt = r.HeldSince.Round(0)
		for _, t := range []time.Time{m.Arrival, m.NotBefore} { // before that it had no age
			if t.After(d.HeldAt) {
				d.HeldAt = t
			}
		}
	case r.HeldSince.IsZero() && !d.HeldAt.IsZero():
		d.HeldFor += max(0, r.Began.Round(0).Sub(d.HeldAt))
		d.HeldAt = time.Time{}
	}
}
