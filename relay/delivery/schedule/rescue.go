package schedule

// Rescue finds lanes that could have a turn and are in no ring, gives them one
// and says how many entries they had. It looks at all that are ready.
func (s *Schedule) Rescue() (stranded int) {
	for _, l := range s.lanes {
		if s.misplaced(l) == "" {
			continue
		}
		stranded += l.n
		s.park(l.dest)
		s.offer(l)
		s.admitFlows(l.flow.provider)
		s.stand(l.flow.identity)
	}
	return stranded
}

// misplaced says why the turn of a lane would never come; "", which is the only correct result, if
// it comes.
func (s *Schedule) misplaced(l *lane) string {
	d, h := l.dest, l.flow
	b, p := h.backlog(), h.provider
	switch {
	case d.parked == d.open():
		return "its destination is parked wrongly"
	case l.node.queued == d.parked:
		return "the lane is in its ring or not, wrongly"
	case h.place.queued == h.turns.empty():
		return "the flow is in its backlog or not, wrongly"
	case h.eligible != h.node.queued, h.eligible && !h.identity.node.queued:
		return "the flow is eligible, and its identity has no turn"
	case p.open() && !b.waiting.empty() && b.eligible.n < p.width()-p.slots+b.bypassed:
		return "nobody may take a connection of its provider"
	case !p.open() && !b.eligible.empty():
		return "too many may take a connection of its provider"
	}
	return ""
}
