package postgres

import "time"

// Timing is how often a node looks at the others, and when it acts.
type Timing struct {
	Beat   time.Duration // between two beats: 3 s
	Look   time.Duration // between two looks at the others: 500 ms
	Dead   time.Duration // a beat that has not moved for so long is that of a dead node: 10 s
	Begin  time.Duration // no attempt begins later than this after our last beat: 8 s
	Check  time.Duration // between two checks of the database: 5 s
	GiveUp time.Duration // new mail is refused when its commit is still unknown: 30 s
	Rest   time.Duration // how long a partition gets no new mail before another node has it: 5 s
}

func (t *Timing) complete() {
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&t.Beat, 3 * time.Second}, {&t.Look, 500 * time.Millisecond}, {&t.Dead, 10 * time.Second}, {&t.Begin, 8 * time.Second},
		{&t.Check, 5 * time.Second}, {&t.GiveUp, 30 * time.Second}, {&t.Rest, 5 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
}
