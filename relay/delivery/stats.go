package delivery

import (
	"cmp"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
)

// NameCount is a name and how many Deliveries it has.
type NameCount struct {
	Name  string
	Count int
}

// Stats is the state of the queue as the dispatcher knows it. It does not read the store.
type Stats struct {
	schedule.Stats
	Reasons []NameCount // why Deliveries are delayed, most frequent first; since the start of the relay

	Attempts uint64 // ended since the start
	Corrupt  uint64 // Deliveries taken off the schedule because their record, or the content of their message, is damaged
	Unsaved  uint64 // settlements that failed and were tried again
	Stranded uint64 // Deliveries that the watchdog had to wake: always 0, or report it
}

// Stats counts the queue.
func (d *Dispatcher) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := Stats{Stats: d.sched.Stats(),
		Attempts: d.count.attempts, Corrupt: d.count.corrupt, Unsaved: d.count.unsaved, Stranded: d.count.stranded}
	for i, n := range st.Stats.Reasons {
		if name := reasonName(uint8(i)); name != "" && n > 0 {
			st.Reasons = append(st.Reasons, NameCount{Name: name, Count: n})
		}
	}
	slices.SortFunc(st.Reasons, func(a, b NameCount) int { return cmp.Or(b.Count-a.Count, cmp.Compare(a.Name, b.Name)) })
	return st
}

// Where returns all Deliveries of a message, in the order of their jobs; none if it is not queued.
func (d *Dispatcher) Where(id relay.QueueID) []relay.Where {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.sched.Where(id, d.clock.wallTime)
	for i := range all {
		if a := d.flying[d.sched.Find(id, all[i].Job)]; a != nil {
			stand, _ := a.progress.Stand()
			all[i].Host, all[i].Stage, all[i].Since = stand.Host, stand.Stage, stand.Since.Round(0)
		}
	}
	return all
}

// Backlog counts what waits by its state.
func (d *Dispatcher) Backlog() relay.Backlog {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Backlog(d.clock.wallTime)
}

// Underway are the attempts under way, those longest at their stage first.
func (d *Dispatcher) Underway() []relay.Underway {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := make([]relay.Underway, 0, len(d.flying))
	for r, a := range d.flying {
		stand, _ := a.progress.Stand()
		id, _ := d.sched.Delivery(r)
		all = append(all, relay.Underway{ID: id, Destination: d.sched.Destination(r), Provider: a.slot.Provider(),
			Host: stand.Host, Stage: stand.Stage, Since: stand.Since.Round(0)})
	}
	slices.SortFunc(all, func(a, b relay.Underway) int {
		return cmp.Or(a.Since.Compare(b.Since), cmp.Compare(a.ID.Key, b.ID.Key))
	})
	return all
}

// Turn is the place of a Delivery among those that wait for its provider; the zero
// value where it waits for no turn.
func (d *Dispatcher) Turn(id relay.QueueID, job uint16) relay.Turn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.sched.Find(id, job); r != 0 {
		return d.sched.Turn(r, d.clock.now(), d.clock.wallTime)
	}
	return relay.Turn{}
}

// Toward is the state that a new Delivery for a destination would meet.
func (d *Dispatcher) Toward(destination string) relay.ProviderLoad {
	d.mu.Lock()
	defer d.mu.Unlock()
	l := d.sched.Toward(destination, d.clock.wallTime)
	l.Said = l.Why(time.Now())
	return l
}

// Queued is how many Deliveries a destination has, whatever their states.
func (d *Dispatcher) Queued(destination string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Queued(destination)
}

// Providers are those that have something to do, or that throttled us lately; see
// [schedule.Schedule.Providers].
func (d *Dispatcher) Providers() []relay.ProviderLoad {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := d.sched.Providers(d.clock.wallTime)
	for i := range all {
		all[i].Said = all[i].Why(time.Now())
	}
	return all
}
