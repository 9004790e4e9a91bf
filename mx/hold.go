package mx

import (
	"time"

	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

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
		if why, since := r.gate.State(); !since.IsZero() {
			held = append(held, Held{r.Name, since, why})
		}
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
	since, first := r.gate.Hold(time.Now(), t.cfg.HoldProbe, m, why)
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
	if s.progress && a.res.HeldSince.IsZero() && r.gate.Passed(a.task.Message.ID, a.res.Began, taken) {
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
		if !replies.InTransaction(reply) {
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
