package schedule

import "time"

// maxIdleProviders is how many providers are remembered while nothing waits
// for them; each takes some 300 octets.
const maxIdleProviders = 10_000

// providerNamed is the provider of that name, made if it is missing. "" gives a provider of its
// own, for a destination whose provider is not known yet; one attempt finds out, since more would
// only look up the same.
func (s *Schedule) providerNamed(name string) *provider {
	if p := s.providers[name]; p != nil {
		return p
	}
	p := &provider{name: name, allowed: Allowance{Connections: 1}}
	p.suspension.provider = p
	if name != "" {
		s.allow(p)
		s.providers[name] = p
	}
	p.pace = newPace(p.allowed.Connections)
	return p
}

// allow reads the limits of p again. A rate that has changed begins again.
func (s *Schedule) allow(p *provider) {
	was := p.allowed
	p.allowed = s.limits.Allowance(p.name)
	p.limit = max(1, min(p.limit, p.allowed.Connections))
	if p.allowed.Rate != was.Rate || p.allowed.RecipientRate != was.RecipientRate {
		p.messages, p.recipients = newBucket(p.allowed.Rate), newBucket(p.allowed.RecipientRate)
		if p.suspension.until != 0 && p.suspension.why == suspendedRate {
			s.end(&p.suspension)
		}
	}
}

// letGo forgets a provider that has nothing to do and nothing worth remembering. Sweep forgets the
// others later.
func (s *Schedule) letGo(p *provider) {
	if len(s.providers) > maxIdleProviders {
		s.drop(p)
	}
}

// drop forgets p unless it is in use or its pace or rates still matter.
func (s *Schedule) drop(p *provider) {
	if p.idle() && p.throttledAt == 0 && p.messages.full == 0 && p.recipients.full == 0 && s.providers[p.name] == p {
		delete(s.providers, p.name)
	}
}

func (p *provider) idle() bool {
	return p.domains == 0 && p.slots == 0 && p.suspension.until == 0
}

// troubleMemory is how long it is remembered that a provider's servers could not be reached:
// somewhat longer than the longest of the usual retry steps.
const troubleMemory = 6 * time.Hour

// Sweep forgets what is old: throttlings after an hour, old failures to get in, rates that are full
// again, and providers that were already idle at the last sweep. It reads the priorities of
// identities again.
func (s *Schedule) Sweep(now int64) {
	s.rank()
	for _, p := range s.providers {
		if p.throttledAt != 0 && now > p.throttledAt+throttleMemory.Microseconds() {
			p.throttledAt, p.strikes, p.growAt = 0, 0, 0
		}
		if p.trouble.since != 0 && now > p.trouble.at+troubleMemory.Microseconds() {
			p.trouble = trouble{}
		}
		for _, b := range []*bucket{&p.messages, &p.recipients} {
			if b.full <= now {
				b.full = 0
			}
		}
		if idle := p.idle() && p.trouble.since == 0; idle && p.idleBefore {
			s.drop(p)
		} else {
			p.idleBefore = idle
		}
	}
}
