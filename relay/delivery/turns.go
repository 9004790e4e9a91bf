package delivery

import (
	"time"

	"dawk/relay"
)

// Turns go round between providers, within a provider between the identities
// that submitted, and within an identity between destinations: neither a
// flooding application nor a domain with much mail delays others by more than a
// turn. Who may not have a turn stands in no ring, and is offered one when that
// changes: so a turn costs the same however many wait.

func laneKey(e *entry) uint64 { return uint64(e.dest)<<32 | uint64(e.ident) }

// makeReady puts an entry into its lane: at the end, or where it was the first.
func (s *scheduler) makeReady(r ref, first bool, now int64) {
	e := s.at(r)
	l := s.laneOf(e)
	d := l.dest
	e.place = placeReady
	if first {
		l.pushFront(&s.table, r)
	} else {
		l.push(&s.table, r)
	}
	d.ready++
	d.provider.ready++
	s.ready++
	if d.rest.until != 0 && d.rest.why == restClosed { // which was measured for others, who may be more patient
		if latest := now + s.step(int(e.attempts)).Microseconds(); latest < d.rest.until {
			s.rests.begin(&d.rest, latest, restClosed)
		}
	}
	s.offerLane(l)
}

// laneOf is the lane for e, with its destination and its share.
func (s *scheduler) laneOf(e *entry) *lane {
	key := laneKey(e)
	l := s.lanes[key]
	if l != nil {
		return l
	}
	d := s.busy(e.dest)
	l = &lane{dest: d, share: s.shareOf(d.provider, e.ident), older: d.lanes}
	l.share.lanes++
	if d.lanes != nil {
		d.lanes.newer = l
	}
	d.lanes = l
	s.lanes[key] = l
	return l
}

func (s *scheduler) shareOf(p *provider, ident uint32) *share {
	key := shareKey{p, ident}
	h := s.shares[key]
	if h == nil {
		h = &share{ident: ident, provider: p}
		s.shares[key] = h
	}
	return h
}

// dropLane forgets an empty lane that stands in no ring.
func (s *scheduler) dropLane(l *lane) {
	if l.n > 0 || l.seat.taken || l.dest == nil {
		return
	}
	d := l.dest
	if l.older != nil {
		l.older.newer = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		d.lanes = l.older
	}
	delete(s.lanes, uint64(d.num)<<32|uint64(l.share.ident))
	l.dest = nil
	s.leaveShare(l.share)
}

// leaveShare is for a lane that leaves it.
func (s *scheduler) leaveShare(h *share) {
	if h.lanes--; h.lanes == 0 && !h.seat.taken {
		delete(s.shares, shareKey{h.provider, h.ident})
	}
}

// offer gives the lanes of d a turn that had to do without one, if it may have
// one now.
func (s *scheduler) offer(d *destination) {
	if !d.parked || !d.open() {
		return
	}
	d.parked = false
	for l := d.lanes; l != nil; l = l.older {
		s.offerLane(l)
	}
}

// offerLane puts l into the ring if it may have a turn.
func (s *scheduler) offerLane(l *lane) {
	switch {
	case l.seat.taken || l.n == 0:
		return
	case !l.dest.open():
		l.dest.parked = true
		return
	}
	l.share.turns.join(&l.seat, l)
	s.offerShare(l.share)
}

func (s *scheduler) offerShare(h *share) {
	if !h.seat.taken && !h.turns.empty() {
		h.provider.turns.join(&h.seat, h)
	}
	s.offerProvider(h.provider)
}

// offerProvider puts p into the ring if it may have a turn.
func (s *scheduler) offerProvider(p *provider) {
	if !p.seat.taken && !p.turns.empty() && p.open() {
		s.turns.join(&p.seat, p)
	}
}

// flight is one attempt's use of a connection.
type flight struct {
	r       ref
	p       *provider // whose connection it may use
	epoch   uint32    // of p's slow-downs, when the connection was given
	known   bool      // the transport has named the provider of the first host
	refused bool      // before the first connection: the attempt is none
}

// take is the attempt whose turn it is; ok is false when none may begin now.
func (s *scheduler) take(now int64) (f flight, ok bool) {
	for s.flying < s.maxFlying && !s.turns.empty() {
		p := s.turns.next()
		if p.turns.empty() || !p.open() {
			s.letGo(p)
			continue // something changed while it waited for its turn
		}
		if until := p.next(); until > now {
			s.rests.begin(&p.rest, until, restRate)
			continue
		}
		l := s.turn(p)
		if l == nil {
			s.offerProvider(p)
			continue
		}
		p.messages.take(now, 1)
		p.recipients.take(now, 1)
		f = flight{r: l.head, p: p, epoch: p.epoch}
		l.dest.flying++ // before pull, which forgets a destination that is idle
		p.flying++
		s.flying++
		s.pull(f.r)
		s.offerLane(l)
		s.offerProvider(p)
		return f, true
	}
	return flight{}, false
}

// turn is the lane of p whose turn it is, out of its ring; nil when it cannot
// have one, and another may.
func (s *scheduler) turn(p *provider) *lane {
	h := p.turns.next()
	if h.turns.empty() {
		if h.lanes == 0 {
			delete(s.shares, shareKey{p, h.ident})
		}
		return nil
	}
	l := h.turns.next()
	if !h.turns.empty() {
		p.turns.join(&h.seat, h)
	}
	d := l.dest
	switch {
	case l.n == 0:
		s.dropLane(l)
		s.forget(d)
		return nil
	case !d.open() || s.waits(d):
		d.parked = true
		return nil
	}
	return l
}

// admit trades the connection of f for one to the provider of that name, which
// runs the host that f is about to connect to. It says whether there was one.
// The first host's provider is the one that the destination belongs to.
//
// Those that wait for the provider already go first: a domain that was unknown
// until now does not jump its queue.
func (s *scheduler) admit(f *flight, name string, recipients int, now int64) bool {
	first := !f.known
	f.known = true
	if f.p.name == name {
		if first {
			f.p.recipients.take(now, recipients-1)
		}
		return true
	}
	p := s.providerNamed(name)
	others := !p.turns.empty()
	if d := s.active[s.at(f.r).dest]; first && d.provider != p {
		s.move(d, p)
	}
	if others || !p.open() || p.next() > now {
		f.refused = first
		s.letGo(p)
		return false
	}
	p.messages.take(now, 1)
	p.recipients.take(now, recipients)
	old := f.p
	old.flying--
	p.flying++
	f.p, f.epoch = p, p.epoch
	s.offerProvider(old)
	s.letGo(old)
	return true
}

// verdict is what an attempt said of its destination as a whole.
type verdict uint8

const (
	verdictNone   verdict = iota // nothing: the attempt did not get as far as asking it
	verdictOpen                  // it talked to us about mail
	verdictClosed                // it did not let us in: name, connection, greeting, TLS or login failed
	verdictSlow                  // it said that we send too much at a time
)

// land ends an attempt's use of a connection. The entry stays out until put.
// By is the reply of verdictSlow; news says whether it changed the pace.
func (s *scheduler) land(f *flight, v verdict, by relay.Reply, now int64) (news bool) {
	d, p := s.active[s.at(f.r).dest], f.p
	d.flying--
	p.flying--
	s.flying--
	switch v {
	case verdictOpen:
		d.proving = false
		s.rests.end(&d.rest)
		if p.rest.until != 0 && p.rest.why == restClosed {
			s.rests.end(&p.rest)
		}
		p.succeeded(now)
	case verdictClosed:
		d.proving = true
		s.rests.begin(&d.rest, now+restFor(d.ready, s.stepOf(d)).Microseconds(), restClosed)
		if pause := s.shut(p); pause > 0 {
			s.rests.begin(&p.rest, max(p.rest.until, now+pause.Microseconds()), restClosed)
		}
	case verdictSlow:
		d.proving = false
		var pause time.Duration
		if news, pause = p.slowed(f, by, now, s.shortest); pause > 0 {
			s.rests.begin(&p.rest, max(p.rest.until, now+pause.Microseconds()), restSlow)
		}
	}
	s.offer(d)
	s.offerProvider(p)
	s.forget(d)
	s.letGo(p)
	return news
}

// shut is for a provider of several domains: one that is alone is left alone
// itself, and one that is dead among others is no verdict on them.
func (s *scheduler) shut(p *provider) time.Duration {
	if p.domains < 2 {
		return 0
	}
	return p.shut(s.shortest)
}

// stepOf is the retry step of one that waits for d.
func (s *scheduler) stepOf(d *destination) time.Duration {
	for l := d.lanes; l != nil; l = l.older {
		if l.n > 0 {
			return s.step(int(s.at(l.head).attempts))
		}
	}
	return s.step(0)
}

// rested ends a rest.
func (s *scheduler) rested(r *rest) {
	s.rests.end(r)
	if d := r.dest; d != nil {
		s.forget(d)
		s.offer(d)
		return
	}
	s.offerProvider(r.provider)
	s.letGo(r.provider)
}

// wake ends the rest of r's destination: somebody wants to know now. Budgets
// and rates are no matter of wishes.
func (s *scheduler) wake(r ref) {
	if d := s.active[s.at(r).dest]; d != nil {
		s.wakeUp(d)
	}
}

func (s *scheduler) wakeUp(d *destination) {
	for _, r := range []*rest{&d.rest, &d.provider.rest} {
		if r.until != 0 && r.why != restRate {
			s.rested(r)
		}
	}
}

// forget drops a destination that is not busy any more.
func (s *scheduler) forget(d *destination) {
	if d.ready > 0 || d.flying > 0 || d.rest.until != 0 || s.active[d.num] != d {
		return
	}
	for l := d.lanes; l != nil; l = l.older {
		if l.seat.taken {
			return // its turn will find it empty
		}
	}
	for d.lanes != nil {
		s.dropLane(d.lanes)
	}
	delete(s.active, d.num)
	s.dests.drop(d.num)
	d.provider.domains--
	s.letGo(d.provider)
}

// rescue finds lanes that could have a turn and are in no ring, gives them one
// and says how many entries they had. It looks at all that are ready.
func (s *scheduler) rescue() (stranded int) {
	for _, l := range s.lanes {
		if l.n == 0 || !l.dest.open() {
			continue
		}
		lost := !l.seat.taken || !l.share.seat.taken || l.share.provider.open() && !l.share.provider.seat.taken
		s.offerLane(l)
		s.offerShare(l.share)
		if lost {
			stranded += l.n
		}
	}
	return stranded
}
