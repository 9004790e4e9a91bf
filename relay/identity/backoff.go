package identity

import (
	"hash/maphash"
	"net/netip"
	"strings"
	"sync"
	"time"

	"dawk/relay/limits"
)

// Backoff counts failed logins, so that guessing is slow however many
// connections somebody opens. One is shared by all doors. It is safe for
// concurrent use.
//
// Whoever guesses over a network is blocked, by address. Programs of this
// machine share one address, and blocking it would shut out all of them: there
// the name that is guessed at is slowed down, and nobody is shut out.
type Backoff struct {
	seed maphash.Seed

	mu       sync.Mutex
	limit    int // 0: never blocks
	failures limits.Windows[netip.Prefix]
	names    limits.Windows[uint64] // hashed: a client chooses them
}

const (
	// BackoffWindow is how long a failure counts.
	BackoffWindow = 10 * time.Minute
	backoffTable  = 1 << 16 // addresses and names remembered: about 6 MiB each at most

	leastDelay, mostDelay = time.Second, 30 * time.Second // of a name
)

// NewBackoff blocks an address after limit failures in ten minutes; 0: never.
func NewBackoff(limit int) *Backoff {
	return &Backoff{limit: limit, seed: maphash.MakeSeed(),
		failures: limits.Windows[netip.Prefix]{Span: BackoffWindow, Most: backoffTable},
		names:    limits.Windows[uint64]{Span: BackoffWindow, Most: backoffTable}}
}

// Limit changes the limit that NewBackoff was given.
func (b *Backoff) Limit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// LimitKey is the key for counting: an IPv4 address, or the /64 that belongs to an IPv6 client.
func LimitKey(a netip.Addr) netip.Addr { return Networks(a)[0].Addr() }

// Network is a network whose clients are counted together. Its limit is Times the limit of one
// address.
type Network struct {
	netip.Prefix
	Times int
}

// Networks are those in which a client is counted: for IPv4 the address alone; for IPv6 the /64
// that belongs to one client, and the /56 and /48 that providers assign to customers.
func Networks(a netip.Addr) []Network {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return []Network{{netip.PrefixFrom(a, a.BitLen()), 1}}
	}
	all := make([]Network, 3)
	for i, bits := range [...]int{64, 56, 48} {
		p, _ := a.Prefix(bits) // never fails: it is IPv6
		all[i] = Network{p, 1 << i}
	}
	return all
}

// Failed counts one more. A success does not reset the count: otherwise somebody who owns one
// account could guess at the others without limit. Loopback addresses are shared by all programs,
// and are not counted: see FailedAs.
func (b *Backoff) Failed(client netip.Addr) {
	if client.Unmap().IsLoopback() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range Networks(client) {
		b.failures.Add(n.Prefix, time.Now())
	}
}

// Blocked says whether this address, or the network around it, has failed too
// often.
func (b *Backoff) Blocked(client netip.Addr) bool {
	if client.Unmap().IsLoopback() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, n := range Networks(client) {
		if b.limit > 0 && b.failures.Count(n.Prefix, time.Now()) >= n.Times*b.limit {
			return true
		}
	}
	return false
}

// FailedAs counts a failed login of a program of this machine, and returns the delay for that name
// from now on.
func (b *Backoff) FailedAs(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return delay(b.names.Add(b.key(name), time.Now()))
}

// Delay is how long the answer to a login of a program of this machine is delayed, whether the
// password is right or wrong.
func (b *Backoff) Delay(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return delay(b.names.Count(b.key(name), time.Now()))
}

func (b *Backoff) key(name string) uint64 { return maphash.String(b.seed, strings.ToLower(name)) }

// delay doubles with each failure.
func delay(failures int) time.Duration {
	d := leastDelay
	for ; failures > 1 && d < mostDelay; failures-- {
		d *= 2
	}
	if failures == 0 {
		return 0
	}
	return min(d, mostDelay)
}
