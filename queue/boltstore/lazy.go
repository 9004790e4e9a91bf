package boltstore

import "slices"

// later adds a lazy operation: it joins the next commit, or causes one after lazyWait. Enqueues
// never wait for it.
func (w *writer) later(o *op) {
	w.mu.Lock()
	w.lazy = append(w.lazy, o)
	n := len(w.lazy)
	w.mu.Unlock()
	if n == 1 || n == lazyShare {
		w.nudge()
	}
}

func (w *writer) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// takeLazy takes up to limit lazy operations, oldest first.
func (w *writer) takeLazy(limit int) []*op {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := min(limit, len(w.lazy))
	taken := slices.Clone(w.lazy[:n])
	w.lazy = slices.Delete(w.lazy, 0, n)
	return taken
}

// freeingFirst puts the operations that make room before those that take some, and
// says how many they are.
func (w *writer) freeingFirst() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortStableFunc(w.lazy, func(a, b *op) int { return b.frees - a.frees })
	for n < len(w.lazy) && w.lazy[n].frees > 0 {
		n++
	}
	return n
}

// putBack returns operations of which the first found no room. That one goes to the end, so that
// the next round tries another one first.
func (w *writer) putBack(ops []*op) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lazy = slices.Concat(ops[1:], w.lazy, ops[:1])
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lazy)
}
