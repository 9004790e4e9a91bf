package delivery

import (
	"fmt"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// slot is what an attempt may connect to: it is the relay.Admission of its task.
type slot struct {
	d          *Dispatcher
	flight     flight
	recipients int  // of the task
	admitted   bool // to a provider at least once
}

// Provider is whose connection the attempt was given.
func (s *slot) Provider() string { return s.flight.p.name }

// Admit asks for a connection to a host of that provider.
func (s *slot) Admit(provider string) bool {
	f := &s.flight
	if f.known && f.p.name == provider { // the same again: nothing to count
		return true
	}
	if !f.known && f.p.name == provider && !f.p.recipients.limited() {
		f.known, s.admitted = true, true
		return true
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	ok := s.d.sched.admit(f, provider, s.recipients, s.d.clock.now())
	s.admitted = s.admitted || ok
	s.d.pump()
	return ok
}

// turnedBack says whether the attempt ended before it connected to anything,
// for want of a connection: then there was none.
func (s *slot) turnedBack() bool { return s.flight.refused && !s.admitted }

// finding is what an attempt said of its destination as a whole.
type finding struct {
	verdict verdict
	slow    relay.Reply // of verdictSlow
}

// land gives back an attempt's connection.
func (d *Dispatcher) land(w work, found finding) {
	d.mu.Lock()
	p := w.slot.flight.p
	before := p.limit
	news := d.sched.land(&w.slot.flight, found.verdict, found.slow, d.clock.now())
	after := p.limit
	d.pump()
	d.mu.Unlock()
	if !news {
		return
	}
	d.observer.Observe(relay.Event{Kind: relay.EventProviderSlowed, Time: time.Now().Round(0), Provider: p.name,
		Reply: found.slow, Host: found.slow.MTA, Rule: fmt.Sprintf("%d connections at once instead of %d", after, before)})
}

// findingOf says what the attempt found out about its destination.
func findingOf(m *relay.Message, r relay.Result) finding {
	for _, reply := range r.Replies {
		if slowsDown(reply) {
			return finding{verdictSlow, reply}
		}
	}
	return finding{verdict: verdictOf(m, r)}
}

// slowsDown says whether a reply means that we send too much at a time. What is
// said of one mailbox (X.2.X: it is full, or gets too much mail from all the
// world) is no matter between us and its provider; nor is a 5yz.
func slowsDown(r relay.Reply) bool {
	return r.Code/100 == 4 && !(r.Stage == relay.StageRcpt && (r.Status.Subject == 2 || r.Status.Subject == 1)) &&
		bounce.Classify(r) == bounce.RateLimited
}
