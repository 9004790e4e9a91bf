package shaping

import (
	"sync"
	"time"

	"dawk/relay"
)

const (
	// yield is how long mail that may have caused a hold leaves probing to other mail, counted from
	// when that was last turned back.
	yield = time.Hour
	// passing is how long accepted mail shows that the account is in order.
	passing = time.Hour
	// blamedFor is how long it is remembered who caused a hold.
	blamedFor = 24 * time.Hour
	// maxBlamed is how many messages, and how many identities and domains, a route
	// remembers in either generation.
	maxBlamed = 1000
)

// Gate holds a route whose account at the smart host is refused. Mail of the route is then not
// offered, except for one attempt from time to time that probes.
//
// A reply to mail may hold a route, too, although it may be about that mail alone. Hence mail that
// has caused no hold probes before other mail. If the mail of an identity or to a domain caused a
// hold, it causes no other while mail is accepted: its messages wait alone. And a reply that a
// message gets twice, while other mail was accepted, is about that message.
type Gate struct {
	mu    sync.Mutex
	since time.Time   // zero: it is open
	why   relay.Reply // what held it last
	last  time.Time   // when that was
	mail  bool        // it was a reply to mail; else to a login
	knock time.Time   // when the next attempt may try

	turned   [ranks]time.Time                 // when mail of each rank was turned back last
	taken    time.Time                        // when the newest attempt whose mail was accepted began
	messages recent[relay.QueueID, time.Time] // those that got such a reply, and when
	sources  recent[string, time.Time]        // those of the Mail that caused a hold, and when
}

// Mail is what an attempt brings.
type Mail struct {
	ID      relay.QueueID
	Sources []string // the identity and the domains that its trouble may come from
}

// The ranks of mail, from the one that says most about the account: by how many of its sources
// caused a hold; last, mail that got such a reply itself.
const (
	maxSources = 2
	blamed     = maxSources + 1
	ranks      = blamed + 1
)

func (g *Gate) rank(m Mail) (rank int) {
	if _, heard := g.messages.get(m.ID); heard {
		return blamed
	}
	for _, s := range m.Sources {
		if _, known := g.sources.get(s); known {
			rank++
		}
	}
	return min(rank, maxSources)
}

// Shut says whether an attempt for m has to turn back, and why. While one attempt probes, others
// may not for a while.
func (g *Gate) Shut(now time.Time, every time.Duration, m Mail) (why relay.Reply, since time.Time, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since.IsZero() {
		return relay.Reply{}, time.Time{}, false
	}
	rank := g.rank(m)
	if shut = now.Before(g.knock); shut {
		g.turned[rank] = now
	}
	for _, at := range g.turned[:rank] {
		shut = shut || now.Sub(at) < yield
	}
	if shut {
		return g.why, g.since, true
	}
	g.knock = now.Add(every)
	return relay.Reply{}, time.Time{}, false
}

// Verdict is what follows from a reply about the account.
type Verdict struct {
	Since time.Time // the route is held since then; zero: it is not held for this reply
	First bool      // it was not held before
	Final bool      // the reply is about that message, and stands; else the mail waits
}

// Hold judges a reply about the account that m got, or a login if m is zero, and shuts the gate for
// it unless it seems to be about m alone. taken: other recipients of m were accepted in the same
// session.
func (g *Gate) Hold(now time.Time, every time.Duration, m Mail, taken bool, why relay.Reply) Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	mail := m.ID != (relay.QueueID{})
	if mail {
		at, again := g.messages.get(m.ID)
		if again && g.taken.After(at) {
			return Verdict{Final: true}
		}
		g.messages.put(m.ID, now, maxBlamed, blamedFor)
		if taken || !again && g.excused(now, m) {
			return Verdict{}
		}
		for _, s := range m.Sources {
			g.sources.put(s, now, maxBlamed, blamedFor)
		}
	}
	v := Verdict{First: g.since.IsZero()}
	if v.First {
		g.since = now
	}
	g.why, g.last, g.mail, g.knock = why, now, mail, now.Add(every)
	v.Since = g.since
	return v
}

// excused says whether m comes from a source of an earlier hold that was not about the account:
// mail has been accepted since, and recently.
func (g *Gate) excused(now time.Time, m Mail) bool {
	for _, s := range m.Sources {
		if at, known := g.sources.get(s); known && g.taken.After(at) && now.Sub(g.taken) < passing {
			return true
		}
	}
	return false
}

// Passed notes an attempt, begun at a time, whose mail the host judged, and accepted if taken. It
// says whether the gate may open: only an attempt that began after the hold counts, and if mail
// caused the hold, only accepted mail.
func (g *Gate) Passed(began time.Time, taken bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if taken && began.After(g.taken) {
		g.taken = began
	}
	return !g.since.IsZero() && began.After(g.last) && (taken || !g.mail)
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
	g.since, g.why, g.mail, g.turned = time.Time{}, relay.Reply{}, false, [ranks]time.Time{}
	return was
}
