package schedule

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
)

// The place in line is the number of turns that pass until it goes, if nothing
// comes meanwhile.
func TestPlaceInLineIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		luck := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "luck"), 1))
		rank := map[string]relay.Priority{}
		c := &crowd{now: 1e9}
		c.s = New(Config{Attempts: 9, Retry: Retry{defaultRetry, middle}, Limits: Limits{
			Provider:  func(string) string { return "big" },
			Allowance: func(string) Allowance { return Allowance{Connections: 1, Rate: relay.Rate{N: 60, Per: time.Minute}} },
			Priority:  func(who string) relay.Priority { return rank[who] }}})
		identities, domains := rapid.IntRange(1, 4).Draw(t, "identities"), rapid.IntRange(1, 4).Draw(t, "domains")
		high := rapid.Bool().Draw(t, "high") && identities == 1 // priorities have a share of their own in each other's turns
		if high {
			rank["i0"] = relay.PriorityHigh
		}
		var all []Ref
		for range rapid.IntRange(1, 60).Draw(t, "mail") {
			all = append(all, c.add(fmt.Sprint("i", luck.IntN(identities)), fmt.Sprintf("d%d.test", luck.IntN(domains))))
		}
		for range rapid.IntRange(0, 20).Draw(t, "before") {
			c.turn()
		}
		r := all[luck.IntN(len(all))]
		if c.s.at(r).place != placeReady {
			return
		}
		wall := func(us int64) time.Time { return time.UnixMicro(us) }
		turn := c.s.Turn(r, c.now, wall)
		n := 1
		for c.turn() != r {
			n++
		}
		if turn.Place != n || turn.Of < n {
			t.Fatalf("place %d of %d; it went in turn %d", turn.Place, turn.Of, n)
		}
		if at := c.now; wall(at).Before(turn.At) || n > 2 && wall(at).After(turn.At.Add(2*time.Second)) {
			t.Fatalf("expected at %v, went at %v", turn.At, wall(at))
		}
	})
}

// turn lets time pass until the next attempt, which ends at once.
func (c *crowd) turn() Ref {
	f := c.s.Take(c.now)
	for f == nil {
		if len(c.s.suspensions.all) == 0 {
			return 0
		}
		c.now = max(c.now, c.s.suspensions.all[0].until)
		c.s.Advance(c.now)
		f = c.s.Take(c.now)
	}
	c.s.Land(f, VerdictOpen, relay.Reply{}, c.now)
	c.s.Put(f.Ref, State{Gone: true}, c.now)
	return f.Ref
}

// What keeps mail is named in every state, for the provider, for what waits and for
// mail that is yet to come, also where nothing was tried.
func TestLoadNamesWhatKeepsMail(t *testing.T) {
	wall := func(us int64) time.Time { return time.UnixMicro(us) }
	refused := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "connection refused")
	slow := relay.Reply{Code: 421, Text: "slow down", Stage: relay.StageMail}
	for _, x := range []struct {
		want  relay.LoadState
		most  int // slots
		allow Allowance
		steps string // t: take; closed, open, slow: how the first attempt ends; pass: its suspension ends
		known bool
		busy  bool // the budget is used up
	}{
		{relay.LoadLookup, 9, Allowance{Connections: 1}, "t", false, false},
		{relay.LoadSlots, 1, Allowance{Connections: 5}, "t", true, false},
		{relay.LoadConnections, 9, Allowance{Connections: 1}, "t", true, false},
		{relay.LoadRate, 9, Allowance{Connections: 3, Rate: relay.Rate{N: 1, Per: time.Minute}}, "t t", true, false},
		{relay.LoadSuspended, 9, Allowance{Connections: 3}, "t closed", true, false},
		{relay.LoadProbing, 9, Allowance{Connections: 3}, "t closed pass t", true, false},
		{relay.LoadThrottled, 9, Allowance{Connections: 1}, "t slow", true, false},
		{relay.LoadBudget, 9, Allowance{Connections: 3}, "t", true, true},
	} {
		c := &crowd{now: 1e9}
		c.s = New(Config{Attempts: x.most, Retry: Retry{defaultRetry, middle}, Limits: Limits{
			Provider: func(string) string {
				if x.known {
					return "big"
				}
				return ""
			},
			Allowance: func(string) Allowance { return x.allow },
			Reserve: func(string) time.Time {
				if x.busy {
					return time.UnixMicro(c.now + 60*sec)
				}
				return time.Time{}
			}}})
		for range 4 {
			c.add("i", "d.test")
		}
		var f *Slot
		for step := range strings.FieldsSeq(x.steps) {
			c.now += sec
			switch step {
			case "t":
				if g := c.s.Take(c.now); g != nil {
					f = g
				}
			case "closed", "slow":
				v, by := VerdictClosed, refused
				if step == "slow" {
					v, by = VerdictThrottled, slow
				}
				c.s.Land(f, v, by, c.now)
				c.s.Put(f.Ref, State{Due: c.now + 3600*sec, Attempts: 1}, c.now)
			case "pass":
				c.now = c.s.suspensions.all[0].until
				c.s.Advance(c.now)
			}
		}
		id, job := c.s.Delivery(c.s.arrived.last) // it was never tried
		views := map[string]relay.ProviderLoad{"toward": c.s.Toward("d.test", wall)}
		for _, p := range c.s.Providers(wall) {
			views["provider"] = p
		}
		for _, w := range c.s.Where(id, wall) {
			if w.Job == job {
				views["where"] = *w.Load
			}
		}
		for view, p := range views {
			if p.State != x.want || p.Queued != 4 || p.Ready == 0 {
				t.Errorf("%s after %q as %s: %s, %+v", x.want, x.steps, view, p.State, p)
			}
			switch x.want {
			case relay.LoadSuspended, relay.LoadProbing:
				if p.Failure != refused || p.Since != wall(1e9+2*sec) {
					t.Errorf("%s as %s: since %v, %v", x.want, view, p.Since, p.Failure)
				}
			case relay.LoadThrottled:
				if p.SlowedBy != slow || p.Since.IsZero() {
					t.Errorf("%s as %s: %+v", x.want, view, p)
				}
			case relay.LoadRate:
				if want := p.Until.Add(time.Duration(p.Ready-1) * time.Minute); p.Drained != want {
					t.Errorf("%d drained at %v, want %v", p.Ready, p.Drained, want)
				}
			}
			if end := x.want == relay.LoadSuspended || x.want == relay.LoadThrottled || x.want == relay.LoadRate || x.want == relay.LoadBudget; end == p.Until.IsZero() {
				t.Errorf("%s as %s: until %v", x.want, view, p.Until)
			}
		}
	}
}

// While all mail of a route waits for its time its destination is forgotten: what a new
// Delivery would meet still counts that mail, and the next failure does not begin the
// outage anew.
func TestOutageOutlivesItsDestination(t *testing.T) {
	wall := func(us int64) time.Time { return time.UnixMicro(us) }
	refused := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "connection refused")
	const dest = "route:office"
	c := &crowd{now: 1e9}
	c.s = New(Config{Attempts: 9, Retry: Retry{defaultRetry, middle}, Limits: Limits{
		Provider:  func(string) string { return dest },
		Allowance: func(string) Allowance { return Allowance{Connections: 3} }}})
	fail := func() {
		t.Helper()
		f := c.s.Take(c.now)
		if f == nil {
			t.Fatal("nothing to attempt")
		}
		c.s.Land(f, VerdictClosed, refused, c.now)
		c.s.Put(f.Ref, State{Due: c.now + 3600*sec, Attempts: 1}, c.now)
	}
	c.add("i", dest)
	began := wall(c.now)
	fail()
	check := func(want relay.LoadState, queued int) {
		t.Helper()
		toward := c.s.Toward(dest, wall)
		if toward.State != want || toward.Since != began || toward.Queued != queued || !toward.Unreachable() || strings.Contains(toward.Why(wall(c.now)), "nothing waits") {
			t.Errorf("a new Delivery meets %+v, want %s since %v with %d queued", toward, want, began, queued)
		}
		for _, p := range c.s.Providers(wall) {
			if p.State != want || p.Since != began || p.Queued != queued {
				t.Errorf("the provider is %+v, want %s since %v with %d queued", p, want, began, queued)
			}
		}
	}
	check(relay.LoadSuspended, 1)
	for len(c.s.suspensions.all) > 0 {
		c.now = c.s.suspensions.all[0].until
		c.s.Advance(c.now)
	}
	if num, ok := c.s.dests.byName[dest]; !ok || c.s.active[num] != nil {
		t.Fatal("the destination is not forgotten: this test shows nothing")
	}
	check(relay.LoadDown, 1)
	c.now += 60 * sec
	c.add("i", dest)
	fail()
	check(relay.LoadSuspended, 2)
}
