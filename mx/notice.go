package mx

import (
	"fmt"
	"sync"
	"time"

	"dawk/relay"
)

// NoticesByMX is the Config.NoticeRoute for which notices go to the MX hosts of
// whoever they are for.
const NoticesByMX = "mx"

// noticeWay is the way of notices: mail of ours without a sender, which a
// mailbox of a provider may not be allowed to send.
type noticeWay struct {
	route *compiled // all go there; nil: none is written
	mx    bool      // all go by MX

	mu       sync.Mutex
	mxClosed time.Time // until when no MX host is tried in place of a mailbox: none could be reached
}

const (
	mxRetry       = time.Hour // how long after that
	maxBriefDials = 2         // in place of maxDials, where there is a second way
)

func (n *noticeWay) Open(routes []*compiled, name string) error {
	if n.mx = name == NoticesByMX; n.mx || name == "" {
		return nil
	}
	for _, r := range routes {
		if r.Name == name && len(r.Via) > 0 {
			n.route = r
			return nil
		}
	}
	return fmt.Errorf("notice_route %q is no route with `via`", name)
}

func (n *noticeWay) mxOpen(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !now.Before(n.mxClosed)
}

func (n *noticeWay) closeMX(until time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mxClosed = until
}

// ways is how m gets to a recipient: first is the route, nil for MX; second,
// if there is one, is tried in the same attempt where first leads nowhere.
//
// Mail takes the first route that matches. For notices of ours there is
// NoticeRoute. Without one they take the first match too, unless that is a
// provider's mailbox, which may not be allowed to send mail without a sender,
// or is held, perhaps for the trouble that the notice tells of. Then it is
// another route that matches and is neither, else MX, else that mailbox, as
// mail of its own.
func (t *Transport) ways(m *relay.Message, to relay.Path) (first, second *compiled) {
	if !ours(m) {
		return t.route(m, to), nil
	}
	switch n := &t.notices; {
	case n.mx:
		return t.match(m, to, func(r *compiled) bool { return len(r.Via) == 0 }), nil
	case n.route != nil && !n.route.gate.Held():
		return n.route, nil
	}
	usual := t.route(m, to)
	if t.notices.route != nil {
		usual = t.notices.route
	}
	if usual == nil || len(usual.Via) == 0 || !usual.speaks() && !usual.gate.Held() {
		return usual, nil
	}
	other := t.match(m, to, func(r *compiled) bool {
		return r != usual && !r.gate.Held() && (len(r.Via) == 0 || !r.speaks())
	})
	switch {
	case other != nil:
		return other, nil
	case t.notices.mxOpen(time.Now()):
		return nil, usual
	}
	return usual, nil
}

// bySecond tries another way for the recipients that the first has not judged.
func (a *attempt) bySecond(r *compiled, all []int) {
	var rest []int
	unreached := true
	for _, i := range all {
		switch reply := a.res.Replies[i]; {
		case reply.Positive():
			unreached = false
			continue
		case reply.Permanent() && reply.Stage == relay.StageRcpt && reply.Status.Subject == 1: // no such mailbox: nowhere
			unreached = false
			continue
		case reply.Stage == relay.StageRoute && reply.Status == statusBusy: // not tried at all
			return
		case reply.Stage != relay.StageConnect && reply.Stage != relay.StageGreeting:
			unreached = false
		}
		rest = append(rest, i)
	}
	if len(rest) == 0 || a.res.Unknown {
		return
	}
	if unreached { // most networks let nobody out to port 25: there is no use in waiting for that each time
		a.t.notices.closeMX(time.Now().Add(mxRetry))
	}
	if a.task.Admission != nil && !a.task.Admission.Admit(r.first.destination) {
		return // the next attempt may find a connection free
	}
	a.charged = true // nobody reserved room there
	failed := make(map[int]relay.Reply, len(rest))
	for _, i := range rest {
		failed[i], a.res.Replies[i] = a.res.Replies[i], relay.Reply{}
	}
	a.by(r, rest)
	for _, i := range rest {
		if a.res.Replies[i].IsZero() {
			a.res.Replies[i] = failed[i]
		}
	}
}

// cannot judges recipients whose message could not be made ready.
func (a *attempt) cannot(rest []int, err error) {
	for _, i := range rest {
		a.judge(i, relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", err))
	}
}

// NoticeWay says how a notice to a recipient would go now: route is "" for MX,
// mailbox what it is sent as, "" if it goes without a sender; fallback is the
// mailbox that sends it where no MX host takes it.
func (t *Transport) NoticeWay(to relay.Path) (route, mailbox, fallback string) {
	m := &relay.Message{Notice: true}
	m.Recipients = []relay.Recipient{{Path: to}}
	first, second := t.ways(m, to)
	if first != nil && len(first.Via) > 0 {
		route = first.Name
		if first.speaks() {
			mailbox = first.mailbox.String()
		}
	}
	if second != nil {
		fallback = second.mailbox.String()
	}
	return route, mailbox, fallback
}
