package delivery

// maxIdleProviders is how many providers are remembered while nothing waits
// for them; each takes some 300 octets.
const maxIdleProviders = 10_000

// providerNamed is the provider of that name, which gets something to do; ""
// is one of its own, for a destination of which nobody knows yet who takes its
// mail. One attempt finds out: more would only look up the same.
func (s *scheduler) providerNamed(name string) *provider {
	if p := s.providers[name]; p != nil {
		return p
	}
	p := &provider{name: name, allowed: Allowance{Connections: 1}}
	if name != "" {
		p.allowed = s.allowance(name)
		p.messages, p.recipients = newBucket(p.allowed.Rate), newBucket(p.allowed.RecipientRate)
		s.providers[name] = p
	}
	p.rest.provider = p
	p.pace = newPace(p.allowed.Connections)
	return p
}

// move gives a destination to another provider, with all that waits for it.
func (s *scheduler) move(d *destination, p *provider) {
	old := d.provider
	old.ready -= d.ready
	old.domains--
	d.provider = p
	p.ready += d.ready
	p.domains++
	for l := d.lanes; l != nil; l = l.older {
		h := l.share
		h.turns.leave(&l.seat)
		l.share = s.shareOf(p, h.ident)
		l.share.lanes++
		s.leaveShare(h)
		s.offerLane(l)
	}
	s.letGo(old)
}

// letGo forgets a provider that has nothing to do, if it is not worth
// remembering. sweep does so later with the others.
func (s *scheduler) letGo(p *provider) {
	if len(s.providers) > maxIdleProviders {
		s.drop(p)
	}
}

// drop forgets p unless it is in use, or its pace or its rates still matter.
func (s *scheduler) drop(p *provider) {
	if p.idle() && p.slowAt == 0 && p.messages.full == 0 && p.recipients.full == 0 && s.providers[p.name] == p {
		delete(s.providers, p.name)
	}
}

func (p *provider) idle() bool {
	return p.domains == 0 && p.flying == 0 && p.rest.until == 0 && !p.seat.taken
}

// sweep forgets what is old: slow-downs after an hour, rates that are full
// again, and providers that were idle at the last look already.
func (s *scheduler) sweep(now int64) {
	for _, p := range s.providers {
		if p.slowAt != 0 && now > p.slowAt+slowMemory.Microseconds() {
			p.slowAt, p.strikes, p.growAt = 0, 0, 0
		}
		for _, b := range []*bucket{&p.messages, &p.recipients} {
			if b.full <= now {
				b.full = 0
			}
		}
		if idle := p.idle(); idle && p.passed {
			s.drop(p)
		} else {
			p.passed = idle
		}
	}
}
