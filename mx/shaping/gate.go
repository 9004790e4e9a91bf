package shaping

import (
	"sync"
	"time"

	"dawk/relay"
)

const (
	// yield is how long the message that brought a hold on lets others probe,
	// from when another was last turned back.
	yield = time.Hour
	// maxBlamed is how many such messages a route remembers.
	maxBlamed = 64
)

// Gate holds a route whose account at the smart host is in trouble. Mail of the
// route is then not offered, but for one attempt in a while that probes.
//
// A reply to mail may hold a route, too, and that mail may be the only one that
// gets it. Hence another message probes where there is one; and what a message
// brings on twice, while others were taken, is about that message alone.
type Gate struct {
	mu    sync.Mutex
	since time.Time     // zero: it is open
	why   relay.Reply   // what held it last
	last  time.Time     // when that was
	by    relay.QueueID // the message that it was the reply to; zero: a login, or nobody knows
	knock time.Time     // when the next attempt may try

	others time.Time                   // when a message other than by was turned back last
	taken  time.Time                   // when the newest attempt began whose mail was taken
	blamed map[relay.QueueID]time.Time // messages that brought a hold on, and when
}

// Shut says whether an attempt for m has to turn back, and why. One that may
// probe keeps others from it for a while.
func (g *Gate) Shut(now time.Time, every time.Duration, m relay.QueueID) (why relay.Reply, since time.Time, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since.IsZero() {
		return relay.Reply{}, time.Time{}, false
	}
	early := now.Before(g.knock)
	if m != g.by && early {
		g.others = now
	}
	if early || m == g.by && now.Sub(g.others) < yield {
		return g.why, g.since, true
	}
	g.knock = now.Add(every)
	return relay.Reply{}, time.Time{}, false
}

// Hold shuts the gate for what m heard, or a login where m is zero; first is
// true if it was open. It does not when that is about m alone; since is zero then.
func (g *Gate) Hold(now time.Time, every time.Duration, m relay.QueueID, why relay.Reply) (since time.Time, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m != (relay.QueueID{}) {
		if at, again := g.blamed[m]; again && g.taken.After(at) {
			return time.Time{}, false
		}
		g.blame(m, now)
		if g.by != (relay.QueueID{}) && g.by != m {
			g.others = now // the one before waits
		}
	}
	if first = g.since.IsZero(); first {
		g.since = now
	}
	g.why, g.last, g.by, g.knock = why, now, m, now.Add(every)
	return g.since, first
}

// blame remembers m, and forgets the oldest where there are too many.
func (g *Gate) blame(m relay.QueueID, now time.Time) {
	if g.blamed == nil {
		g.blamed = make(map[relay.QueueID]time.Time)
	}
	g.blamed[m] = now
	if len(g.blamed) <= maxBlamed {
		return
	}
	oldest := m
	for id, at := range g.blamed {
		if at.Before(g.blamed[oldest]) {
			oldest = id
		}
	}
	delete(g.blamed, oldest)
}

// Passed notes an attempt for m, begun at a time, that the host gave verdicts
// to, and took if taken. It says whether the gate may open: only an attempt that
// began after the hold tells, and where mail brought it on, only mail that was
// taken.
func (g *Gate) Passed(m relay.QueueID, began time.Time, taken bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if taken {
		delete(g.blamed, m)
		if began.After(g.taken) {
			g.taken = began
		}
	}
	return !g.since.IsZero() && began.After(g.last) && (taken || g.by == relay.QueueID{})
}

// Held says whether it is shut.
func (g *Gate) Held() bool {
	_, since := g.State()
	return !since.IsZero()
}

// State is what shut it last, and since when it is shut: zero if it is open.
func (g *Gate) State() (why relay.Reply, since time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.why, g.since
}

// Open opens it, and says whether it was shut.
func (g *Gate) Open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := !g.since.IsZero()
	g.since, g.why, g.by = time.Time{}, relay.Reply{}, relay.QueueID{}
	return was
}
