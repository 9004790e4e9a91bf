// Package limits counts events in windows of time. A window begins with the
// first event in it and has a fixed length, so that a span across two
// adjacent windows can hold twice the limit.
//
// It is pure: the time is an argument, and there are no locks and no
// goroutines. Whoever shares a counter locks it.
package limits

import "time"

// Window counts within one window. Its zero value has counted nothing; its JSON
// is part of the ledger of users.
type Window struct {
	N     int       `json:"n"`
	Began time.Time `json:"began,omitzero"`
}

// late is how long an event may take from reading the clock to being counted. Others
// are counted meanwhile, so that it comes with an earlier time than theirs.
const late = time.Minute

// Over says whether the window has ended, has never begun, or lies in the
// future because the clock was set back.
func (w Window) Over(span time.Duration, now time.Time) bool {
	since := now.Sub(w.Began)
	return since < -min(late, span) || since >= span
}

// Count is how many events the window has now.
func (w Window) Count(span time.Duration, now time.Time) int {
	if w.Over(span, now) {
		return 0
	}
	return w.N
}

// Add counts n events, and begins a new window if this one is over.
func (w *Window) Add(n int, span time.Duration, now time.Time) int {
	if w.Over(span, now) {
		*w = Window{Began: now}
	}
	w.N += n
	return w.N
}

// Windows has a Window for each key, and remembers at most Most keys: so many
// do not stop somebody who has more of them.
type Windows[K comparable] struct {
	Span time.Duration
	Most int

	by map[K]Window
}

// Count is how many events of key its window has now.
func (w *Windows[K]) Count(key K, now time.Time) int { return w.by[key].Count(w.Span, now) }

// Add counts one event of key.
func (w *Windows[K]) Add(key K, now time.Time) int {
	one, known := w.by[key]
	if !known && len(w.by) >= w.Most {
		w.makeRoom(now)
	}
	if w.by == nil {
		w.by = map[K]Window{}
	}
	n := one.Add(1, w.Span, now)
	w.by[key] = one
	return n
}

// makeRoom drops windows that are over and, if the others are more than half
// of what may be remembered, any of them down to that.
func (w *Windows[K]) makeRoom(now time.Time) {
	for key, one := range w.by {
		if one.Over(w.Span, now) {
			delete(w.by, key)
		}
	}
	for key := range w.by {
		if len(w.by) < max(1, w.Most/2) {
			return
		}
		delete(w.by, key)
	}
}
