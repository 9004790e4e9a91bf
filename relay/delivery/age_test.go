package delivery

import (
	"testing"
	"time"

	"dawk/relay"
)

func middle(n int64) int64 { return n / 2 }

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
		{"was held", relay.Message{Arrival: ago(10)}, relay.Delivery{HeldFor: relay.Millis(4 * time.Hour)}, 6 * time.Hour},
		{"is held", relay.Message{Arrival: ago(10)}, relay.Delivery{HeldFor: relay.Millis(time.Hour), HeldAt: ago(3)}, 6 * time.Hour},
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
