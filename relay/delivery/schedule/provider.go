package schedule

import (
	"time"

	"dawk/relay"
)

// provider takes the mail of one or more destinations: those whose MX hosts it runs, or one route.
// Connections and rates are counted for all of them together.
type provider struct {
	name    string // "": of one destination whose provider no attempt has found out yet
	domains int    // destinations that are busy
	ready   int    // entries of theirs that wait for their turn
	slots   int    // attempts that may hold a connection

	backlogs [relay.Priorities]backlog // those that may have a turn
	node     node[*provider]           // among those with an overdue backlog

	suspension suspension
	trouble    trouble
	messages   bucket
	recipients bucket
	allowed    Allowance
	pace
	idleBefore bool // it was idle when sweep looked last
}

// Adaptive concurrency. A provider begins with few connections, gets a quarter more, at least one,
// each time that all of them have succeeded, and half of them when it says that it is too much; after
// that one more each time. So after a start a hundred connections are in use within seconds. The
// figures are conventions: an ordinary mail server opens two connections; most providers count by the
// minute; TCP halves its window in the same situation.
const (
	startConnections  = 2
	growAfter         = time.Minute      // after the first throttling; doubled with each further one
	growAfterMost     = 16 * time.Minute //
	throttlePause     = 5 * time.Second  // when fewer connections did not help; doubled each time
	throttlePauseMost = 5 * time.Minute
	throttleMemory    = time.Hour // how long a throttling is remembered
)

// pace is how many connections a provider takes now, as far as is known.
type pace struct {
	limit       int    // connections at once, 1 to Allowance.Connections, or 1 where that is none
	credit      int    // successes with all connections in use since the last change
	epoch       uint32 // counts throttlings: an attempt that was under way at one says nothing new with another
	again       int    // throttlings in a row, without a success between them
	strikes     int    // throttlings since the limit was whole
	growAt      int64  // before that it does not grow; 0: it may
	throttledAt int64  // the last throttling; 0: none is remembered
	throttledBy relay.Reply

	failures int  // attempts in a row that did not get in
	probing  bool // one attempt at a time, until one gets in
}

func newPace(most int) pace { return pace{limit: max(1, min(startConnections, most))} }

// width is how many attempts may run at the same time.
func (p *provider) width() int {
	if p.allowed.Connections < 0 {
		return 0
	}
	if p.probing {
		return 1
	}
	return p.limit
}

// open says whether an attempt may begin, apart from rates.
func (p *provider) open() bool { return p.suspension.until == 0 && p.slots < p.width() }

// next is when the rates allow a message: now, if that is not later than now.
func (p *provider) next() int64 { return max(p.messages.next(), p.recipients.next()) }

// succeeded: an attempt got in, and has given its connection back.
func (p *provider) succeeded(now int64) {
	if p.probing {
		p.probing, p.limit, p.credit = false, min(p.limit, startConnections), 0
	}
	p.failures, p.again, p.trouble = 0, 0, trouble{}
	if p.limit >= p.allowed.Connections {
		p.strikes, p.growAt = 0, 0
		return
	}
	if p.slots+1 < p.limit { // more connections would not have been used
		return
	}
	if p.credit++; p.credit < p.limit || now < p.growAt {
		return
	}
	p.credit = 0
	if p.strikes == 0 {
		p.limit = min(p.limit+max(1, p.limit/4), p.allowed.Connections)
	} else {
		p.limit++
		p.growAt = now + backoff(growAfter, p.strikes, growAfterMost).Microseconds()
	}
}

// throttled: the provider told an attempt to slow down. It says whether that was new, and for how
// long to suspend the provider.
func (p *provider) throttled(f *Slot, by relay.Reply, now int64, shortest time.Duration) (news bool, pause time.Duration) {
	p.failures, p.probing, p.trouble = 0, false, trouble{}
	if f.epoch != p.epoch {
		return false, 0
	}
	p.epoch++
	p.again++
	p.strikes++
	if p.again > 1 || p.limit == 1 {
		pause = min(backoff(throttlePause, p.again, throttlePauseMost), shortest/2)
	}
	p.limit, p.credit = max(1, p.limit/2), 0
	p.growAt = now + backoff(growAfter, p.strikes, growAfterMost).Microseconds()
	p.throttledAt, p.throttledBy = now, by
	return true, pause
}

// shut: an attempt did not get in. It says for how long to suspend the provider: not at all, unless
// as many attempts in a row have failed as it has connections.
func (p *provider) shut(shortest time.Duration) time.Duration {
	p.failures++
	enough := max(2, p.limit)
	if p.failures < enough && !p.probing {
		return 0
	}
	p.probing = true
	return backoff(minSuspension, p.failures-enough+1, shortest/2)
}
