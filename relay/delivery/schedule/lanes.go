package schedule

// lane is the entries of one identity that are ready for one destination,
// first come first served.
type lane struct {
	chain
	n     int
	dest  *destination
	flow  *flow
	node  node[*lane] // among those of the flow that may have a turn
	older *lane       // neighbours among the lanes of dest
	newer *lane
}

// flow is the lanes of one identity for the destinations of one provider.
type flow struct {
	identity *identity
	provider *provider
	lanes    int         // that are its own
	turns    ring[*lane] // those that may have a turn
	place    node[*flow] // in its provider's backlog
	eligible bool        // it is one of those that may take a connection
	bypassed bool        // and another one is eligible in addition: its identity holds all the slots that it may
	node     node[*flow] // eligible: among those of its identity
}

type flowKey struct {
	provider *provider
	ident    uint32
}

func laneKey(e *entry) uint64 { return uint64(e.dest)<<32 | uint64(e.ident) }

// makeReady puts an entry into its lane: at the end, or where it was the first.
func (s *Schedule) makeReady(r Ref, first bool) {
	e := s.at(r)
	l := s.laneOf(e)
	e.place = placeReady
	before := l.last
	if first {
		before = 0
	}
	s.link(&l.chain, inLane, r, before)
	l.n++
	l.dest.ready++
	l.dest.provider.ready++
	s.ready++
	s.offer(l)
}

// leaveLane takes an entry out of its lane.
func (s *Schedule) leaveLane(r Ref) {
	l := s.lanes[laneKey(s.at(r))]
	d := l.dest
	s.unlink(&l.chain, inLane, r)
	l.n--
	d.ready--
	d.provider.ready--
	s.ready--
	if l.n == 0 {
		s.withdraw(l)
		s.dropLane(l)
		s.forget(d)
	}
}

// laneOf is the lane for e, with its destination and its flow.
func (s *Schedule) laneOf(e *entry) *lane {
	key := laneKey(e)
	l := s.lanes[key]
	if l != nil {
		return l
	}
	d := s.busy(e.dest)
	l = &lane{dest: d, flow: s.flowOf(d.provider, e.ident), older: d.lanes}
	l.flow.lanes++
	if d.lanes != nil {
		d.lanes.newer = l
	}
	d.lanes = l
	s.lanes[key] = l
	return l
}

func (s *Schedule) flowOf(p *provider, ident uint32) *flow {
	key := flowKey{p, ident}
	h := s.flows[key]
	if h == nil {
		h = &flow{identity: s.identityOf(ident), provider: p}
		h.identity.flows++
		s.flows[key] = h
	}
	return h
}

// dropLane forgets an empty lane.
func (s *Schedule) dropLane(l *lane) {
	d := l.dest
	if l.older != nil {
		l.older.newer = l.newer
	}
	if l.newer != nil {
		l.newer.older = l.older
	} else {
		d.lanes = l.older
	}
	delete(s.lanes, uint64(d.num)<<32|uint64(l.flow.identity.num))
	s.leaveFlow(l.flow)
}

// leaveFlow takes a lane that is in no ring out of its flow.
func (s *Schedule) leaveFlow(h *flow) {
	if h.lanes--; h.lanes > 0 {
		return
	}
	delete(s.flows, flowKey{h.provider, h.identity.num})
	h.identity.flows--
	s.forgetIdentity(h.identity)
}

// forget drops a destination that is no longer busy.
func (s *Schedule) forget(d *destination) {
	if d.ready > 0 || d.slots > 0 || d.suspension.until != 0 || s.active[d.num] != d {
		return
	}
	delete(s.active, d.num)
	s.dests.drop(d.num)
	d.provider.domains--
	s.letGo(d.provider)
}

// move gives a destination to another provider, with everything that waits for it.
func (s *Schedule) move(d *destination, p *provider) {
	old := d.provider
	old.ready -= d.ready
	old.domains--
	d.provider = p
	p.ready += d.ready
	p.domains++
	for l := d.lanes; l != nil; l = l.older {
		s.withdraw(l)
		h := l.flow
		l.flow = s.flowOf(p, h.identity.num)
		l.flow.lanes++
		s.leaveFlow(h)
		s.offer(l)
	}
	s.letGo(old)
}
