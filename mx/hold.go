package mx

import (
	"sync"
	"time"

	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

// gate holds a route whose login is in trouble. Mail of the route is then not
// offered, but for one attempt in a while that knocks.
type gate struct {
	mu    sync.Mutex
	since time.Time   // zero: it is open
	why   relay.Reply // of the last login
	knock time.Time   // when the next attempt may try
}

// shut says whether an attempt has to turn back, and why. One that may knock
// keeps others from knocking for a while.
func (g *gate) shut(now time.Time, every time.Duration) (why relay.Reply, since time.Time, shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.since.IsZero() {
		return relay.Reply{}, time.Time{}, false
	}
	if !now.Before(g.knock) {
		g.knock = now.Add(every)
		return relay.Reply{}, time.Time{}, false
	}
	return g.why, g.since, true
}

// hold shuts the gate; first is true if it was open.
func (g *gate) hold(now time.Time, every time.Duration, why relay.Reply) (since time.Time, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if first = g.since.IsZero(); first {
		g.since = now
	}
	g.why, g.knock = why, now.Add(every)
	return g.since, first
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
	g.since, g.why = time.Time{}, relay.Reply{}
	return was
}

// Held is a route whose login is in trouble.
type Held struct {
	Route string
	Since time.Time
	Reply relay.Reply // what the last login brought
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
		r.budget.Reserve(time.Now()) // for the message that knocked
		t.cfg.OnHold(r.Name, false, relay.Reply{})
	}
}

func (t *Transport) hold(r *compiled, why relay.Reply) (since time.Time) {
	since, first := r.gate.hold(time.Now(), t.cfg.HoldProbe, why)
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
// with the login holds it, success frees it, and mail that was taken counts
// towards its budget. Tried are those of the session.
func (a *attempt) learn(r *compiled, s *sessionResult, tried []int) {
	if a.use.Ctx.Err() != nil {
		return // it is we who broke off
	}
	var denied []int
	for _, i := range tried {
		if reply := a.res.Replies[i]; reply.Code >= 400 {
			var cause relay.Cause
			if a.res.Replies[i], cause = a.heed(r, reply); cause == relay.CauseSender && reply.Permanent() {
				denied = append(denied, i)
			}
		} else if reply.Positive() {
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
	if s.progress && a.res.HeldSince.IsZero() {
		a.t.free(r)
	}
}

// heed reads a reply about mail anew: some are about the login, or about how
// much we send.
func (a *attempt) heed(r *compiled, reply relay.Reply) (relay.Reply, relay.Cause) {
	reply, rule := replies.Reread(r.Provider, reply)
	switch rule.Cause {
	case relay.CauseLogin:
		a.res.HeldSince = a.t.hold(r, reply)
	case relay.CauseThrottle:
		if rule.Pause > 0 { // else the message alone waits
			a.enough = true
			r.budget.Pause(time.Now(), rule.Pause)
		}
	}
	return reply, rule.Cause
}
