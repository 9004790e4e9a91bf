package schedule

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// defaultRetry is that of a configuration that names none.
var defaultRetry = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}

func middle(n int64) int64 { return n / 2 }

func TestScheduleNext(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	long := Retry{Steps: defaultRetry, Rand: middle}
	short := Retry{Steps: []time.Duration{time.Second, 90 * time.Minute}, Rand: middle}
	for _, c := range []struct {
		s       Retry
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
		due, rule := c.s.Next(c.n, c.unknown, now)
		if due.Sub(now) != c.wait || rule != c.rule {
			t.Errorf("attempt %d of %v, unknown %v: %v, %q; want %v, %q", c.n, c.s.Steps, c.unknown, due.Sub(now), rule, c.wait, c.rule)
		}
	}
}

func TestJitterIsTenPercentEachWay(t *testing.T) {
	for luck, want := range map[int64]time.Duration{0: 54 * time.Second, -1: 66 * time.Second} {
		s := Retry{Steps: []time.Duration{time.Minute}, Rand: func(n int64) int64 { return (luck + n) % n }}
		if due, _ := s.Next(1, false, time.Time{}); due.Sub(time.Time{}) != want {
			t.Errorf("luck %d: %v, want %v", luck, due.Sub(time.Time{}), want)
		}
	}
}

// The running totals, to read with -v: what an administrator may tell a user.
func TestScheduleTotals(t *testing.T) {
	s := Retry{Steps: defaultRetry, Rand: middle}
	start := time.Time{}
	at, attempts := start, 1
	var b strings.Builder
	for at.Sub(start) < 5*24*time.Hour {
		due, rule := s.Next(attempts, false, at)
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
		if got := suspendFor(c.waiting, c.step); got != c.want {
			t.Errorf("%d waiting, step %v: %v, want %v", c.waiting, c.step, got, c.want)
		}
	}
}
