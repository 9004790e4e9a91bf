package schedule

import (
	"time"

	"dawk/relay"
)

// suspension is the time during which nothing is attempted at a destination or
// at a provider.
type suspension struct {
	until    int64 // µs; 0: it is not suspended
	why      suspendReason
	pos      Ref          // in the heap
	dest     *destination // whose it is: this one's
	provider *provider    // or this one's
}

type suspendReason uint8

const (
	suspendedClosed    suspendReason = iota // it did not let us in
	suspendedBudget                         // the budget of a route is used up
	suspendedRate                           // its rate allows the next message later
	suspendedThrottled                      // it throttled us
)

// trouble says since when attempts have not got in, and with which reply the last one ended. The
// zero value: there is none.
type trouble struct {
	since, at int64 // the first and the last of them
	last      relay.Reply
}

func (t *trouble) add(now int64, met relay.Reply) {
	if t.since == 0 {
		t.since = now
	}
	t.at, t.last = now, met
}

var loadStates = [...]relay.LoadState{suspendedClosed: relay.LoadSuspended, suspendedBudget: relay.LoadBudget, suspendedRate: relay.LoadRate,
	suspendedThrottled: relay.LoadThrottled}

// rests says whether attempts are suspended.
func (r *suspension) rests() bool {
	return r.until != 0 && (r.why == suspendedClosed || r.why == suspendedThrottled)
}

// minSuspension is the least time between attempts at a host that does not let us in: a host that
// resets every connection is tried at most once a second.
const minSuspension = time.Second

// suspendFor is how long a destination that did not let us in is suspended. Within one retry step
// there is a probe for each waiting Delivery; the time is at most half of that step, and at least
// minSuspension if the step allows. Nothing is attempted meanwhile, so nothing counts as an
// attempt.
func suspendFor(waiting int, step time.Duration) time.Duration {
	return min(step/2, max(minSuspension, step/time.Duration(waiting+2)))
}

// backoff is first, doubled with each time after the first, up to most.
func backoff(first time.Duration, times int, most time.Duration) time.Duration {
	return min(first<<min(max(times-1, 0), 20), most)
}

// suspend begins a suspension, or changes its end.
func (s *Schedule) suspend(r *suspension, until int64, why suspendReason) {
	s.end(r)
	r.until, r.why = until, why
	s.suspensions.push(r)
}

// end ends a suspension, if there is one.
func (s *Schedule) end(r *suspension) {
	if r.until != 0 {
		s.suspensions.remove(r)
		r.until = 0
	}
}

// closed is how many destinations are suspended because attempts did not get in.
func (s *Schedule) closed() (n int) {
	for _, r := range s.suspensions.all {
		if r.dest != nil && r.why == suspendedClosed {
			n++
		}
	}
	return n
}

// resume ends a suspension, and offers turns again.
func (s *Schedule) resume(r *suspension) {
	s.end(r)
	if d := r.dest; d != nil {
		s.park(d)
		s.forget(d)
		return
	}
	s.admitFlows(r.provider)
	s.letGo(r.provider)
}

// Wake ends the suspension of r's destination and of its provider, except those by a rate: the
// operator wants an attempt now.
func (s *Schedule) Wake(r Ref) {
	if d := s.active[s.at(r).dest]; d != nil {
		s.wakeUp(d)
	}
}

func (s *Schedule) wakeUp(d *destination) {
	for _, r := range []*suspension{&d.suspension, &d.provider.suspension} {
		if r.until != 0 && r.why != suspendedRate {
			s.resume(r)
		}
	}
}
