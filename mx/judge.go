package mx

import (
	"slices"

	"dawk/mx/hosts"
	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

// judge settles a recipient by what the current session has found out.
func (a *attempt) judge(i int, r relay.Reply) {
	a.turn()
	a.as, a.judged = a.res.Session, true
	a.res.Replies[i] = replies.OfSender(r, a.msg.From.String(), a.recipient(i).Path.String())
	if a.res.By != nil {
		a.res.By[i] = len(a.res.Earlier)
	}
}

// turn keeps the session that recipients were judged in once another has begun, so
// that each recipient is told of its own. Nearly always there is one session, and
// nothing to keep.
func (a *attempt) turn() {
	if !a.judged || a.as == a.res.Session {
		return
	}
	if a.res.By == nil {
		a.res.By = make([]int, len(a.res.Replies))
	}
	a.res.Earlier = append(a.res.Earlier, a.as)
	a.judged = false
}

// visited notes a host that the attempt turned to.
func (a *attempt) visited(tg hosts.Target, s sessionResult) {
	v := relay.Visit{Host: tg.Host, Reply: s.failure}
	if v.Reply.IsZero() {
		v.Reply = s.said
	}
	switch {
	case s.spoke:
		v.Addr, v.TLS, v.TLSLevel, v.TLSPolicy = a.res.Addr, a.res.TLS, a.res.TLSLevel, a.res.TLSPolicy
	case tg.Addr.IsValid():
		v.Addr = tg.Addr.Addr().String()
	}
	a.res.Visits = append(a.res.Visits, v)
}

// sentAs notes the mailbox that the mail of a transaction was sent as, if the
// server took it.
func (a *attempt) sentAs(tx *smtpclient.Transaction) {
	switch {
	case !a.dressed:
		a.res.SentAs = relay.Path{}
	case slices.ContainsFunc(tx.Replies, relay.Reply.Positive):
		a.res.SentAs = a.msg.From
	}
}
