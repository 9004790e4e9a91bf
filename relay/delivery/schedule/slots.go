package schedule

import (
	"time"

	"dawk/relay"
)

// Slot is one attempt's use of a connection.
type Slot struct {
	Ref      Ref
	p        *provider // whose connection it may use
	epoch    uint32    // of p's throttlings, when the connection was given
	known    bool      // the transport has named the provider of the first host
	refused  bool      // before the first connection: it does not count as an attempt
	identity *identity

	silentFor int64 // µs, at the last look: see GiveUp
}

// Provider is who runs the host that the slot is for; "": nobody knows yet.
func (f *Slot) Provider() string { return f.p.name }

// Has says whether the slot is for that provider already, so that nothing changes. It needs no
// lock.
func (f *Slot) Has(provider string) bool {
	if f.p.name != provider || !f.known && (f.p.recipients.limited() || f.p.messages.limited()) {
		return false
	}
	f.known = true
	return true
}

// Refused says whether the attempt got no connection to its first host: then it does not count as
// an attempt.
func (f *Slot) Refused() bool { return f.refused }

// Down says whether attempts at the provider have not got in, and what the last of
// them met.
func (f *Slot) Down() (bool, relay.Reply) { return f.p.trouble.since != 0, f.p.trouble.last }

// Limit is how many attempts may run at once at the provider.
func (f *Slot) Limit() int { return f.p.limit }

// Admit trades the connection of f for one to the provider of that name, which
// runs the host that f is about to connect to. It says whether there was one.
// The first host's provider is the one that the destination belongs to.
//
// Those that wait for the provider already go first: a domain that was unknown until now does not
// go before them.
func (s *Schedule) Admit(f *Slot, name string, recipients int, now int64) bool {
	first := !f.known
	f.known = true
	if f.p.name == name {
		if first {
			f.p.messages.take(now, f.p.allowed.messages(recipients)-1)
			f.p.recipients.take(now, recipients-1)
			s.spend(f.p, f.p.allowed.messages(recipients)-1, recipients-1, true)
		}
		return true
	}
	p := s.providerNamed(name)
	others := p.waited()
	if d := s.active[s.at(f.Ref).dest]; first && d.provider != p {
		s.move(d, p)
	}
	if others || !p.open() || p.next() > now || s.spend(p, p.allowed.messages(recipients), recipients, false) > now {
		f.refused = first
		s.letGo(p)
		return false
	}
	p.messages.take(now, p.allowed.messages(recipients))
	p.recipients.take(now, recipients)
	old := f.p
	old.slots--
	p.slots++
	f.p, f.epoch = p, p.epoch
	s.admitFlows(p)
	s.admitFlows(old)
	s.letGo(old)
	return true
}

// Verdict is what an attempt showed about its destination as a whole.
type Verdict uint8

const (
	VerdictNone      Verdict = iota // nothing: the attempt did not get as far as the destination
	VerdictOpen                     // it talked to us about mail
	VerdictClosed                   // it did not let us in: name, connection, greeting, TLS or login failed
	VerdictThrottled                // it said that we send too much at a time
)

// Land gives a slot back. The entry stays taken until Put.
// By is the reply of VerdictClosed and VerdictThrottled; news says whether the
// latter changed the pace.
func (s *Schedule) Land(f *Slot, v Verdict, by relay.Reply, now int64) (news bool) {
	d, p := s.active[s.at(f.Ref).dest], f.p
	delete(s.flying, f.Ref)
	d.slots--
	p.slots--
	f.identity.slots--
	s.of(f.identity).slots--
	s.slots--
	switch v {
	case VerdictOpen:
		d.probing, d.trouble = false, trouble{}
		s.end(&d.suspension)
		if p.suspension.until != 0 && p.suspension.why == suspendedClosed {
			s.end(&p.suspension)
		}
		p.succeeded(now)
	case VerdictClosed:
		d.probing = true
		d.trouble.add(now, by)
		p.trouble.add(now, by)
		s.suspend(&d.suspension, now+suspendFor(d.ready, s.shortest).Microseconds(), suspendedClosed)
		if pause := s.shut(p); pause > 0 {
			s.suspend(&p.suspension, max(p.suspension.until, now+pause.Microseconds()), suspendedClosed)
		}
	case VerdictThrottled:
		d.probing, d.trouble = false, trouble{}
		var pause time.Duration
		if news, pause = p.throttled(f, by, now, s.shortest); pause > 0 {
			s.suspend(&p.suspension, max(p.suspension.until, now+pause.Microseconds()), suspendedThrottled)
		}
	}
	s.park(d)
	s.admitFlows(p)
	s.forget(d)
	s.letGo(p)
	s.forgetIdentity(f.identity)
	return news
}

// Excess is how many attempts hold a connection beyond what their providers take now. cut is asked
// to end them, and says whether it has; nil: none is to be ended.
func (s *Schedule) Excess(cut func(Ref) bool) (n int) {
	over := make(map[*provider]int)
	for _, f := range s.flying {
		if more := f.p.slots - max(0, f.p.allowed.Connections); more > 0 && over[f.p] == 0 {
			over[f.p] = more
			n += more
		}
	}
	if n == 0 || cut == nil {
		return n
	}
	for r, f := range s.flying {
		if over[f.p] > 0 && cut(r) {
			over[f.p]--
		}
	}
	return n
}

// shut is for a provider of several domains. A single domain is suspended itself, and one dead
// domain says nothing about the others.
func (s *Schedule) shut(p *provider) time.Duration {
	if p.domains < 2 {
		return 0
	}
	return p.shut(s.shortest)
}
