package delivery

import (
	"time"

	"dawk/relay"
)

// Limits are what next hops allow besides Config.PerDestination. Functions
// that are nil, and zero values, set no limit. They are called under the
// dispatcher's lock: they must be cheap and must not call it.
type Limits struct {
	// Reserve takes room for one message to a destination from its budget, or
	// says when there may be some; zero: go ahead. A Delivery that waits for
	// its budget is not attempted, and nothing counts as an attempt.
	Reserve func(destination string) (wait time.Time)
	// Connections is how many attempts may run at once to a destination; 0:
	// Config.PerDestination.
	Connections func(destination string) int
}

// limit makes the scheduler heed l; clock is the dispatcher's.
func (s *scheduler) limit(l Limits, clock *clock) {
	s.connections = l.Connections
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
	if s.reserve == nil {
		return false
	}
	until := s.reserve(s.dests.names[d.num])
	if until == 0 {
		return false
	}
	s.rests.restUntil(d, until)
	d.budgeted = true
	return true
}

// Wake makes everything due now that waits for a destination after an attempt,
// and ends its rest: what kept it from being reached is over.
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
		if e.place != placeWaiting || e.dest != num || e.attempts == 0 {
			continue
		}
		s.pull(r)
		s.out--
		e.due = now
		s.makeReady(r)
	}
	if d := s.active[num]; d != nil {
		d.proving = false
		s.rests.end(d)
		s.offer(d)
		s.forget(d)
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
