package schedule

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
)

// crowd is identities with endless mail for providers of which some say nothing.
type crowd struct {
	luck   *rand.Rand
	s      *Schedule
	now    int64
	step   int64
	last   uint64
	silent map[string]bool // destinations
	flying map[Ref]int64   // attempts, by when they began
	rank   map[string]relay.Priority
	taken  func(f *Slot, could [relay.Priorities]bool)
}

const sec = int64(time.Second / time.Microsecond)

func (c *crowd) add(who, dest string) Ref {
	c.last++
	id := relay.QueueID{Key: c.last, Dir: 1}
	c.s.Add(relay.Entry{ID: id, Identity: who, Destination: dest, Arrival: time.UnixMicro(c.now)}, State{Due: c.now}, c.now)
	return c.s.Find(id, 0)
}

func (c *crowd) destOf(r Ref) string { return c.s.dests.names[c.s.at(r).dest] }

// second lets a second pass: one attempt at a host that answers ends, and so do
// those at hosts that say nothing, in two minutes or when their slots are wanted.
func (c *crowd) second() {
	c.now += c.step
	c.s.Advance(c.now)
	c.step = 10 * sec // unless something happens
	var quick []Ref
	for _, r := range slices.Sorted(maps.Keys(c.flying)) {
		switch {
		case !c.silent[c.destOf(r)]:
			quick = append(quick, r)
		case c.now-c.flying[r] > 120*sec:
			c.land(r, false)
		}
	}
	if len(quick) > 0 {
		c.step = sec
		c.land(quick[c.luck.IntN(len(quick))], false)
	}
	for {
		var could [relay.Priorities]bool
		for k := range could {
			could[k] = c.mayGo(relay.Priority(k))
		}
		f := c.s.Take(c.now)
		if f == nil {
			break
		}
		c.flying[f.Ref] = c.now
		c.taken(f, could)
	}
	for _, r := range c.s.GiveUp(c.now, func(r Ref) (int64, bool) {
		if c.silent[c.destOf(r)] {
			return c.flying[r], true
		}
		return c.now, true
	}) {
		c.land(r, true)
	}
}

// mayGo says whether an identity of a priority waits for a slot, and its share has room for one.
func (c *crowd) mayGo(k relay.Priority) bool {
	o, most := &c.s.priorities[k], c.s.most
	if k == relay.PriorityHigh && o.slots >= max(1, most/2) || k == relay.PriorityBulk && o.slots >= max(1, most/8) {
		return false
	}
	for n := o.turns.first; n != nil; n = n.after {
		if n.who.slots < c.s.mostOf(n.who, true) {
			return true
		}
	}
	return false
}

// land ends an attempt; there is more mail of its kind at once.
func (c *crowd) land(r Ref, gaveUp bool) {
	f := c.s.StateOf(r)
	f.Due, f.Patient = c.now, gaveUp
	v := VerdictOpen
	if c.silent[c.destOf(r)] {
		v = VerdictNone
	}
	c.s.Land(c.s.flying[r], v, relay.Reply{}, c.now)
	delete(c.flying, r)
	c.s.Put(r, f, c.now)
}

// Whatever mix of identities, priorities, providers and silent hosts there is, an
// identity with little mail waits for no more turns at its provider than there are
// identities of its priority; once a connection may be had, for no more turns of its
// priority than three for each identity, and one for each provider. No priority
// that may have a slot is skipped more than nine times in a row. And nobody
// holds more than his share while others wait.
func TestNobodyStarvesAnybody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 24).Draw(t, "slots")
		identities, providers := rapid.IntRange(1, 10).Draw(t, "identities"), rapid.IntRange(1, 8).Draw(t, "providers")
		c := &crowd{luck: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 1)), now: 1e9, silent: map[string]bool{}, flying: map[Ref]int64{}, rank: map[string]relay.Priority{}}
		width := map[string]int{}
		for p := range providers {
			width[fmt.Sprint("p", p)] = rapid.IntRange(1, 5).Draw(t, "connections")
		}
		c.s = New(Config{Attempts: most, Retry: Retry{defaultRetry, middle}, Limits: Limits{
			Provider:  func(dest string) string { return dest[:2] },
			Allowance: func(p string) Allowance { return Allowance{Connections: width[p]} },
			Priority:  func(who string) relay.Priority { return c.rank[who] }}})
		c.taken = func(*Slot, [relay.Priorities]bool) {}
		draw := func() relay.Priority { return relay.Priority(rapid.IntRange(0, 2).Draw(t, "priority")) }
		for i := range identities {
			who := fmt.Sprint("i", i)
			c.rank[who] = draw()
			for n := range rapid.IntRange(1, 60).Draw(t, "mail") {
				dest := fmt.Sprintf("p%d.%d", c.luck.IntN(providers), n%4)
				c.silent[dest] = c.silent[dest] || c.luck.IntN(4) == 0
				c.add(who, dest)
			}
		}
		for range rapid.IntRange(0, 100).Draw(t, "before") {
			c.second()
		}
		c.rank["little"] = draw()
		little := c.add("little", fmt.Sprintf("p%d.%s", rapid.IntRange(0, providers-1).Draw(t, "to"), "good"))
		lane := c.s.lanes[laneKey(c.s.at(little))]
		me, p := lane.flow.identity, lane.flow.provider
		done, turns, there, eligible := false, 0, 0, lane.flow.eligible
		skipped := [relay.Priorities]int{}
		c.taken = func(f *Slot, could [relay.Priorities]bool) {
			switch {
			case f.Ref == little:
				done = true
			case !done && f.identity.rank == me.rank:
				if eligible {
					turns++
				}
				if f.p == p {
					there++
				}
			}
			eligible = lane.flow.eligible
			for k := range skipped {
				if skipped[k]++; f.identity.rank == relay.Priority(k) || !could[k] {
					skipped[k] = 0
				}
				if skipped[k] > 9 {
					t.Fatalf("priority %d was skipped %d times in a row", k, skipped[k])
				}
			}
			if c.s.standing > 0 && f.identity.slots > max(1, most/2) && (c.s.standing > 1 || !f.identity.node.queued) {
				t.Fatalf("identity %d took slot %d of %d while others waited", f.identity.num, f.identity.slots, most)
			}
		}
		for n := 0; !done; n++ {
			c.second()
			if turns > 3*identities+providers || there > identities {
				t.Fatalf("it waited for %d turns, %d of them at its provider; there are %d other identities and %d providers", turns, there, identities, providers)
			}
			if n > 20_000 {
				t.Fatalf("it still waits after %d seconds", n)
			}
		}
	})
}

// Two halves of what a priority may have are the whole of it, also where it is odd.
func TestTwoOfAPriorityHaveItAll(t *testing.T) {
	rank := map[string]relay.Priority{"a": relay.PriorityHigh, "b": relay.PriorityHigh}
	s := New(Config{Attempts: 11, Retry: Retry{defaultRetry, middle}, Limits: Limits{Priority: func(who string) relay.Priority { return rank[who] },
		Allowance: func(string) Allowance { return Allowance{Connections: 1} }}})
	c := &crowd{s: s, now: 1e9}
	for _, who := range []string{"a", "b", "c", "d"} {
		for i := range 11 {
			c.add(who, fmt.Sprint(who, i))
		}
	}
	for s.Take(c.now) != nil {
	}
	if n := s.priorities[relay.PriorityHigh].slots; n != 5 || s.slots != 11 {
		t.Errorf("%d of %d slots for the priority that may have half of 11", n, s.slots)
	}
}

// Whoever could not go for a while keeps its place before those who had a turn
// meanwhile.
func TestAPlaceIsKept(t *testing.T) {
	s := New(Config{Attempts: 1, Retry: Retry{defaultRetry, middle}, Limits: Limits{}})
	c := &crowd{s: s, now: 1e9, flying: map[Ref]int64{}}
	for _, who := range []string{"a", "b", "c"} {
		for range 3 {
			c.add(who, who)
		}
	}
	turn := func() string {
		f := s.Take(c.now)
		s.Land(f, VerdictOpen, relay.Reply{}, c.now)
		s.Put(f.Ref, State{Gone: true}, c.now)
		return s.idents.names[f.identity.num]
	}
	b := s.active[s.dests.byName["b"]]
	s.suspend(&b.suspension, c.now+1, suspendedClosed)
	s.park(b)
	order := turn() + turn()
	s.Advance(c.now + 1)
	if order += turn() + turn(); order != "acba" {
		t.Errorf("turns in the order %q, want a and c, then b, who waited longest", order)
	}
}

// A provider's overdue turns come beside those of the identity: what waits for
// other providers goes as well.
func TestOverdueTurnsCostNoOthers(t *testing.T) {
	s := New(Config{Attempts: 1, Retry: Retry{defaultRetry, middle}, Limits: Limits{Provider: func(dest string) string { return dest },
		Priority: func(who string) relay.Priority {
			if who == "high" {
				return relay.PriorityHigh
			}
			return relay.PriorityNormal
		}}})
	c := &crowd{s: s, now: 1e9}
	for range 60 {
		c.add("high", "p1")
		c.add("x", "p1")
		c.add("y", "p3")
		c.add("z", "p4")
	}
	other := c.add("x", "p2")
	for range 60 {
		f := s.Take(c.now)
		if f.Ref == other {
			return
		}
		s.Land(f, VerdictOpen, relay.Reply{}, c.now)
		s.Put(f.Ref, State{Gone: true}, c.now)
	}
	t.Error("60 turns, and none for the mail to another provider")
}
