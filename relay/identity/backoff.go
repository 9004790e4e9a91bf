package identity

import (
	"net/netip"
	"sync"
	"time"

	"dawk/relay/limits"
)

// Backoff counts failed logins by address, so that guessing from one address
// is slow however many connections it opens. One is shared by all doors. It is
// safe for concurrent use.
type Backoff struct {
	limit int // 0: never blocks

	mu       sync.Mutex
	failures limits.Windows[netip.Addr]
}

const (
	// BackoffWindow is how long a failure counts.
	BackoffWindow = 10 * time.Minute
	backoffTable  = 1 << 16 // addresses remembered: about 6 MiB at most
)

// NewBackoff blocks an address after limit failures in ten minutes; 0: never.
func NewBackoff(limit int) *Backoff {
	return &Backoff{limit: limit, failures: limits.Windows[netip.Addr]{Span: BackoffWindow, Most: backoffTable}}
}

// LimitKey is what limits count by: an IPv4 address, or the /64 that an IPv6
// client has to itself.
func LimitKey(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// Failed counts one more. A success takes nothing back: otherwise somebody who
// owns one account could guess at the others without end.
func (b *Backoff) Failed(client netip.Addr) {
	a := LimitKey(client)
	if b.limit == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures.Add(a, time.Now())
}

// Blocked says whether this address has failed too often.
func (b *Backoff) Blocked(client netip.Addr) bool {
	a := LimitKey(client)
	if b.limit == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failures.Count(a, time.Now()) >= b.limit
}
