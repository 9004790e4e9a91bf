package delivery

import (
	"cmp"
	"slices"
	"time"

	"dawk/relay"
)

// Stats is the state of the queue as the dispatcher knows it. It costs no look
// at the store; Destinations cost a look at every destination's name.
type Stats struct {
	Queued   int // Deliveries in all; what follows adds up to it
	Deferred int // wait for their next attempt
	Future   int // wait for their first attempt: FUTURERELEASE
	Ready    int // wait for their turn
	InFlight int // are being attempted, settled or acted upon
	Held     int // are on hold

	Connections   int       // attempts that may hold a connection
	OldestArrival time.Time // zero: the queue is empty
	Resting       int       // destinations that did not let us in and are left alone for a while

	Ages       []AgeCount      // youngest first
	Reasons    []NameCount     // why Deliveries are delayed, most frequent first; since the start of the relay
	Identities []IdentityStats // who submitted them, most first

	Destinations     []DestinationStats // most Deliveries first, at most the number asked for
	DestinationCount int                // how many there are in all

	Attempts uint64 // ended since the start
	Corrupt  uint64 // Deliveries taken off the schedule because their record, or the content of their message, is damaged
	Unsaved  uint64 // settlements that failed and were tried again
	Stranded uint64 // Deliveries that the watchdog had to wake: always 0, or report it
	Adrift   int    // Deliveries without exactly one next event: always 0, or report it
}

// NameCount is a name and how many Deliveries it has.
type NameCount struct {
	Name  string
	Count int
}

// IdentityStats is the Deliveries of one submitting identity.
type IdentityStats = NameCount

// AgeCount is the Deliveries that arrived less than Below ago, and not less
// than the one before it; Below is 0 for the rest.
type AgeCount struct {
	Below time.Duration
	Count int
}

// DestinationStats is the Deliveries of one destination.
type DestinationStats struct {
	Name      string
	Queued    int
	Ready     int
	Held      int
	Attempts  int       // that run now
	RestUntil time.Time // it did not let us in and is left alone until then; zero: it is not
	Provider  string    // who takes its mail; "": nothing is ready for it, or nobody knows yet
}

// ageLimits are the columns of Stats.Ages.
var ageLimits = [...]time.Duration{5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 24 * time.Hour, 5 * 24 * time.Hour, 0}

// Stats counts the queue, with at most top destinations and identities.
func (d *Dispatcher) Stats(top int) Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.sched
	st := Stats{
		Queued: s.n, Deferred: s.deferred, Ready: s.ready, InFlight: s.out,
		Connections: s.flying, Resting: s.rests.closed(),
		DestinationCount: len(s.dests.byName), Attempts: d.count.attempts, Corrupt: d.count.corrupt,
		Unsaved: d.count.unsaved, Stranded: d.count.stranded, Adrift: s.adrift(),
	}
	st.Held, st.Future = s.held, s.n-s.held-s.deferred-s.ready-s.out
	if s.oldest != 0 {
		st.OldestArrival = time.Unix(int64(s.at(s.oldest).arrival), 0)
	}
	st.Ages = ages(s.minutes, d.clock.wallTime(d.clock.now()))
	for i, n := range s.reasonCount {
		if name := reasonName(uint8(i)); name != "" && n > 0 {
			st.Reasons = append(st.Reasons, NameCount{name, n})
		}
	}
	sortCounts(st.Reasons)
	st.Identities = s.idents.top(top)
	for _, n := range s.dests.top(top) {
		st.Destinations = append(st.Destinations, s.describe(n, d.clock))
	}
	return st
}

func sortCounts(c []NameCount) {
	slices.SortFunc(c, func(a, b NameCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Name, b.Name)) })
}

func ages(minutes map[uint32]int, now time.Time) []AgeCount {
	out := make([]AgeCount, len(ageLimits))
	for i, limit := range ageLimits {
		out[i].Below = limit
	}
	for minute, n := range minutes {
		age := now.Sub(time.Unix(int64(minute)*60, 0))
		i := slices.IndexFunc(ageLimits[:], func(limit time.Duration) bool { return limit == 0 || age < limit })
		out[i].Count += n
	}
	return out
}

// top are the names with most users. It keeps a sorted list of no more than
// most, so that a million names cost a look and no memory.
func (n *names) top(most int) []NameCount {
	if most <= 0 {
		return nil
	}
	order := func(a, b NameCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Name, b.Name)) }
	var best []NameCount
	for num, users := range n.users {
		c := NameCount{n.names[num], users}
		if users == 0 || len(best) == most && order(c, best[most-1]) > 0 {
			continue
		}
		i, _ := slices.BinarySearchFunc(best, c, order)
		best = slices.Insert(best, i, c)
		best = best[:min(len(best), most)]
	}
	return best
}

func (s *scheduler) describe(n NameCount, c *clock) DestinationStats {
	num := s.dests.byName[n.Name]
	out := DestinationStats{Name: n.Name, Queued: n.Count, Held: s.heldBy[num]}
	if d := s.active[num]; d != nil {
		out.Queued-- // being busy is a use of the name too
		out.Ready, out.Attempts = d.ready, d.flying
		if d.rest.until != 0 {
			out.RestUntil = c.wallTime(d.rest.until)
		}
		out.Provider = d.provider.name
	}
	return out
}

// Where is what the dispatcher is about to do with one Delivery: what `dawk
// why` adds to what the store knows.
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

var placeNames = [...]string{placeWaiting: "waiting", placeReady: "ready", placeOut: "in progress",
	placeHeld: "held"}

// Where tells of all Deliveries of a message, in the order of their jobs; none
// when it is not queued.
func (d *Dispatcher) Where(id relay.QueueID) []Where {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Where
	for r := d.sched.index[id.Key]; r != 0; r = d.sched.at(r).sibling {
		e := d.sched.at(r)
		dest := d.sched.active[e.dest] // nil: not busy
		if e.dir != id.Dir {
			continue
		}
		w := Where{Job: e.job, State: placeNames[e.place], Destination: d.sched.dests.names[e.dest]}
		switch e.place {
		case placeWaiting:
			w.Due = d.clock.wallTime(e.due)
		case placeReady:
			w.Ahead = dest.ready
		}
		if dest != nil {
			w.Provider = dest.provider.stats(d.clock)
			if dest.rest.until != 0 {
				w.RestUntil, w.Budget = d.clock.wallTime(dest.rest.until), dest.rest.why == restBudget
			}
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(a, b Where) int { return cmp.Compare(a.Job, b.Job) })
	return out
}
