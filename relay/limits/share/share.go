// Package share divides limits among the relays of a cluster, so that together they never pass
// one: not at any moment, whoever dies, stands still or has a wrong clock.
//
// A generation is who is a member; it changes with every join, leave and death, and with every
// turn. Each member has its share of a limit by its rank in the generation. It sees generations in
// the database, and may use the least of its shares of the one in force and of those it has seen
// since. It acknowledges a generation once what it uses fits, and puts it in force once it sees
// that all members have acknowledged it. So a share grows only after the others have shrunk. A
// member that dies is none any more after its lease has run out: it uses nothing after that, by
// its own clock, and the others wait longer than that, by theirs. Nobody compares clocks.
//
// Of a limit that is smaller than the number of members some have nothing: what there is goes
// round among them, with a turn every [Turn]. So mail waits, at most until all others have had
// theirs. Passing the unit on demand would be quicker, but cost a commit for each message.
//
// A Shares has a lock and no goroutine. Begin reading at [Shares.Look].
package share

import (
	"cmp"
	"hash/fnv"
	"slices"
	"sync"
	"time"
)

// Turn is how long units that go round stay with a member.
const Turn = 30 * time.Second

// Member is a row of who is or was a member.
type Member struct {
	ID    int16
	Epoch int64 // grows when somebody joins under the ID, or is thought dead
	Live  bool
	Acked int64 // the generation that it has acknowledged
}

// Generation is the number of a generation. It differs for any two states that follow each
// other: joining, leaving and dying each make it greater.
func Generation(all []Member, turn int64) int64 {
	for _, m := range all {
		if turn += 2 * m.Epoch; m.Live {
			turn--
		}
	}
	return turn
}

// Shares is what one member may use.
type Shares struct {
	now  func() time.Time
	news chan struct{}

	mu      sync.Mutex
	force   *division  // nil: we have just come, and have nothing
	seen    []division // since, the latest last
	acked   int64
	until   time.Time // our lease
	turned  time.Time // when we saw the latest division first
	agreed  bool      // all have acknowledged that
	wanting bool      // somebody has asked for a limit that is smaller than the number of members
}

// division is a generation as a member sees it.
type division struct {
	generation, turn int64
	rank, of         int
}

// New are the shares of a member that has just come. now is a clock that only runs forward; nil:
// that of the process.
func New(now func() time.Time) *Shares {
	if now == nil {
		now = time.Now
	}
	return &Shares{now: now, news: make(chan struct{}, 1)}
}

// News has something when what Of gives may have changed.
func (s *Shares) News() <-chan struct{} { return s.news }

// Renew says that the others count us as alive until then, and longer.
func (s *Shares) Renew(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until = until
}

// Leased says whether we are sure that the others count us as alive.
func (s *Shares) Leased() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leased()
}

func (s *Shares) leased() bool { return s.now().Before(s.until) }

// Look takes in a look at all members, of whom self is one, which is alive. It must be one
// snapshot, and no older than that of the last call.
func (s *Shares) Look(self int16, all []Member, turn int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := division{generation: Generation(all, turn), turn: turn}
	all = slices.DeleteFunc(slices.Clone(all), func(m Member) bool { return !m.Live })
	slices.SortFunc(all, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	d.rank = slices.IndexFunc(all, func(m Member) bool { return m.ID == self })
	d.of = len(all)
	if s.latest() != d.generation {
		s.seen, s.turned = append(s.seen, d), s.now()
		s.tell()
	}
	s.agreed = !slices.ContainsFunc(all, func(m Member) bool { return m.Acked != d.generation })
	if s.agreed && len(s.seen) > 0 {
		s.force, s.seen = &d, nil
		s.tell()
	}
}

func (s *Shares) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

func (s *Shares) latest() int64 {
	switch {
	case len(s.seen) > 0:
		return s.seen[len(s.seen)-1].generation
	case s.force != nil:
		return s.force.generation
	}
	return 0
}

// Latest is the generation that was seen last.
func (s *Shares) Latest() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latest()
}

// Acknowledge says that all that is in use is within what Of has given since Latest was that
// generation. The next beat tells the others.
func (s *Shares) Acknowledge(generation int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acked = generation
}

// Acked is the generation that was acknowledged last.
func (s *Shares) Acked() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// TurnDue says whether it is time for the next turn.
func (s *Shares) TurnDue() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.wanting && s.agreed && s.leased() && s.now().Sub(s.turned) >= Turn
	s.wanting = s.wanting && !due
	return due
}

// Of is how much of a limit we may use now. All members must know it by the same name, and as
// the same number.
func (s *Shares) Of(name string, limit int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.force == nil || !s.leased() {
		return 0
	}
	least := s.force.share(name, limit)
	for i := range s.seen {
		least = min(least, s.seen[i].share(name, limit))
	}
	s.wanting = s.wanting || limit < s.force.of
	return least
}

// share is that of the member in the division. Which members have one more than others depends on
// the name, so that it is not always the same.
func (d *division) share(name string, limit int) int {
	h := fnv.New64a()
	h.Write([]byte(name))
	place := uint64(d.rank) + h.Sum64()>>1 // no overflow
	if limit < d.of {
		place += uint64(d.turn)
	}
	n := limit / d.of
	if place%uint64(d.of) < uint64(limit%d.of) {
		n++
	}
	return n
}
