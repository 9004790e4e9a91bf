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

// load is what p takes now, and what waits for it. parked is a suspension of one of
// its destinations, or nil.
func (s *Schedule) load(p *provider, parked *suspension, wall func(int64) time.Time) relay.ProviderLoad {
	l := relay.ProviderLoad{Name: p.name, Domains: p.domains, Ready: p.ready, Connections: p.slots,
		Limit: p.width(), Most: p.allowed.Connections, Rate: p.allowed.Rate, RecipientRate: p.allowed.RecipientRate,
		State: relay.LoadOpen, Slots: relay.Slots{Used: s.slots, Most: s.most}}
	rests := &p.suspension
	switch {
	case rests.until != 0:
		l.Resting, l.State = suspendNames[rests.why], loadStates[rests.why]
	case p.slots >= p.width() && p.probing:
		l.State = relay.LoadProbing
	case p.slots >= p.width():
		l.State = relay.LoadConnections
	case p.waited():
		l.State = relay.LoadSlots
	case p.ready > 0 && parked != nil && parked.until != 0:
		rests, l.State = parked, loadStates[parked.why]
	case p.ready > 0:
		l.State = relay.LoadProbing
	}
	if rests.until != 0 {
		l.RestUntil = wall(rests.until)
	}
	if p.throttledAt != 0 {
		l.SlowedAt, l.SlowedBy = wall(p.throttledAt), p.throttledBy
	}
	if p.growAt != 0 {
		l.GrowsAt = wall(p.growAt)
	}
	return l
}

// Providers are those that have something to do, or said lately that they want
// less of it; those with most waiting first. Domains of which nobody knows yet
// who takes their mail are one, with the name "".
func (s *Schedule) Providers(wall func(int64) time.Time) []relay.ProviderLoad {
	var out []relay.ProviderLoad
	parked := make(map[*provider]*suspension) // that end first
	for _, d := range s.active {
		if o := parked[d.provider]; d.suspension.until != 0 && (o == nil || d.suspension.until < o.until) {
			parked[d.provider] = &d.suspension
		}
	}
	for _, p := range s.providers {
		if !p.idle() || p.throttledAt != 0 {
			out = append(out, s.load(p, parked[p], wall))
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
		unknown.Most, unknown.State, unknown.Slots = unknown.Limit, relay.LoadOpen, relay.Slots{Used: s.slots, Most: s.most}
		if unknown.Ready > 0 {
			unknown.State = relay.LoadSlots
		}
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
		w := relay.Where{Job: e.job, Place: placeNames[e.place], Destination: s.dests.names[e.dest], Due: wall(e.due)}
		d := s.active[e.dest]
		if d != nil { // it is busy
			load := s.load(d.provider, &d.suspension, wall)
			w.Provider = &load
			if d.suspension.until != 0 {
				w.RestUntil, w.Budget = wall(d.suspension.until), d.suspension.why == suspendedBudget
			}
		}
		switch {
		case e.has(flagHeld):
			w.State = "held"
		case e.place == placeTaken:
			w.State = "active"
		case d != nil && (d.suspension.rests() || d.provider.suspension.rests()):
			w.State = "suspended"
		case e.place == placeWaiting:
			w.State = "deferred"
		default:
			w.State = "ready"
		}
		if e.place == placeReady {
			w.Ahead = d.ready
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b relay.Where) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
