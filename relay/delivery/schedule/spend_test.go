package schedule

import (
	"testing"
	"time"

	"dawk/relay"
)

// A rate that others count as well: what it refuses waits until then and is not lost, what it was
// not asked for is owed, and a provider without a rate is never asked.
func TestARateThatOthersCountAsWell(t *testing.T) {
	type spent struct {
		provider             string
		messages, recipients int
		owed                 bool
	}
	var asked []spent
	var until time.Time
	c := &crowd{now: 1e9}
	c.s = New(Config{Attempts: 9, Retry: Retry{defaultRetry, middle}, Limits: Limits{
		Provider: func(d string) string { return d },
		Allowance: func(p string) Allowance {
			if p == "free" {
				return Allowance{}
			}
			return Allowance{Rate: relay.Rate{N: 3600, Per: time.Second}, RecipientRate: relay.Rate{N: 3600, Per: time.Second}, Recipients: 10}
		},
		Spend: func(p string, _ Allowance, messages, recipients int, owed bool) time.Time {
			asked = append(asked, spent{p, messages, recipients, owed})
			return until
		}}})
	until = time.UnixMicro(c.now + 5e6)
	r := c.add("i", "slow")
	if f := c.s.Take(c.now); f != nil {
		t.Fatal("it went although its rate had no room")
	}
	if l := c.s.Toward("slow", time.UnixMicro); l.State != relay.LoadRate || !l.Until.Equal(until) {
		t.Errorf("it waits for %+v", l)
	}
	c.now += 5e6
	c.s.Advance(c.now)
	until = time.Time{}
	f := c.s.Take(c.now)
	if f == nil || f.Ref != r {
		t.Fatal("it does not go when there is room")
	}
	if !c.s.Admit(f, "slow", 25, c.now) {
		t.Fatal("not admitted")
	}
	want := []spent{{"slow", 1, 1, false}, {"slow", 1, 1, false}, {"slow", 2, 24, true}}
	for i := range want {
		if i >= len(asked) || asked[i] != want[i] {
			t.Fatalf("%+v, want %+v", asked, want)
		}
	}
	asked = nil
	c.add("i", "free")
	f = c.s.Take(c.now)
	if f == nil || len(asked) > 0 {
		t.Fatalf("%v, asked %+v", f, asked)
	}
	until = time.UnixMicro(c.now + 5e6)
	if c.s.Admit(f, "slow", 1, c.now) || !f.Refused() {
		t.Error("admitted to another provider whose rate has no room")
	}
}
