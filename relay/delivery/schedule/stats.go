package schedule

import (
	"cmp"
	"slices"
	"time"

	"dawk/relay"
)

// Stats is the state of the queue.
type Stats struct {
	Queued   int // Deliveries in all; what follows adds up to it
	Deferred int // wait for their next attempt
	Future   int // wait for their first attempt: FUTURERELEASE
	Ready    int // wait for their turn
	InFlight int // are being attempted, settled or acted upon
	Held     int // are on hold

	Connections   int             // attempts that may hold a connection
	OldestArrival time.Time       // zero: the queue is empty
	Resting       int             // destinations that did not let us in and are suspended
	Reasons       [MaxReasons]int // how many Deliveries have which State.Reason
	GivenUp       uint64          // attempts that had to give up their slots, since the start
	Waiting       int             // attempts that could begin if there were slots for them
	Adrift        int             // Deliveries without exactly one next event: always 0, or report it
}

// Stats counts the queue.
func (s *Schedule) Stats() Stats {
	st := Stats{
		Queued: s.n, Deferred: s.deferred, Ready: s.ready, InFlight: s.taken, Held: s.held, Future: s.n - s.held - s.deferred - s.ready - s.taken,
		Connections: s.slots, Resting: s.suspensions.closed(), Reasons: s.reasonCount, Adrift: s.adrift(), GivenUp: s.givenUp, Waiting: s.Waiting(),
	}
	if s.oldest != 0 {
		st.OldestArrival = time.Unix(int64(s.at(s.oldest).arrival), 0)
	}
	return st
}

func (p *provider) stats(wall func(int64) time.Time) relay.ProviderLoad {
	s := relay.ProviderLoad{Name: p.name, Domains: p.domains, Ready: p.ready, Connections: p.slots,
		Limit: p.width(), Most: p.allowed.Connections, Rate: p.allowed.Rate, RecipientRate: p.allowed.RecipientRate}
	if p.suspension.until != 0 {
		s.RestUntil, s.Resting = wall(p.suspension.until), suspendNames[p.suspension.why]
	}
	if p.throttledAt != 0 {
		s.SlowedAt, s.SlowedBy = wall(p.throttledAt), p.throttledBy
	}
	if p.growAt != 0 {
		s.GrowsAt = wall(p.growAt)
	}
	return s
}

// Providers are those that have something to do, or said lately that they want
// less of it; those with most waiting first. Domains of which nobody knows yet
// who takes their mail are one, with the name "".
func (s *Schedule) Providers(wall func(int64) time.Time) []relay.ProviderLoad {
	var out []relay.ProviderLoad
	for _, p := range s.providers {
		if !p.idle() || p.throttledAt != 0 {
			out = append(out, p.stats(wall))
		}
	}
	var unknown relay.ProviderLoad
	for _, dest := range s.active {
		if p := dest.provider; p.name == "" {
			unknown.Domains++
			unknown.Ready += p.ready
			unknown.Connections += p.slots
			unknown.Limit += p.limit
		}
	}
	if unknown.Domains > 0 {
		unknown.Most = unknown.Limit
		out = append(out, unknown)
	}
	slices.SortFunc(out, func(a, b relay.ProviderLoad) int {
		return cmp.Or(b.Ready-a.Ready, b.Connections-a.Connections, cmp.Compare(a.Name, b.Name))
	})
	return out
}

var placeNames = [...]string{placeWaiting: "waiting", placeReady: "ready", placeTaken: "in progress",
	placeHeld: "held"}

// Where tells of all Deliveries of a message, in the order of their jobs; none
// when it is not queued.
func (s *Schedule) Where(id relay.QueueID, wall func(int64) time.Time) []relay.Where {
	var out []relay.Where
	for r := range s.Of(id) {
		e := s.at(r)
		dest := s.active[e.dest] // nil: not busy
		w := relay.Where{Job: e.job, State: placeNames[e.place], Destination: s.dests.names[e.dest]}
		switch e.place {
		case placeWaiting:
			w.Due = wall(e.due)
		case placeReady:
			w.Ahead = dest.ready
		}
		if dest != nil {
			load := dest.provider.stats(wall)
			w.Provider = &load
			if dest.suspension.until != 0 {
				w.RestUntil, w.Budget = wall(dest.suspension.until), dest.suspension.why == suspendedBudget
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b relay.Where) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
