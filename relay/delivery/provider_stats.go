package delivery

import (
	"cmp"
	"slices"
	"time"

	"dawk/relay"
)

// ProviderStats is what a provider takes now, and what waits for it: the answer
// to "why is this provider slow right now".
type ProviderStats struct {
	Name        string // "": a domain's own, as long as nobody knows who takes its mail
	Domains     int    // destinations with mail that is ready or in progress
	Ready       int    // Deliveries that wait for their turn
	Connections int    // attempts that may hold a connection
	Limit       int    // of Connections, now
	Most        int    // of Connections, when all is well

	Rate          relay.Rate // of messages; zero: none
	RecipientRate relay.Rate

	RestUntil time.Time // nothing begins before; zero: it does not rest
	Resting   string    // why: "rate", "slow" (it told us to), "closed" (it did not let us in); "" if it does not

	SlowedAt time.Time   // when it told us to slow down; zero: not within the last hour
	SlowedBy relay.Reply // in these words
	GrowsAt  time.Time   // before that Limit does not grow; zero: it may
}

func (p *provider) stats(c *clock) ProviderStats {
	s := ProviderStats{Name: p.name, Domains: p.domains, Ready: p.ready, Connections: p.flying,
		Limit: p.width(), Most: p.allowed.Connections, Rate: p.allowed.Rate, RecipientRate: p.allowed.RecipientRate}
	if p.rest.until != 0 {
		s.RestUntil, s.Resting = c.wallTime(p.rest.until), restNames[p.rest.why]
	}
	if p.slowAt != 0 {
		s.SlowedAt, s.SlowedBy = c.wallTime(p.slowAt), p.slowBy
	}
	if p.growAt != 0 {
		s.GrowsAt = c.wallTime(p.growAt)
	}
	return s
}

// Providers are those that have something to do, or said lately that they want
// less of it; those with most waiting first. Domains of which nobody knows yet
// who takes their mail are one, with the name "".
func (d *Dispatcher) Providers() []ProviderStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []ProviderStats
	for _, p := range d.sched.providers {
		if !p.idle() || p.slowAt != 0 {
			out = append(out, p.stats(d.clock))
		}
	}
	var unknown ProviderStats
	for _, dest := range d.sched.active {
		if p := dest.provider; p.name == "" {
			unknown.Domains++
			unknown.Ready += p.ready
			unknown.Connections += p.flying
			unknown.Limit += p.limit
		}
	}
	if unknown.Domains > 0 {
		unknown.Most = unknown.Limit
		out = append(out, unknown)
	}
	slices.SortFunc(out, func(a, b ProviderStats) int {
		return cmp.Or(b.Ready-a.Ready, b.Connections-a.Connections, cmp.Compare(a.Name, b.Name))
	})
	return out
}
