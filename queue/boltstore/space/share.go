package space

import (
	"errors"
	"fmt"
	"sync"

	"dawk/queue"
	"dawk/relay"
)

// shares keep one identity from filling the room that is left while room is short: it may have half
// of it. What it had before does not count, and messages that leave free its share again. All
// counts are dropped when room is no longer short, and by a restart.
type shares struct {
	mu    sync.Mutex
	look  *State           // that Left was measured at
	since int64            // octets that were taken after it
	taken map[string]int64 // octets in the queue, by identity, of what came while room was short
	whose map[uint64]share // of these, by message
}

type share struct {
	who  string
	size int64
}

// take takes room for a message, or gives an error that wraps relay.ErrNoSpace.
func (s *shares) take(now *State, key uint64, who string, size int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.look != now {
		s.look, s.since = now, 0
	}
	if !now.Short {
		s.taken, s.whose = nil, nil
		return nil
	}
	left := now.Left - s.since
	if had := s.taken[who]; 2*(had+size) > left+had {
		return fmt.Errorf("%w: room is short (%s), and this sender has used its half of it (%s)", relay.ErrNoSpace, queue.SizeText(max(0, left)), queue.SizeText(had))
	}
	if s.taken == nil {
		s.taken, s.whose = make(map[string]int64), make(map[uint64]share)
	}
	s.taken[who] += size
	s.whose[key] = share{who, size}
	s.since += size
	return nil
}

// has says whether an identity has anything of what came while room was short.
func (s *shares) has(who string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.taken[who] > 0
}

// gone is for a message that has left, or did not come.
func (s *shares) gone(key uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, ok := s.whose[key]
	if !ok {
		return
	}
	delete(s.whose, key)
	if s.taken[one.who] -= one.size; s.taken[one.who] <= 0 {
		delete(s.taken, one.who)
	}
}

// Take takes room for a message of an identity, which may have half of what is left
// while room is short; else the error wraps relay.ErrNoSpace. Where next to nothing is
// left, and it has none of it, all mail is refused, as below the limit. Whoever does not
// store the message after all calls Gone.
func (w *Watcher) Take(key uint64, who string, size int64) error {
	now := w.State()
	err := w.shares.take(now, key, who, size)
	if err != nil && now.Refusal == nil && now.Left < now.Limit/16 && !w.shares.has(who) {
		w.SetFull(errNearly)
	}
	return err
}

// errNearly is that nobody finds room any more, though the limit is not quite reached:
// without it nothing would tell why, and acceptance would flap.
var errNearly = errors.New("the room that is left is too small for a message")

// Gone says that a message has left the queue, or did not come.
func (w *Watcher) Gone(key uint64) { w.shares.gone(key) }
