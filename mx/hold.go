package mx

import (
	"fmt"
	"slices"
	"time"

	"dawk/mx/shaping"
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

// TakeOver hands to t, which nobody uses yet, what its predecessor knows: what mailboxes
// have sent, and the holds of routes whose hosts and login are what they were. Other holds
// end. Attempts that the predecessor has begun go on there, and count.
func (t *Transport) TakeOver(before *Transport) {
	daily := t.mailboxes()
	for _, r := range t.routes {
		old := before.byDestination(r.destination)
		switch key := mailboxKey(r); {
		case r.first != r:
			r.budget = r.first.budget
		case daily[key] != nil:
			r.budget = t.book.Keep(key, r.budget)
		case old != nil && old.Budget == r.Budget:
			r.budget = old.budget
		}
		if old != nil && fmt.Sprint(r.Via, r.User, r.Password, r.Auth, r.TLS) == fmt.Sprint(old.Via, old.User, old.Password, old.Auth, old.TLS) {
			r.gate = old.gate
		}
	}
	for _, old := range before.routes {
		if now := t.byDestination(old.destination); (now == nil || now.gate != old.gate) && old.gate.Held() {
			t.cfg.OnHold(old.Name, false, relay.Reply{})
		}
	}
}

func (t *Transport) free(r *compiled) {
	if r.gate.Open() {
		r.budget.Reserve(time.Now()) // for the message that probed
		t.cfg.OnHold(r.Name, false, relay.Reply{})
	}
}

// hold judges a reply about the account of r that m heard, or a login where m is
// zero: see shaping.Gate.
func (t *Transport) hold(r *compiled, m shaping.Mail, taken bool, why relay.Reply) shaping.Verdict {
	v := r.gate.Hold(time.Now(), t.cfg.HoldProbe, m, taken, why)
	if v.First {
		t.cfg.OnHold(r.Name, true, why)
	}
	return v
}

// mail is what the attempt brings to a route for some recipients.
func (a *attempt) mail(some []int) shaping.Mail {
	m := shaping.Mail{ID: a.task.Message.ID, Sources: []string{"identity " + a.task.Message.Identity}}
	for _, i := range some {
		if d := "domain " + a.t.domain(a.recipient(i).Path); !slices.Contains(m.Sources, d) {
			m.Sources = append(m.Sources, d)
		}
	}
	return m
}

// loginTrouble says whether a session failed for its login, and not for a
// moment's sake.
func loginTrouble(r relay.Reply) bool {
	return r.Stage == relay.StageAuth && (r.Code/100 == 5 || r.Code == 0 && r.Status == smtpclient.StatusNoLogin)
}

// hopeless says whether the other hosts of the route are not tried with the same
// login: it is wrong there too, and repeated failures can lock the account.
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
	var refused, blamed, denied []int
	h := heard{r: r}
	for _, i := range tried {
		if reply := a.res.Replies[i]; reply.Code >= 400 {
			refused = append(refused, i)
			if reply.Stage == relay.StageRcpt && replies.Account(r.Provider, false, reply).Cause == relay.CauseLogin {
				blamed = append(blamed, i)
			}
		} else if reply.Positive() {
			h.taken = true
			r.budget.Sent(time.Now(), 1)
		}
	}
	for _, i := range refused {
		var cause relay.Cause
		if a.res.Replies[i], cause = a.heed(&h, a.res.Replies[i], blamed); cause == relay.CauseSender && a.res.Replies[i].Permanent() {
			denied = append(denied, i)
		}
	}
	if f := s.failure; f.Code >= 400 && (f.Stage != relay.StageAuth || f.Code/100 == 4) {
		s.failure, _ = a.heed(&h, f, nil)
	}
	if a.again(r, denied) {
		s.rest = append(s.rest, denied...)
	}
	if s.progress && a.res.HeldSince.IsZero() && r.gate.Passed(a.res.Began, h.taken) {
		a.t.free(r)
	}
}

// heard is what one session at a smart host told of the account there.
type heard struct {
	r       *compiled
	taken   bool             // it took mail
	verdict *shaping.Verdict // on all of its replies to mail; nil: none was about the account
}

// heed reads a reply again, since some are about our account, or about how much we
// send. A reply about one message alone stays as it is. to are the recipients that
// were refused for our account.
func (a *attempt) heed(h *heard, reply relay.Reply, to []int) (relay.Reply, relay.Cause) {
	read, rule := replies.Reread(h.r.Provider, reply)
	switch rule.Cause {
	case relay.CauseLogin:
		v := a.t.account(h, reply, read, a.mail(to))
		if v.Final {
			return reply, ""
		}
		if !v.Since.IsZero() {
			a.res.HeldSince = v.Since
		}
	case relay.CauseThrottle:
		if rule.Pause > 0 { // else the message alone waits
			a.enough = true
			h.r.budget.Pause(time.Now(), rule.Pause)
		}
	}
	return read, rule.Cause
}

// account judges a reply about the account: what a session said to mail is
// judged once.
func (t *Transport) account(h *heard, reply, read relay.Reply, m shaping.Mail) shaping.Verdict {
	if !replies.InTransaction(reply) {
		return t.hold(h.r, shaping.Mail{}, false, read)
	}
	if h.verdict == nil {
		v := t.hold(h.r, m, h.taken, read)
		h.verdict = &v
	}
	return *h.verdict
}
