package share

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// As in queue/postgres.
const (
	beat  = 3 * time.Second
	begin = 8 * time.Second
	dead  = 10 * time.Second
)

var limits = map[string]int{"one": 1, "two": 2, "three": 3, "ten": 10, "eleven": 11}

// world is a database and the nodes that use it. Its time is nobody's clock.
type world struct {
	now   time.Duration
	rows  []Member
	beats []int64
	turn  int64
	nodes []*node
}

// node is a process. Its clock is off by whatever it likes.
type node struct {
	w      *world
	id     int16
	epoch  int64
	skew   time.Duration
	shares *Shares
	use    map[string]int
	seen   map[int16]sight // of others
	beaten time.Time

	gone, paused, cut bool
}

type sight struct {
	epoch, n int64
	since    time.Time
}

func (n *node) clock() time.Time { return time.Unix(0, 0).Add(n.skew + n.w.now) }

func (w *world) join(id int16, skew time.Duration) *node {
	for int(id) >= len(w.rows) {
		w.rows, w.beats = append(w.rows, Member{ID: int16(len(w.rows))}), append(w.beats, 0)
	}
	r := &w.rows[id]
	r.Epoch, r.Live = r.Epoch+1, true
	w.beats[id]++
	n := &node{w: w, id: id, epoch: r.Epoch, skew: skew, use: map[string]int{}, seen: map[int16]sight{}}
	n.shares = New(n.clock)
	n.beaten = n.clock()
	n.shares.Renew(n.beaten.Add(begin))
	w.nodes = append(w.nodes, n)
	return n
}

// fenced says whether another has its work; it then ends.
func (n *node) fenced() bool {
	r := n.w.rows[n.id]
	n.gone = n.gone || r.Epoch != n.epoch || !r.Live
	return n.gone
}

// tick is what the keeper does.
func (n *node) tick() {
	if n.cut {
		clear(n.seen)
		return
	}
	if n.fenced() {
		return
	}
	if n.clock().Sub(n.beaten) >= beat || n.w.rows[n.id].Acked != n.shares.Acked() {
		n.beaten = n.clock()
		n.w.beats[n.id]++
		n.w.rows[n.id].Acked = n.shares.Acked()
		n.shares.Renew(n.beaten.Add(begin))
	}
	for id := range n.w.rows {
		o := &n.w.rows[id]
		if o.ID == n.id || !o.Live {
			continue
		}
		if s, known := n.seen[o.ID]; !known || s.epoch != o.Epoch || s.n != n.w.beats[id] {
			n.seen[o.ID] = sight{o.Epoch, n.w.beats[id], n.clock()}
		} else if n.clock().Sub(s.since) >= dead {
			o.Epoch, o.Live = o.Epoch+1, false
		}
	}
	n.shares.Look(n.id, n.w.rows, n.w.turn)
	if n.shares.TurnDue() {
		n.w.turn++
	}
}

// settle gives back what is too much, some of it or all, and acknowledges when that is done.
func (n *node) settle(all bool) {
	generation, over := n.shares.Latest(), false
	for name, used := range n.use {
		if most := n.shares.Of(name, limits[name]); used > most && all {
			n.use[name] = most
		} else if used > most {
			over = true
		}
	}
	if !over && n.shares.Leased() {
		n.shares.Acknowledge(generation)
	}
}

func (w *world) check(t interface{ Fatalf(string, ...any) }) {
	for name, limit := range limits {
		sum, what := 0, ""
		for _, n := range w.nodes {
			if !n.gone && !n.paused {
				sum += n.use[name]
				what += fmt.Sprintf(" node %d epoch %d: %d;", n.id, n.epoch, n.use[name])
			}
		}
		if sum > limit {
			t.Fatalf("%d of %d are in use:%s", sum, limit, what)
		}
	}
}

// step lets time pass; who runs notices that its lease is over.
func (w *world) step(d time.Duration) {
	w.now += d
	for _, n := range w.nodes {
		if !n.gone && !n.paused && !n.shares.Leased() {
			clear(n.use)
		}
	}
}

// TestNeverAboveTheLimit: whatever the nodes do and whatever happens to them, those that run use
// no more than the limit together.
func TestNeverAboveTheLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{}
		running := func() []*node {
			return slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n.gone || n.paused })
		}
		one := func(of []*node) *node {
			if len(of) == 0 {
				t.Skip()
			}
			return rapid.SampledFrom(of).Draw(t, "node")
		}
		names := []string{"one", "two", "three", "ten", "eleven"}
		orderly := func(t *rapid.T) { // some seconds in which all that run take what they may
			for range 2 * rapid.IntRange(1, 15).Draw(t, "seconds") {
				for _, n := range running() {
					n.tick()
					n.settle(true)
					for name, limit := range limits {
						n.use[name] = max(n.use[name], n.shares.Of(name, limit))
					}
					w.check(t)
				}
				w.step(time.Second / 2)
			}
		}
		w.join(0, 0)
		w.join(1, time.Hour)
		orderly(t)
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) { w.check(t) },
			"join": func(t *rapid.T) {
				id := int16(rapid.IntRange(0, 3).Draw(t, "id"))
				// Nobody joins under a number whose holder may be alive, but whose lock of the
				// data directory is free.
				for _, n := range w.nodes {
					if n.id == id && !n.gone {
						t.Skip()
					}
				}
				w.join(id, time.Duration(rapid.IntRange(-3600, 3600).Draw(t, "skew"))*time.Second)
			},
			"leave": func(*rapid.T) {
				n := one(running())
				if !n.cut && !n.fenced() {
					w.rows[n.id].Live = false
				}
				n.gone = true
			},
			"die":   func(*rapid.T) { one(running()).gone = true },
			"pause": func(*rapid.T) { one(running()).paused = true },
			"wake": func(*rapid.T) {
				n := one(slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n.gone || !n.paused }))
				n.paused = false
				w.step(0)
			},
			"cut":    func(t *rapid.T) { one(running()).cut = true; orderly(t) },
			"mend":   func(*rapid.T) { one(running()).cut = false },
			"go on":  func(t *rapid.T) { orderly(t) },
			"tick":   func(*rapid.T) { one(running()).tick() },
			"settle": func(t *rapid.T) { one(running()).settle(rapid.Bool().Draw(t, "all")) },
			"use": func(t *rapid.T) {
				n, name := one(running()), rapid.SampledFrom(names).Draw(t, "name")
				if n.use[name] < n.shares.Of(name, limits[name]) {
					n.use[name]++
				}
			},
			"end": func(t *rapid.T) {
				n, name := one(running()), rapid.SampledFrom(names).Draw(t, "name")
				n.use[name] = max(0, n.use[name]-1)
			},
			"wait": func(t *rapid.T) {
				w.step(time.Duration(rapid.IntRange(1, 1000).Draw(t, "ms")) * time.Millisecond)
			},
			"turn": func(*rapid.T) { w.turn++ },
		})
	})
}

// TestWhatThereIsIsGivenOut: in peace the shares add up to the limit, every node has something of
// every limit in its turn, and what a dead one had goes to the others within 15 s.
func TestWhatThereIsIsGivenOut(t *testing.T) {
	w := &world{}
	peace := func(d time.Duration) {
		for range d / (500 * time.Millisecond) {
			w.step(500 * time.Millisecond)
			for _, n := range w.nodes {
				if !n.gone {
					n.tick()
					n.settle(true)
				}
			}
		}
	}
	sum := func(name string) (sum int) {
		for _, n := range w.nodes {
			if !n.gone {
				sum += n.shares.Of(name, limits[name])
			}
		}
		return sum
	}
	whole := func(when string) {
		t.Helper()
		for name, limit := range limits {
			if got := sum(name); got != limit {
				t.Errorf("%s %d of %d are given out", when, got, limit)
			}
		}
	}
	for id := range int16(3) {
		n := w.join(id, time.Duration(id)*time.Hour)
		if got := n.shares.Of("ten", 10); got != 0 {
			t.Errorf("one that has just come has %d", got)
		}
		peace(5 * time.Second)
		whole(fmt.Sprintf("among %d", id+1))
	}
	had := map[int16]bool{}
	for range 4 * Turn / time.Second {
		for _, n := range w.nodes {
			if n.shares.Of("one", 1) == 1 {
				had[n.id] = true
			}
		}
		peace(time.Second)
	}
	if len(had) != 3 {
		t.Errorf("within four turns only %v had the one unit", had)
	}
	w.nodes[1].gone = true
	peace(15 * time.Second)
	whole("after a death")
}

// TestNoTurnsForNothing: where every limit is enough for all, nothing goes round.
func TestNoTurnsForNothing(t *testing.T) {
	w := &world{}
	w.join(0, 0)
	w.join(1, 0)
	for range 1000 {
		w.step(500 * time.Millisecond)
		for _, n := range w.nodes {
			n.tick()
			n.settle(true)
			n.shares.Of("ten", 10)
		}
	}
	if w.turn != 0 {
		t.Errorf("%d turns", w.turn)
	}
}
