package schedule

import (
	"maps"
	"slices"
	"testing"

	"dawk/relay"
)

// A limit that several machines share may shrink while its connections are in use, even to
// nothing, and grow again: none begins beyond it, what is too much is named, and none is lost.
func TestALimitMayShrinkToNothing(t *testing.T) {
	most := 4
	c := &crowd{now: 1e9}
	c.s = New(Config{Attempts: 9, Retry: Retry{defaultRetry, middle}, Limits: Limits{Allowance: func(string) Allowance { return Allowance{Connections: most} }}})
	for range 20 {
		c.add("i", "d.test")
	}
	flying := map[Ref]*Slot{}
	takes := func(want int) {
		t.Helper()
		for f := c.s.Take(c.now); f != nil; f = c.s.Take(c.now) {
			flying[f.Ref] = f
		}
		if len(flying) != want {
			t.Fatalf("%d attempts run, want %d", len(flying), want)
		}
	}
	ends := func(n int) {
		for _, r := range slices.Sorted(maps.Keys(flying))[:n] {
			c.s.Land(flying[r], VerdictOpen, relay.Reply{}, c.now)
			c.s.Put(r, State{Gone: true}, c.now)
			delete(flying, r)
		}
	}
	takes(2) // it begins with few
	most = 1
	c.s.Reallow()
	if n := c.s.Excess(nil); n != 1 {
		t.Errorf("%d are too much, want 1", n)
	}
	cut := 0
	c.s.Excess(func(Ref) bool { cut++; return true })
	if cut != 1 {
		t.Errorf("%d are cut, want 1", cut)
	}
	cut = 0
	if c.s.Excess(func(Ref) bool { cut++; return false }); cut != 2 { // those that cannot be cut go on
		t.Errorf("%d are asked, want both", cut)
	}
	ends(1)
	takes(1)
	most = -1
	c.s.Reallow()
	if n := c.s.Excess(nil); n != 1 {
		t.Errorf("%d are too much, want 1", n)
	}
	ends(1)
	takes(0)
	if why := c.s.Toward("d.test", nil); why.State != relay.LoadConnections || why.Limit != 0 {
		t.Errorf("it waits for %+v", why)
	}
	most = 2
	c.s.Reallow()
	takes(1)
	if c.s.adrift() != 0 {
		t.Error("an entry is lost")
	}
}
