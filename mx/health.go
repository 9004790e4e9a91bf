package mx

import (
	"net/netip"
	"sync"
	"time"

	"dawk/relay"
)

// restTime is how long a host of `via` that failed comes after the others.
const restTime = time.Minute

// place is what is connected to.
type place struct {
	addr   netip.AddrPort
	socket string
}

func (t target) place() place { return place{t.Addr, t.Socket} }

// health remembers which hosts of routes failed lately, so that a dead first
// one does not cost every message its time-out. It holds only addresses that
// the configuration leads to, and forgets those that answer.
type health struct {
	mu     sync.Mutex
	failed map[place]time.Time // when it may be tried first again
}

// note learns from a session with a host of a route.
func (h *health) note(tg target, p policy, s sessionResult) {
	if p.mx || s.stale || s.failure.Permanent() || s.failure.Stage == relay.StageRoute { // a verdict on the mail, or on us, is none on the host
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if s.failure.IsZero() {
		delete(h.failed, tg.place())
		return
	}
	if h.failed == nil {
		h.failed = make(map[place]time.Time)
	}
	h.failed[tg.place()] = time.Now().Add(restTime)
}

// order puts the hosts that failed lately last. When one's rest is over the
// first message to ask probes it; others still pass it by meanwhile.
func (h *health) order(targets []target) []target {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.failed) == 0 {
		return targets
	}
	now := time.Now()
	var good, bad []target
	for _, tg := range targets {
		until, failed := h.failed[tg.place()]
		switch {
		case failed && now.Before(until):
			bad = append(bad, tg)
			continue
		case failed:
			h.failed[tg.place()] = now.Add(restTime)
		}
		good = append(good, tg)
	}
	return append(good, bad...)
}
