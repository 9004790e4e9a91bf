package httpapi

import (
	"sync"

	"dawk/relay/accept"
)

// Bounds of what requests hold in memory, in octets.
const (
	// memory is what all requests may hold together. The garbage collector lets a program grow to
	// twice that.
	memory = 32 << 20
	// leastShare is what a user may hold regardless of others, as long as memory is not used up.
	leastShare = 64 << 10
	// connectionCost is what a connection with a request holds before anything
	// of the message is kept.
	connectionCost = 24 << 10
	// tlsCost is what TLS holds besides: its buffers, and the larger stack of
	// its handshake.
	tlsCost = 40 << 10
)

// shares divide memory among users: each may fill half of what the others leave, so that no user
// fills it alone. They charge for what has arrived; what a request announces costs nothing.
type shares struct {
	most int64

	mu   sync.Mutex
	used int64
	by   map[string]int64
}

func newShares(most int64) *shares { return &shares{most: most, by: map[string]int64{}} }

// take charges n octets to a user, if there is room.
func (s *shares) take(user string, n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	has := s.by[user]
	left := s.most - s.used
	if n > left || has+n > max((left+has)/2, leastShare) {
		return false
	}
	s.used += n
	s.by[user] = has + n
	return true
}

func (s *shares) give(user string, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= n
	if s.by[user] -= n; s.by[user] <= 0 {
		delete(s.by, user)
	}
}

// account is what one request is charged. Only its request uses it.
type account struct {
	of   *shares
	user string
	held int64 // octets
}

// add charges n octets more.
func (a *account) add(n int) error {
	if !a.of.take(a.user, int64(n)) {
		return accept.Refuse(accept.ReasonNoSpace, 452, "4.3.1", "too much mail comes over HTTP at this moment, try again later")
	}
	a.held += int64(n)
	return nil
}

// close gives everything back.
func (a *account) close() {
	a.of.give(a.user, a.held)
	a.held = 0
}
