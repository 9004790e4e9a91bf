package schedule

import (
	"cmp"
	"math"
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
	Resting       int             // destinations that are suspended because attempts did not get in
	Reasons       [MaxReasons]int // how many Deliveries have which State.Reason
	GivenUp       uint64          // attempts that had to give up their slots, since the start
	Waiting       int             // attempts that could begin if there were slots for them
	Adrift        int             // Deliveries without exactly one next event: always 0, or report it
}

// Stats counts the queue.
func (s *Schedule) Stats() Stats {
	st := Stats{
		Queued: s.n, Deferred: s.deferred, Ready: s.ready, InFlight: s.taken, Held: s.held, Future: s.n - s.held - s.deferred - s.ready - s.taken,
		Connections: s.slots, Resting: s.closed(), Reasons: s.reasonCount, Adrift: s.adrift(), GivenUp: s.givenUp, Waiting: s.Waiting(),
	}
	if s.arrived.first != 0 {
		st.OldestArrival = time.Unix(int64(s.at(s.arrived.first).arrival), 0)
	}
	return st
}

// Backlog counts what waits by its state, as Where names it. If anything is suspended it looks at
// all entries.
func (s *Schedule) Backlog(wall func(int64) time.Time) relay.Backlog {
	b := relay.Backlog{Total: s.n, Held: s.held, Active: s.taken, Ready: s.ready, Deferred: s.n - s.held - s.taken - s.ready}
	if s.arrived.first != 0 {
		b.Oldest = time.Unix(int64(s.at(s.arrived.first).arrival), 0)
	}
	due, rests := int64(math.MaxInt64), false
	for _, l := range s.lanes {
		due = min(due, s.at(l.first).due)
	}
	for _, d := range s.active {
		rests = rests || d.rests()
	}
	if due != math.MaxInt64 {
		b.OldestDue = wall(due)
	}
	if !rests {
		return b
	}
	for r := range s.All() {
		e := s.at(r)
		if d := s.active[e.dest]; d == nil || !d.rests() {
			continue
		}
		switch e.place {
		case placeReady:
			b.Ready, b.Suspended = b.Ready-1, b.Suspended+1
		case placeWaiting:
			b.Deferred, b.Suspended = b.Deferred-1, b.Suspended+1
		}
	}
	return b
}

// load is what p accepts now, and what delays the mail of d, one of its destinations; nil: of all
// of them.
func (s *Schedule) load(p *provider, d *destination, wall func(int64) time.Time) relay.ProviderLoad {
	l := relay.ProviderLoad{Name: p.name, Domains: p.domains, Ready: p.ready, Connections: p.slots,
		Limit: p.width(), Most: p.allowed.Connections, Rate: p.allowed.Rate, RecipientRate: p.allowed.RecipientRate,
		Slots: relay.Slots{Used: s.slots, Most: s.most}}
	trouble, until := &p.trouble, p.suspension.until
	switch {
	case p.suspension.until != 0:
		l.State = loadStates[p.suspension.why]
	case d != nil && d.suspension.until != 0:
		l.State, trouble, until = loadStates[d.suspension.why], &d.trouble, d.suspension.until
	case d != nil && d.probing && d.slots > 0:
		l.State, trouble = relay.LoadProbing, &d.trouble
	case p.probing && p.slots > 0:
		l.State = relay.LoadProbing
	case p.name == "" && p.slots > 0:
		l.State = relay.LoadLookup
	case p.slots >= p.width():
		l.State = relay.LoadConnections
	case p.waited():
		l.State = relay.LoadSlots
	case p.trouble.since != 0 && p.ready == 0:
		l.State = relay.LoadDown
	}
	if p.throttledAt != 0 {
		l.SlowedAt, l.SlowedBy = wall(p.throttledAt), p.throttledBy
	}
	if p.growAt != 0 {
		l.GrowsAt = wall(p.growAt)
	}
	if until != 0 {
		l.Until = wall(until)
	}
	switch l.State {
	case relay.LoadProbing, relay.LoadSuspended, relay.LoadDown:
		// A destination is forgotten while none of its mail is due, its provider is not: the trouble began
		// with the one that knows of it longer.
		since := trouble.since
		if p.trouble.since != 0 {
			since = min(since, p.trouble.since)
		}
		if l.Failure = trouble.last; since != 0 {
			l.Since = wall(since)
		}
	case relay.LoadThrottled:
		l.Since = l.SlowedAt
	case relay.LoadRate:
		l.Drained = wall(p.earliest(p.ready, p.next())) // its rate is used up
	}
	return l
}

// Providers are those that have something to do, or that throttled us lately; those with most
// waiting first. All domains whose provider is not known yet are one, with the name "".
func (s *Schedule) Providers(wall func(int64) time.Time) []relay.ProviderLoad {
	var out []relay.ProviderLoad
	queued := make(map[*provider]int)
	kept := make(map[*provider]*destination) // nil: one may have a turn; else the one whose suspension ends first
	var unknown relay.ProviderLoad
	most := -1
	for _, d := range s.active {
		p, n := d.provider, s.dests.users[d.num]-1 // the activity is one of the users
		queued[p] += n
		o, seen := kept[p]
		switch {
		case d.open():
			kept[p] = nil
		case !seen || o != nil && d.suspension.until < o.suspension.until:
			kept[p] = d
		}
		if p.name != "" {
			continue
		}
		l := s.load(p, d, wall) // the reason with the most waiting represents all
		if l.Ready > most || l.Ready == most && l.State > unknown.State {
			most = l.Ready
			unknown.State, unknown.Since, unknown.Until, unknown.Failure = l.State, l.Since, l.Until, l.Failure
		}
		unknown.Domains++
		unknown.Queued += n
		unknown.Ready += p.ready
		unknown.Connections += p.slots
		unknown.Limit += p.limit
	}
	for _, p := range s.providers {
		if !p.idle() || p.throttledAt != 0 || p.trouble.since != 0 {
			l := s.load(p, kept[p], wall)
			if l.Queued = queued[p]; p.domains == 0 {
				l.Queued = s.Queued(p.name) // of a route
			}
			out = append(out, l)
		}
	}
	if unknown.Domains > 0 {
		unknown.Most, unknown.Slots = unknown.Limit, relay.Slots{Used: s.slots, Most: s.most}
		out = append(out, unknown)
	}
	slices.SortFunc(out, func(a, b relay.ProviderLoad) int {
		return cmp.Or(b.Ready-a.Ready, b.Connections-a.Connections, cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Toward is the state that a new Delivery for a destination would meet. Queued counts the
// destination's own mail.
func (s *Schedule) Toward(destination string, wall func(int64) time.Time) relay.ProviderLoad {
	l := s.toward(destination, wall)
	l.Queued = s.Queued(destination)
	return l
}

func (s *Schedule) toward(destination string, wall func(int64) time.Time) relay.ProviderLoad {
	if num, ok := s.dests.byName[destination]; ok {
		if d := s.active[num]; d != nil {
			return s.load(d.provider, d, wall)
		}
	}
	name := s.limits.Provider(destination)
	if p := s.providers[name]; p != nil {
		return s.load(p, nil, wall)
	}
	l := relay.ProviderLoad{Name: name, Slots: relay.Slots{Used: s.slots, Most: s.most}, Most: 1}
	if name != "" {
		a := s.limits.Allowance(name)
		l.Most, l.Rate, l.RecipientRate = a.Connections, a.Rate, a.RecipientRate
	}
	l.Limit = min(startConnections, l.Most)
	if l.Slots.Used >= l.Slots.Most {
		l.State = relay.LoadSlots
	}
	return l
}

// Destination is where the Delivery of an entry goes.
func (s *Schedule) Destination(r Ref) string { return s.dests.names[s.at(r).dest] }

// Queued is how many Deliveries a destination has, whatever their states.
func (s *Schedule) Queued(destination string) int {
	num, ok := s.dests.byName[destination]
	if !ok {
		return 0
	}
	if s.active[num] != nil {
		return s.dests.users[num] - 1
	}
	return s.dests.users[num]
}

// Where returns all Deliveries of a message, in the order of their jobs; none if it is not queued.
func (s *Schedule) Where(id relay.QueueID, wall func(int64) time.Time) []relay.Where {
	var out []relay.Where
	for r := range s.Of(id) {
		e := s.at(r)
		w := relay.Where{Job: e.job, Destination: s.dests.names[e.dest], Due: wall(e.due)}
		d := s.active[e.dest]
		if d != nil { // it is busy
			load := s.load(d.provider, d, wall)
			load.Queued = s.dests.users[e.dest] - 1
			w.Load = &load
		}
		switch {
		case e.has(flagHeld):
			w.State = relay.StateHeld
		case e.place == placeTaken:
			w.State = relay.StateActive
		case d != nil && d.rests():
			w.State = relay.StateSuspended
		case e.place == placeWaiting:
			w.State = relay.StateDeferred
		default:
			w.State = relay.StateReady
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b relay.Where) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
