package delivery

import (
	"slices"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
)

// What the schedule tells of itself.
type (
	ProviderStats = schedule.ProviderStats
	Where         = schedule.Where
	NameCount     = schedule.NameCount
)

// Stats is the state of the queue as the dispatcher knows it. It costs no look
// at the store; Destinations cost a look at every destination's name.
type Stats struct {
	schedule.Stats
	Reasons []NameCount // why Deliveries are delayed, most frequent first; since the start of the relay

	Attempts uint64 // ended since the start
	Corrupt  uint64 // Deliveries taken off the schedule because their record, or the content of their message, is damaged
	Unsaved  uint64 // settlements that failed and were tried again
	Stranded uint64 // Deliveries that the watchdog had to wake: always 0, or report it
}

// Stats counts the queue, with at most top destinations and identities.
func (d *Dispatcher) Stats(top int) Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := Stats{Stats: d.sched.Stats(top, d.clock.now(), d.clock.wallTime),
		Attempts: d.count.attempts, Corrupt: d.count.corrupt, Unsaved: d.count.unsaved, Stranded: d.count.stranded}
	for i, n := range st.Stats.Reasons {
		if name := reasonName(uint8(i)); name != "" && n > 0 {
			st.Reasons = append(st.Reasons, NameCount{Name: name, Count: n})
		}
	}
	slices.SortFunc(st.Reasons, schedule.ByCount)
	return st
}

// Where tells of all Deliveries of a message, in the order of their jobs; none
// when it is not queued.
func (d *Dispatcher) Where(id relay.QueueID) []Where {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Where(id, d.clock.wallTime)
}

// Providers are those that have something to do, or said lately that they want
// less of it; see [schedule.Schedule.Providers].
func (d *Dispatcher) Providers() []ProviderStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Providers(d.clock.wallTime)
}
