package mx

import (
	"sync"
	"time"

	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

const (
	// yield is how long the message that brought a hold on lets others probe,
	// from when another was last turned back.
	yield = time.Hour
	// maxBlamed is how many such messages a route remembers.
	maxBlamed = 64
)

// gate holds a route whose account at the smart host is in trouble. Mail of the
// route is then not offered, but for one attempt in a while that probes.
//
// A reply to mail may hold a route, too, and that mail may be the only one that
// gets it. Hence another message probes where there is one; and what a message
// brings on twice, while others were taken, is about that message alone.
type gate struct {
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

// shut says whether an attempt for m has to turn back, and why. One that may
// probe keeps others from it for a while.
func (g *gate) shut(now time.Time, every time.Duration, m relay.QueueID) (why relay.Reply, since time.Time, shut bool) {
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

// hold shuts the gate for what m heard, or a login where m is zero; first is
// true if it was open. It does not when that is about m alone; since is zero then.
func (g *gate) hold(now time.Time, every time.Duration, m relay.QueueID, why relay.Reply) (since time.Time, first bool) {
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
func (g *gate) blame(m relay.QueueID, now time.Time) {
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

// passed notes an attempt for m, begun at a time, that the host gave verdicts
// to, and took if taken. It says whether the gate may open: only an attempt that
// began after the hold tells, and where mail brought it on, only mail that was
// taken.
func (g *gate) passed(m relay.QueueID, began time.Time, taken bool) bool {
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

func (g *gate) held() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.since.IsZero()
}

// Open says whether it was shut.
func (g *gate) Open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := !g.since.IsZero()
	g.since, g.why, g.by = time.Time{}, relay.Reply{}, relay.QueueID{}
	return was
}

// Held is a route whose account at the smart host is in trouble.
type Held struct {
	Route string
	Since time.Time
	Reply relay.Reply // what holds it
}

// HeldRoutes are those that are held now.
func (t *Transport) HeldRoutes() []Held {
	var held []Held
	for _, r := range t.routes {
		r.gate.mu.Lock()
		if !r.gate.since.IsZero() {
			held = append(held, Held{r.Name, r.gate.since, r.gate.why})
		}
		r.gate.mu.Unlock()
	}
	return held
}

// Release ends the hold of a route: what it logs in with has changed, and the
// next attempt finds out. It does nothing to a route that is not held.
func (t *Transport) Release(route string) {
	for _, r := range t.routes {
		if r.Name == route {
			t.free(r)
		}
	}
}

func (t *Transport) free(r *compiled) {
	if r.gate.Open() {
		r.budget.Reserve(time.Now()) // for the message that probed
		t.cfg.OnHold(r.Name, false, relay.Reply{})
	}
}

// hold holds r for what m heard, or a login where m is zero. since is zero where
// that is about m alone.
func (t *Transport) hold(r *compiled, m relay.QueueID, why relay.Reply) (since time.Time) {
	since, first := r.gate.hold(time.Now(), t.cfg.HoldProbe, m, why)
	if first {
		t.cfg.OnHold(r.Name, true, why)
	}
	return since
}

// loginTrouble says whether a session failed for its login, and not for a
// moment's sake.
func loginTrouble(r relay.Reply) bool {
	return r.Stage == relay.StageAuth && (r.Code/100 == 5 || r.Code == 0 && r.Status == smtpclient.StatusNoLogin)
}

// hopeless says whether other hosts of the route are spared the same login:
// it is wrong there, too, and accounts get locked for less.
func hopeless(r relay.Reply) bool {
	return loginTrouble(r) && (r.Code != 0 || r.MTA == "") // without a server: there is no token
}

// turnBack judges all of rest by the reason for which the route is held.
func (a *attempt) turnBack(rest []int, why relay.Reply, since time.Time) {
	a.res.HeldSince = since
	a.res.FailedAt(why)
	for _, i := range rest {
		a.judge(i, why)
	}
}

// learn draws from a session at a smart host what concerns its route: trouble
// with the account holds it, success frees it, and mail that was taken counts
// towards its budget. Tried are those of the session.
func (a *attempt) learn(r *compiled, s *sessionResult, tried []int) {
	if a.use.Ctx.Err() != nil {
		return // it is we who broke off
	}
	var denied []int
	taken := false
	for _, i := range tried {
		if reply := a.res.Replies[i]; reply.Code >= 400 {
			var cause relay.Cause
			if a.res.Replies[i], cause = a.heed(r, reply); cause == relay.CauseSender && reply.Permanent() {
				denied = append(denied, i)
			}
		} else if reply.Positive() {
			taken = true
			r.budget.Sent(time.Now(), 1)
		}
	}
	switch {
	case s.failure.Code >= 400 && s.failure.Stage != relay.StageAuth:
		s.failure, _ = a.heed(r, s.failure)
	case s.failure.Code/100 == 4 && s.failure.Stage == relay.StageAuth:
		s.failure, _ = a.heed(r, s.failure)
	}
	if a.again(r, denied) {
		s.rest = append(s.rest, denied...)
	}
	if s.progress && a.res.HeldSince.IsZero() && r.gate.passed(a.task.Message.ID, a.res.Began, taken) {
		a.t.free(r)
	}
}

// heed reads a reply anew: some are about our account, or about how much we
// send. One to mail that is about that message alone stands as it is.
func (a *attempt) heed(r *compiled, reply relay.Reply) (relay.Reply, relay.Cause) {
	read, rule := replies.Reread(r.Provider, reply)
	switch rule.Cause {
	case relay.CauseLogin:
		m := a.task.Message.ID
		if !aboutMail(reply) {
			m = relay.QueueID{}
		}
		since := a.t.hold(r, m, read)
		if since.IsZero() {
			return reply, ""
		}
		a.res.HeldSince = since
	case relay.CauseThrottle:
		if rule.Pause > 0 { // else the message alone waits
			a.enough = true
			r.budget.Pause(time.Now(), rule.Pause)
		}
	}
	return read, rule.Cause
}

// aboutMail says whether a server said it to a command of a transaction.
func aboutMail(r relay.Reply) bool {
	switch r.Stage {
	case relay.StageMail, relay.StageRcpt, relay.StageData, relay.StageBody:
		return true
	}
	return false
}
