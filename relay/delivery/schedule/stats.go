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
	Adrift        int             // Deliveries without exactly one next event: always 0, or report it
}

// Stats counts the queue.
func (s *Schedule) Stats() Stats {
	st := Stats{
		Queued: s.n, Deferred: s.deferred, Ready: s.ready, InFlight: s.taken, Held: s.held, Future: s.n - s.held - s.deferred - s.ready - s.taken,
		Connections: s.slots, Resting: s.suspensions.closed(), Reasons: s.reasonCount, Adrift: s.adrift(),
	}
	if s.oldest != 0 {
		st.OldestArrival = time.Unix(int64(s.at(s.oldest).arrival), 0)
	}
	return st
}

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

func (p *provider) stats(wall func(int64) time.Time) ProviderStats {
	s := ProviderStats{Name: p.name, Domains: p.domains, Ready: p.ready, Connections: p.slots,
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
func (s *Schedule) Providers(wall func(int64) time.Time) []ProviderStats {
	var out []ProviderStats
	for _, p := range s.providers {
		if !p.idle() || p.throttledAt != 0 {
			out = append(out, p.stats(wall))
		}
	}
	var unknown ProviderStats
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
	slices.SortFunc(out, func(a, b ProviderStats) int {
		return cmp.Or(b.Ready-a.Ready, b.Connections-a.Connections, cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Where is what is about to happen to one Delivery: what `dawk why` adds to what
// the store knows.
type Where struct {
	Job         uint16
	State       string        // "waiting", "ready", "in progress" or "held"
	Destination string        // as in relay.Entry
	Due         time.Time     // waiting: its next attempt
	RestUntil   time.Time     // its destination did not let us in and is left alone until then; zero: it is not
	Budget      bool          // it did, and is left alone only since its budget is used up
	Provider    ProviderStats // who takes its mail, while something is ready or in progress there; else the zero value
	Ahead       int           // ready: Deliveries of the same destination that wait for their turn, this one included
}

var placeNames = [...]string{placeWaiting: "waiting", placeReady: "ready", placeTaken: "in progress",
	placeHeld: "held"}

// Where tells of all Deliveries of a message, in the order of their jobs; none
// when it is not queued.
func (s *Schedule) Where(id relay.QueueID, wall func(int64) time.Time) []Where {
	var out []Where
	for r := range s.Of(id) {
		e := s.at(r)
		dest := s.active[e.dest] // nil: not busy
		w := Where{Job: e.job, State: placeNames[e.place], Destination: s.dests.names[e.dest]}
		switch e.place {
		case placeWaiting:
			w.Due = wall(e.due)
		case placeReady:
			w.Ahead = dest.ready
		}
		if dest != nil {
			w.Provider = dest.provider.stats(wall)
			if dest.suspension.until != 0 {
				w.RestUntil, w.Budget = wall(dest.suspension.until), dest.suspension.why == suspendedBudget
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Where) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
