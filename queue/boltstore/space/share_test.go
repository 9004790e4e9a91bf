package space

import (
	"errors"
	"log/slog"
	"testing"

	"dawk/relay"
)

// While room is short an identity may fill half of what is left; what leaves makes
// room again, and when room is not short any more nobody asks.
func TestShares(t *testing.T) {
	var s shares
	key := uint64(0)
	fill := func(now *State, who string, size int64) (n int) {
		for ; ; n++ {
			key++
			if err := s.take(now, key, who, size); err != nil {
				if !errors.Is(err, relay.ErrNoSpace) {
					t.Fatal(err)
				}
				return n
			}
			if n > 1000 {
				return n
			}
		}
	}
	short := &State{Left: 1000, Short: true}
	if n := fill(short, "flood", 10); n != 50 {
		t.Errorf("one identity filled %d of 100 places, want half", n)
	}
	if n := fill(short, "other", 10); n != 25 {
		t.Errorf("the next filled %d of 50 places, want half", n)
	}
	if n := fill(&State{Left: 250, Short: true}, "flood", 10); n != 0 {
		t.Errorf("after the next look the first filled %d more", n)
	}
	for k := uint64(1); k <= 50; k++ { // all of it has left
		s.gone(k)
	}
	if n := fill(&State{Left: 750, Short: true}, "flood", 10); n != 37 {
		t.Errorf("when its mail had left it filled %d of 75 places, want half", n)
	}
	if n := fill(&State{Left: 1 << 30}, "flood", 10); n < 1000 {
		t.Errorf("with much room it filled %d places", n)
	}
	if s.taken != nil || s.whose != nil {
		t.Error("what was taken is not forgotten")
	}
}

// Room is short below a quarter of max_size, and below twice min_free.
func TestShort(t *testing.T) {
	for _, c := range []struct {
		limits Limits
		m      Measured
		short  bool
	}{
		{Limits{MinFree: 100 * mib}, Measured{Disk: 300 * mib}, false},
		{Limits{MinFree: 100 * mib}, Measured{Disk: 199 * mib}, true},
		{Limits{MinFree: 1 * mib, MaxSize: 1024 * mib}, Measured{Disk: 8 << 30, Use: Use{FileSize: 500 * mib}}, false},
		{Limits{MinFree: 1 * mib, MaxSize: 1024 * mib}, Measured{Disk: 8 << 30, Use: Use{FileSize: 700 * mib}}, true},
		{Limits{MinFree: 1 * mib, MaxSize: 1024 * mib}, Measured{Disk: 8 << 30, Use: Use{FileSize: 700 * mib, Free: 500 * mib}}, false},
	} {
		if now := c.limits.After(State{}, c.m, "data"); now.Short != c.short || now.Left < 0 {
			t.Errorf("%+v: short %v, left %d", c, now.Short, now.Left)
		}
	}
}

// Where next to nothing is left above the limit nobody finds room; then mail is refused
// as it is below the limit, which the log, health and the status tell.
func TestNearlyFullIsFull(t *testing.T) {
	limits := Limits{MinFree: 100 * mib}
	for _, c := range []struct {
		left int64
		size int64
		full bool
	}{
		{1000, 850, true},
		{20 * mib, 15 * mib, false}, // others are smaller
		{1000, 400, false},
	} {
		w := New(t.TempDir(), limits, func() Use { return Use{} }, func() bool { return false }, slog.New(slog.DiscardHandler))
		now := limits.After(State{}, Measured{Disk: 100*mib + settleOnce + c.left}, "data")
		w.state.Store(&now)
		err := w.Take(1, "a", c.size)
		if refused := w.State().Refusal != nil; refused != c.full || c.full && !errors.Is(err, relay.ErrNoSpace) {
			t.Errorf("%d left, %d wanted: %v, refused %v", c.left, c.size, err, refused)
		}
	}
}
