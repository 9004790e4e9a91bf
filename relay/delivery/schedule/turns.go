package schedule

// The order of turns is decided in this file alone. Turns go round between
// providers, within a provider between the identities that submitted (tenants),
// and within an identity between destinations: neither a flooding application
// nor a domain with much mail delays others by more than a turn. Whoever may not
// have a turn is in no ring, and is offered one when that changes: so a turn
// costs the same however many wait.

// tenant is the lanes of one identity for the destinations of one provider.
type tenant struct {
	ident    uint32
	provider *provider
	lanes    int         // that are its own
	turns    ring[*lane] // those whose turn comes
	node     node[*tenant]
}

type tenantKey struct {
	provider *provider
	ident    uint32
}

func laneKey(e *entry) uint64 { return uint64(e.dest)<<32 | uint64(e.ident) }

// makeReady puts an entry into its lane: at the end, or where it was the first.
func (s *Schedule) makeReady(r Ref, first bool, now int64) {
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
	if d.suspension.until != 0 && d.suspension.why == suspendedClosed { // which was measured for others, who may be more patient
		if latest := now + s.retry.step(int(e.attempts)).Microseconds(); latest < d.suspension.until {
			s.suspensions.begin(&d.suspension, latest, suspendedClosed)
		}
	}
	s.offerLane(l)
}

// laneOf is the lane for e, with its destination and its tenant.
func (s *Schedule) laneOf(e *entry) *lane {
	key := laneKey(e)
	l := s.lanes[key]
	if l != nil {
		return l
	}
	d := s.busy(e.dest)
	l = &lane{dest: d, tenant: s.tenantOf(d.provider, e.ident), older: d.lanes}
	l.tenant.lanes++
	if d.lanes != nil {
		d.lanes.newer = l
	}
	d.lanes = l
	s.lanes[key] = l
	return l
}

func (s *Schedule) tenantOf(p *provider, ident uint32) *tenant {
	key := tenantKey{p, ident}
	h := s.tenants[key]
	if h == nil {
		h = &tenant{ident: ident, provider: p}
		s.tenants[key] = h
	}
	return h
}

// dropLane forgets an empty lane that is in no ring.
func (s *Schedule) dropLane(l *lane) {
	if l.n > 0 || l.node.queued || l.dest == nil {
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
	delete(s.lanes, uint64(d.num)<<32|uint64(l.tenant.ident))
	l.dest = nil
	s.leaveTenant(l.tenant)
}

// leaveTenant is for a lane that leaves it.
func (s *Schedule) leaveTenant(h *tenant) {
	if h.lanes--; h.lanes == 0 && !h.node.queued {
		delete(s.tenants, tenantKey{h.provider, h.ident})
	}
}

// offer puts the parked lanes of d into their rings, if d may have a turn now.
func (s *Schedule) offer(d *destination) {
	if !d.parked || !d.open() {
		return
	}
	d.parked = false
	for l := d.lanes; l != nil; l = l.older {
		s.offerLane(l)
	}
}

// offerLane puts l into the ring if it may have a turn.
func (s *Schedule) offerLane(l *lane) {
	switch {
	case l.node.queued || l.n == 0:
		return
	case !l.dest.open():
		l.dest.parked = true
		return
	}
	l.tenant.turns.join(&l.node, l)
	s.offerTenant(l.tenant)
}

func (s *Schedule) offerTenant(h *tenant) {
	if !h.node.queued && !h.turns.empty() {
		h.provider.turns.join(&h.node, h)
	}
	s.offerProvider(h.provider)
}

// offerProvider puts p into the ring if it may have a turn.
func (s *Schedule) offerProvider(p *provider) {
	if !p.node.queued && !p.turns.empty() && p.open() {
		s.turns.join(&p.node, p)
	}
}

// Take is the attempt whose turn it is; ok is false when none may begin now.
func (s *Schedule) Take(now int64) (f Slot, ok bool) {
	for s.slots < s.most && !s.turns.empty() {
		p := s.turns.next()
		if p.turns.empty() || !p.open() {
			s.letGo(p)
			continue // something changed while it waited for its turn
		}
		if until := p.next(); until > now {
			s.suspensions.begin(&p.suspension, until, suspendedRate)
			continue
		}
		l := s.turn(p)
		if l == nil {
			s.offerProvider(p)
			continue
		}
		p.messages.take(now, 1)
		p.recipients.take(now, 1)
		f = Slot{Ref: l.head, p: p, epoch: p.epoch}
		l.dest.slots++ // before Pull, which forgets a destination that is idle
		p.slots++
		s.slots++
		s.Pull(f.Ref)
		s.offerLane(l)
		s.offerProvider(p)
		return f, true
	}
	return Slot{}, false
}

// turn is the lane of p whose turn it is, out of its ring; nil when it cannot
// have one, and another may.
func (s *Schedule) turn(p *provider) *lane {
	h := p.turns.next()
	if h.turns.empty() {
		if h.lanes == 0 {
			delete(s.tenants, tenantKey{p, h.ident})
		}
		return nil
	}
	l := h.turns.next()
	if !h.turns.empty() {
		p.turns.join(&h.node, h)
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

// forget drops a destination that is not busy any more.
func (s *Schedule) forget(d *destination) {
	if d.ready > 0 || d.slots > 0 || d.suspension.until != 0 || s.active[d.num] != d {
		return
	}
	for l := d.lanes; l != nil; l = l.older {
		if l.node.queued {
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

// move gives a destination to another provider, with all that waits for it.
func (s *Schedule) move(d *destination, p *provider) {
	old := d.provider
	old.ready -= d.ready
	old.domains--
	d.provider = p
	p.ready += d.ready
	p.domains++
	for l := d.lanes; l != nil; l = l.older {
		h := l.tenant
		h.turns.leave(&l.node)
		l.tenant = s.tenantOf(p, h.ident)
		l.tenant.lanes++
		s.leaveTenant(h)
		s.offerLane(l)
	}
	s.letGo(old)
}

// Rescue finds lanes that could have a turn and are in no ring, gives them one
// and says how many entries they had. It looks at all that are ready.
func (s *Schedule) Rescue() (stranded int) {
	for _, l := range s.lanes {
		if l.n == 0 || !l.dest.open() {
			continue
		}
		lost := !l.node.queued || !l.tenant.node.queued || l.tenant.provider.open() && !l.tenant.provider.node.queued
		s.offerLane(l)
		s.offerTenant(l.tenant)
		if lost {
			stranded += l.n
		}
	}
	return stranded
}
