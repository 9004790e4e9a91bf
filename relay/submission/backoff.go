package submission

import (
	"net/netip"
	"sync"
	"time"
)

// backoff counts failed logins by address, so that guessing from one address
// is slow however many connections it opens.
type backoff struct {
	limit int // 0: never blocks

	mu    sync.Mutex
	since map[netip.Addr]*failures
}

type failures struct {
	began time.Time // of the window
	n     int
}

const (
	backoffWindow = 10 * time.Minute
	backoffTable  = 1 << 16 // addresses remembered: about 6 MiB at most
)

func newBackoff(limit int) *backoff {
	return &backoff{limit: limit, since: map[netip.Addr]*failures{}}
}

// failed counts one more. Successes take nothing back: somebody who owns one
// account could guess at the others for ever.
func (b *backoff) failed(a netip.Addr) {
	if b.limit == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	f := b.since[a]
	if f == nil || now.Sub(f.began) >= backoffWindow {
		if f == nil && len(b.since) >= backoffTable {
			b.makeRoom(now)
		}
		f = &failures{began: now}
		b.since[a] = f
	}
	f.n++
}

func (b *backoff) blocked(a netip.Addr) bool {
	if b.limit == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.since[a]
	return f != nil && f.n >= b.limit && time.Since(f.began) < backoffWindow
}

// makeRoom drops windows that have passed and, if all are young, half of the
// table: an attacker with that many addresses is not stopped by it anyhow.
func (b *backoff) makeRoom(now time.Time) {
	for a, f := range b.since {
		if now.Sub(f.began) >= backoffWindow {
			delete(b.since, a)
		}
	}
	for a := range b.since {
		if len(b.since) < backoffTable/2 {
			return
		}
		delete(b.since, a)
	}
}
