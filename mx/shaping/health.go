package shaping

import (
	"sync"
	"time"
)

// restTime is how long a host of `via` that failed is tried after the others.
const restTime = time.Minute

// Health remembers which hosts of routes failed lately, so that a dead first one does not cost
// every message its time-out. It holds only hosts of the configuration, and forgets those that
// answer. The zero value is empty.
type Health[K comparable] struct {
	mu     sync.Mutex
	failed map[K]time.Time // when it may be tried first again
}

// Note records whether a host failed or answered.
func (h *Health[K]) Note(host K, failed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case !failed:
		delete(h.failed, host)
		return
	case h.failed == nil:
		h.failed = make(map[K]time.Time)
	}
	h.failed[host] = time.Now().Add(restTime)
}

// Later says whether a host is tried after the others. When its rest is over the first attempt that
// asks probes it; others still try it last meanwhile.
func (h *Health[K]) Later(host K) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	until, failed := h.failed[host]
	if !failed {
		return false
	}
	now := time.Now()
	if now.Before(until) {
		return true
	}
	h.failed[host] = now.Add(restTime)
	return false
}
