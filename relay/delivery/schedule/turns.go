package schedule

import "dawk/relay"

// The order of turns is decided in this file alone. Priorities come first; within
// a priority turns go round between the identities that submitted, within an
// identity between providers, and within a provider between destinations: neither
// a flooding application nor a domain with much mail delays others by more than a
// turn.
//
// A lane that may have a turn stands in the ring of its flow; the flow stands in the backlog of its
// provider. Of a backlog as many flows are eligible as the provider has connections for: those are
// in the ring of their identity, which is in the ring of its priority. So the first in a ring
// always may go, a turn costs the same however many wait, and whatever waits for a slot could use
// it. If an identity holds all the slots that it may, its flows are bypassed: others become
// eligible in addition.

// identity is who submitted mail that is ready or in progress. Each client of a trusted network is
// an identity.
type identity struct {
	num   uint32 // of its name
	rank  relay.Priority
	since uint64      // Schedule.turn of its last turn, or when it came; overdue ones do not count
	slots int         // attempts that may hold a connection
	flows int         // that are its own
	turns ring[*flow] // those that are eligible
	node  node[*identity]
}

// priority is the identities of one relay.Priority.
type priority struct {
	turns   ring[*identity] // those whose turn comes
	slots   int
	skipped int // slots that other priorities were given since its last one, while it waited
}

// backlog is the flows of one priority of a provider that could have a turn if it had connections
// for all.
type backlog struct {
	waiting  ring[*flow]
	eligible ring[*flow]
	bypassed int // of eligible: others were made eligible in addition
	skipped  int // connections that other priorities were given since its last one, while it waited
}

// onePart is an eighth: the part of all slots that no identity can take from the others, and that
// bulk mail may have before other mail. Also, what waits is skipped for a higher priority at most
// seven times.
const onePart = 8

// part is so much of n: at least one.
func part(n, of int) int { return max(1, n/of) }

// half is rounded up: two halves are the whole.
func half(n int) int { return (n + 1) / 2 }

func (s *Schedule) identityOf(num uint32) *identity {
	i := s.identities[num]
	if i == nil {
		i = &identity{num: num, rank: s.limits.Priority(s.idents.names[num]), since: s.turn}
		s.identities[num] = i
	}
	return i
}

func (s *Schedule) forgetIdentity(i *identity) {
	if i.flows == 0 && i.slots == 0 {
		delete(s.identities, i.num)
	}
}

func (s *Schedule) of(i *identity) *priority { return &s.priorities[i.rank] }

// backlog is the backlog that h is in.
func (h *flow) backlog() *backlog { return &h.provider.backlogs[h.identity.rank] }

// offer lets l have turns, if it may.
func (s *Schedule) offer(l *lane) {
	if l.node.queued || l.n == 0 || l.dest.parked {
		return
	}
	h := l.flow
	h.turns.join(&l.node, l)
	if !h.place.queued {
		h.backlog().waiting.join(&h.place, h)
		s.admitFlows(h.provider)
	}
}

// withdraw undoes offer.
func (s *Schedule) withdraw(l *lane) {
	h := l.flow
	h.turns.leave(&l.node)
	if h.turns.empty() && h.place.queued {
		s.leaveBacklog(h)
		s.admitFlows(h.provider)
	}
}

// leaveBacklog takes h out of its provider's backlog, and out of its identity's ring.
func (s *Schedule) leaveBacklog(h *flow) {
	if !h.eligible {
		h.backlog().waiting.leave(&h.place)
		return
	}
	s.retract(h)
}

func (s *Schedule) retract(h *flow) {
	i, l := h.identity, h.backlog()
	l.eligible.leave(&h.place)
	if h.bypassed {
		l.bypassed--
	}
	h.eligible, h.bypassed = false, false
	i.turns.leave(&h.node)
	if i.turns.empty() && i.node.queued {
		s.of(i).turns.leave(&i.node)
		s.standing--
	}
}

// admitFlows makes as many flows eligible as p has connections for, and undoes that for the rest.
// Call it whenever the number may have changed.
func (s *Schedule) admitFlows(p *provider) {
	for k := range p.backlogs {
		l := &p.backlogs[k]
		for !p.open() && !l.eligible.empty() {
			h := l.eligible.last.who
			s.retract(h)
			l.waiting.insert(&h.place, h, nil)
		}
		for p.open() && !l.waiting.empty() && l.eligible.n < p.width()-p.slots+l.bypassed {
			h := l.waiting.first.who
			l.waiting.leave(&h.place)
			l.eligible.join(&h.place, h)
			h.eligible = true
			h.identity.turns.join(&h.node, h)
			s.stand(h.identity)
		}
	}
	if p.open() && p.overdue() != nil {
		if !p.node.queued {
			s.overdue.join(&p.node, p)
		}
	} else {
		s.overdue.leave(&p.node)
	}
}

// overdue is a backlog that was skipped too often for other priorities, or nil.
func (p *provider) overdue() *backlog {
	for k := range p.backlogs {
		if l := &p.backlogs[k]; l.skipped >= onePart-1 && !l.eligible.empty() {
			return l
		}
	}
	return nil
}

// stand puts i into the ring of its priority: at the end, but before those that have had a turn
// since its last one. So an identity that had to leave the ring keeps its place.
func (s *Schedule) stand(i *identity) {
	if i.node.queued || i.turns.empty() {
		return
	}
	ring := &s.of(i).turns
	before := ring.last
	for before != nil && before.who.since > i.since {
		before = before.before
	}
	ring.insert(&i.node, i, before)
	s.standing++
}

// park withdraws all lanes of d, or offers them again, as it may have a turn.
func (s *Schedule) park(d *destination) {
	if d.parked == !d.open() {
		return
	}
	d.parked = !d.parked
	for l := d.lanes; l != nil; l = l.older {
		if d.parked {
			s.withdraw(l)
		} else {
			s.offer(l)
		}
	}
}

// Take gives out the attempt whose turn it is; nil if none may begin now.
func (s *Schedule) Take(now int64) *Slot {
	for {
		h, overdue := s.next()
		if h == nil {
			return nil
		}
		p := h.provider
		if until := p.next(); until > now {
			s.suspend(&p.suspension, until, suspendedRate)
			s.admitFlows(p)
			continue
		}
		if l := h.turns.first.who; s.waits(l.dest) {
			s.park(l.dest)
			continue
		}
		if until := s.spend(p, 1, 1, false); until > now {
			s.suspend(&p.suspension, until, suspendedRate)
			s.admitFlows(p)
			continue
		}
		return s.give(h, overdue, now)
	}
}

// give gives the slot to the lane of h whose turn it is, and lets lane, flow and identity join
// again at the end of their rings. An overdue turn at a provider does not count as a turn of the
// identity and the priority: otherwise their mail might never go elsewhere.
func (s *Schedule) give(h *flow, overdue bool, now int64) *Slot {
	i, p, l := h.identity, h.provider, h.turns.first.who
	f := &Slot{Ref: l.first, p: p, epoch: p.epoch, identity: i}
	s.flying[f.Ref] = f
	d := l.dest
	d.slots++ // before Pull, which forgets a destination that is idle
	p.slots++
	i.slots++
	s.of(i).slots++
	s.slots++
	p.messages.take(now, 1)
	p.recipients.take(now, 1)
	for k := range s.priorities {
		if o := &s.priorities[k]; o != s.of(i) && !o.turns.empty() {
			o.skipped++
		}
	}
	if !overdue {
		s.turn++
		i.since, s.of(i).skipped = s.turn, 0
	}
	for k := range p.backlogs {
		if o := &p.backlogs[k]; o != h.backlog() && (!o.eligible.empty() || !o.waiting.empty()) {
			o.skipped++
		}
	}
	h.backlog().skipped = 0
	if i.node.queued { // to the end, if it has more
		s.of(i).turns.leave(&i.node)
		s.standing--
	}
	h.turns.leave(&l.node)
	s.leaveBacklog(h)
	s.Pull(f.Ref)
	if l.n > 0 {
		h.turns.join(&l.node, l)
	}
	if !h.turns.empty() {
		h.backlog().waiting.join(&h.place, h)
	}
	s.park(d)
	s.admitFlows(p)
	s.stand(i)
	return f
}

// next is the flow whose turn it is, and whether that was overdue; nil: no slot may
// be given.
func (s *Schedule) next() (h *flow, overdue bool) {
	if s.standing == 0 || s.slots >= s.most {
		return nil, false
	}
	high, normal, bulk := &s.priorities[relay.PriorityHigh], &s.priorities[relay.PriorityNormal], &s.priorities[relay.PriorityBulk]
	order := make([]*priority, 0, 5)
	if bulk.skipped >= onePart-1 && bulk.slots < part(s.most, onePart) {
		order = append(order, bulk)
	}
	if normal.skipped >= onePart-1 {
		order = append(order, normal)
	}
	if len(order) == 0 && high.skipped < onePart-1 { // many providers may have one that is overdue
		if h := s.nextOverdue(); h != nil {
			return h, true
		}
	}
	order = append(order, high, normal, bulk)
	for _, strict := range []bool{true, false} {
		for _, of := range order {
			if of == high && s.standing > of.turns.n && of.slots >= part(s.most, 2) {
				continue // others wait
			}
			for n := of.turns.first; n != nil; n = n.after {
				if n.who.slots < s.mostOf(n.who, strict) {
					return n.who.turns.first.who, false
				}
				s.bypass(n.who)
			}
		}
	}
	return nil, false
}

// nextOverdue is a flow that has waited so long for its provider that it goes
// before higher priorities, or nil.
func (s *Schedule) nextOverdue() *flow {
	for n := s.overdue.first; n != nil; n = n.after {
		for h := n.who.overdue().eligible.first; h != nil; h = h.after {
			i := h.who.identity
			if i.slots < s.mostOf(i, false) {
				return h.who
			}
			s.bypass(i)
		}
	}
	return nil
}

// bypass makes others eligible in addition to i's eligible flows, since i holds all the slots that
// it may. Bypassed flows come first in i's ring.
func (s *Schedule) bypass(i *identity) {
	for n := i.turns.last; n != nil && !n.who.bypassed; n = n.before {
		n.who.bypassed = true
		n.who.backlog().bypassed++
		s.admitFlows(n.who.provider)
	}
}

// mostOf is how many slots an identity that waits may hold: half of them while others wait, and
// never the last part. Strict: half of the slots of its priority while others of that priority
// wait; this is dropped if a slot would otherwise stay free.
func (s *Schedule) mostOf(i *identity, strict bool) int {
	most := max(1, s.most-(s.most+onePart-1)/onePart)
	if s.standing > 1 {
		most = min(most, part(s.most, 2))
	}
	alike := s.of(i).turns.n
	if !strict || alike < 2 || s.standing == alike {
		return most
	}
	switch i.rank {
	case relay.PriorityHigh:
		return min(most, half(part(s.most, 2)))
	case relay.PriorityBulk:
		return min(most, half(part(s.most, onePart)))
	}
	return most
}

// waited says whether flows stand in p's backlogs.
func (p *provider) waited() bool {
	for k := range p.backlogs {
		if !p.backlogs[k].waiting.empty() || !p.backlogs[k].eligible.empty() {
			return true
		}
	}
	return false
}

// rank moves the identities to their present priorities.
func (s *Schedule) rank() {
	for _, i := range s.identities {
		rank := s.limits.Priority(s.idents.names[i.num])
		if rank == i.rank {
			continue
		}
		var in []*flow
		for _, h := range s.flows {
			if h.identity == i && h.place.queued {
				s.leaveBacklog(h)
				in = append(in, h)
			}
		}
		s.of(i).slots -= i.slots
		i.rank = rank
		s.of(i).slots += i.slots
		for _, h := range in {
			h.backlog().waiting.join(&h.place, h)
		}
		for _, h := range in {
			s.admitFlows(h.provider)
		}
	}
}
