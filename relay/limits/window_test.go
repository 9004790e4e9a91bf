package limits_test

import (
	"testing"
	"time"

	"dawk/relay/limits"
)

func TestAWindowBeginsWithItsFirstEvent(t *testing.T) {
	var w limits.Window
	now := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		at   time.Duration
		add  int
		want int
	}{{0, 1, 1}, {59 * time.Minute, 3, 4}, {time.Hour, 1, 1}, {90 * time.Minute, 1, 2}, {time.Hour - 5*time.Millisecond, 1, 3}, {-time.Hour, 1, 1}} {
		at := now.Add(c.at)
		if n := w.Add(c.add, time.Hour, at); n != c.want || w.Count(time.Hour, at) != n {
			t.Errorf("at %v: %d, %d; want %d", c.at, n, w.Count(time.Hour, at), c.want)
		}
	}
	if n := w.Count(time.Hour, now); n != 0 {
		t.Errorf("an hour later it counts %d", n)
	}
}

func TestWindowsAreBounded(t *testing.T) {
	w := limits.Windows[int]{Span: time.Minute, Most: 10}
	now := time.Unix(1_000_000, 0)
	for key := range 6 {
		w.Add(10+key, now)
	}
	for key := range 4 {
		w.Add(key, now.Add(30*time.Second))
	}
	later := now.Add(time.Minute) // the first six have passed, and make room
	w.Add(20, later)
	for key := range 4 {
		if w.Count(key, later) != 1 {
			t.Errorf("%d was forgotten for no need", key)
		}
	}
	kept := 0
	for key := 100; key < 200; key++ {
		w.Add(key, later)
		if w.Count(key, later) != 1 {
			t.Errorf("%d is not counted", key)
		}
	}
	for key := range 200 {
		kept += w.Count(key, later)
	}
	if kept > 10 {
		t.Errorf("%d keys are remembered", kept)
	}
}
