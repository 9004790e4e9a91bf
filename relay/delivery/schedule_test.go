package delivery

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dawk/relay"
)

func middle(n int64) int64 { return n / 2 }

func TestScheduleNext(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	long := schedule{steps: DefaultRetry, rand: middle}
	short := schedule{steps: []time.Duration{time.Second, 90 * time.Minute}, rand: middle}
	for _, c := range []struct {
		s       schedule
		n       int
		unknown bool
		wait    time.Duration
		rule    string
	}{
		{long, 1, false, time.Minute, "retry step 1 of 6: 1m ±10 %"},
		{long, 3, false, 15 * time.Minute, "retry step 3 of 6: 15m ±10 %"},
		{long, 6, false, 2 * time.Hour, "retry step 6 of 6: 2h ±10 %"},
		{long, 7, false, 2 * time.Hour, "retry step 6 of 6: 2h ±10 %, repeated"},
		{long, 1, true, 15 * time.Minute, "no answer to the final dot, so it waits for retry step 3 of 6: 15m ±10 %"},
		{long, 5, true, time.Hour, "no answer to the final dot, so it waits for retry step 5 of 6: 1h ±10 %"},
		{short, 1, true, 90 * time.Minute, "no answer to the final dot, so it waits for retry step 2 of 2: 1h30m ±10 %"},
		{short, 0, false, time.Second, "retry step 1 of 2: 1s ±10 %"},
	} {
		due, rule := c.s.next(c.n, c.unknown, now)
		if due.Sub(now) != c.wait || rule != c.rule {
			t.Errorf("attempt %d of %v, unknown %v: %v, %q; want %v, %q", c.n, c.s.steps, c.unknown, due.Sub(now), rule, c.wait, c.rule)
		}
	}
}

func TestJitterIsTenPercentEachWay(t *testing.T) {
	for luck, want := range map[int64]time.Duration{0: 54 * time.Second, -1: 66 * time.Second} {
		s := schedule{steps: []time.Duration{time.Minute}, rand: func(n int64) int64 { return (luck + n) % n }}
		if due, _ := s.next(1, false, time.Time{}); due.Sub(time.Time{}) != want {
			t.Errorf("luck %d: %v, want %v", luck, due.Sub(time.Time{}), want)
		}
	}
}

// The running totals, to read with -v: what an administrator may tell a user.
func TestScheduleTotals(t *testing.T) {
	s := schedule{steps: DefaultRetry, rand: middle}
	start := time.Time{}
	at, attempts := start, 1
	var b strings.Builder
	for at.Sub(start) < 5*24*time.Hour {
		due, rule := s.next(attempts, false, at)
		at, attempts = due, attempts+1
		if attempts < 12 {
			fmt.Fprintf(&b, "attempt %2d after %9v  (%s)\n", attempts, at.Sub(start), rule)
		}
	}
	fmt.Fprintf(&b, "attempt %2d after %9v: expired if it fails\n", attempts, at.Sub(start))
	t.Log("\n" + b.String())
	if attempts != 66 || at.Sub(start) != 121*time.Hour+51*time.Minute {
		t.Errorf("%d attempts in %v, want 66 in 121h51m", attempts, at.Sub(start))
	}
}

func TestAgeLeavesOutHoldAndFutureRelease(t *testing.T) {
	now := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	ago := func(h int) time.Time { return now.Add(-time.Duration(h) * time.Hour) }
	for _, c := range []struct {
		name string
		m    relay.Message
		d    relay.Delivery
		want time.Duration
	}{
		{"plain", relay.Message{Arrival: ago(10)}, relay.Delivery{}, 10 * time.Hour},
		{"was held", relay.Message{Arrival: ago(10)}, relay.Delivery{HeldFor: 4 * time.Hour}, 6 * time.Hour},
		{"is held", relay.Message{Arrival: ago(10)}, relay.Delivery{HeldFor: time.Hour, HeldAt: ago(3)}, 6 * time.Hour},
		{"future release", relay.Message{Arrival: ago(10), NotBefore: ago(2)}, relay.Delivery{}, 2 * time.Hour},
		{"clock set back", relay.Message{Arrival: now.Add(time.Hour)}, relay.Delivery{HeldAt: now.Add(time.Minute)}, -time.Hour},
	} {
		if got := age(now, &c.m, &c.d); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestClockNeverGoesBack(t *testing.T) {
	begin := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	c := &clock{wall: begin}
	look := func(wall, mono time.Duration) time.Duration {
		return time.Duration(c.look(begin.Add(wall), mono)-begin.UnixMicro()) * time.Microsecond
	}
	for _, s := range []struct {
		what             string
		wall, mono, want time.Duration
	}{
		{"a minute passes", time.Minute, time.Minute, time.Minute},
		{"set back by an hour", -58 * time.Minute, 2 * time.Minute, 2 * time.Minute},
		{"and goes on", -57 * time.Minute, 3 * time.Minute, 3 * time.Minute},
		{"set right again: two days pass at once", 48*time.Hour + 3*time.Minute, 3 * time.Minute, 49*time.Hour + 3*time.Minute},
		{"slewed by half a second", 48*time.Hour + 4*time.Minute - 500*time.Millisecond, 4 * time.Minute, 49*time.Hour + 4*time.Minute - 500*time.Millisecond},
	} {
		if got := look(s.wall, s.mono); got != s.want {
			t.Errorf("%s: %v, want %v", s.what, got, s.want)
		}
	}
	if got := c.wallTime(c.at(c.wall)); !got.Equal(c.wall) {
		t.Errorf("there and back: %v, want %v", got, c.wall)
	}
}

func TestRestIsShorterTheMoreWait(t *testing.T) {
	for _, c := range []struct {
		waiting    int
		step, want time.Duration
	}{
		{0, time.Minute, 30 * time.Second},
		{4, time.Minute, 10 * time.Second},
		{100_000, 2 * time.Hour, time.Second},
		{10, time.Second, 500 * time.Millisecond},
	} {
		if got := restFor(c.waiting, c.step); got != c.want {
			t.Errorf("%d waiting, step %v: %v, want %v", c.waiting, c.step, got, c.want)
		}
	}
}
