package mx

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/replies"
)

// NoticesByMX is the Config.NoticeRoute for which notices go to the MX hosts of
// whoever they are for.
const NoticesByMX = "mx"

// noticeWay is the way of notices: mail of ours without a sender, which not
// every smart host takes.
type noticeWay struct {
	route *compiled // all go there; nil: none is written
	mx    bool      // all go by MX
	byMX  *compiled // the way by MX where no route says more

	mu       sync.Mutex
	mxClosed time.Time               // until when no MX host is tried in place of a mailbox: none could be reached
	refused  map[*compiled]time.Time // smart hosts that refused mail without a sender, until when that is remembered
}

const (
	mxRetry       = time.Hour // how long after that
	refusedFor    = 24 * time.Hour
	maxBriefDials = 2 // in place of maxDials, where another way is left
)

func (n *noticeWay) Open(routes []*compiled, name string, level tlspolicy.Level) error {
	n.byMX, n.refused = &compiled{Route: Route{Name: "mx", TLS: level}}, make(map[*compiled]time.Time)
	if n.mx = name == NoticesByMX; n.mx || name == "" {
		return nil
	}
	for _, r := range routes {
		if r.Name == name && len(r.Via) > 0 {
			n.route = r
			return nil
		}
	}
	return fmt.Errorf("notice_route %q is not a route with `via`", name)
}

func (n *noticeWay) mxOpen(now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !now.Before(n.mxClosed)
}

// refusedBy notes that the host of r refused mail without a sender.
func (n *noticeWay) refusedBy(r *compiled) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused[r] = time.Now().Add(refusedFor)
}

// named says whether mail of ours by r needs a sender.
func (n *noticeWay) named(r *compiled) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return r.speaks() || time.Now().Before(n.refused[r])
}

// noticeSender is what mail of ours is sent as by r, where it needs a sender:
// the mailbox that logs in, else our own address.
func (t *Transport) noticeSender(r *compiled) relay.Path {
	if r.mailbox.IsNull() {
		return t.cfg.OwnAddress
	}
	return r.mailbox
}

// ways is how m gets to a recipient: first is the route, nil for MX; the others
// are tried in the same attempt, in their order, where those before lead nowhere.
//
// Mail takes the first route that matches. For notices of ours there is
// NoticeRoute. Without one they take the first match too, and MX hosts where
// that refuses them. A smart host that takes no mail without a sender, or is
// held, perhaps for the trouble that the notice tells of, comes last: before it
// another route that matches and is neither, else MX. There the notice is mail
// of the mailbox that logs in, or of our own address.
func (way *Routing) ways(m *relay.Message, to relay.Path) (first *compiled, others []*compiled) {
	if !ours(m) {
		return way.route(m, to), nil
	}
	n := &way.notices
	byMX := way.match(m, to, func(r *compiled) bool { return len(r.Via) == 0 })
	if byMX == nil {
		byMX = n.byMX
	}
	usual := n.route
	if usual == nil {
		usual = way.route(m, to)
	}
	switch {
	case n.mx, usual == nil:
		return byMX, nil
	case len(usual.Via) == 0:
		return usual, nil
	}
	other := way.match(m, to, func(r *compiled) bool {
		return r != usual && !r.gate.Held() && (len(r.Via) == 0 || !n.named(r))
	})
	var ways []*compiled
	switch {
	case !usual.gate.Held() && (usual == n.route || !n.named(usual)):
		ways = []*compiled{usual, byMX, other}
	case other != nil && len(other.Via) == 0:
		ways = []*compiled{other, usual}
	case !n.mxOpen(time.Now()):
		ways = []*compiled{other, usual, byMX}
	default:
		ways = []*compiled{other, byMX, usual}
	}
	ways = slices.DeleteFunc(ways, func(r *compiled) bool { return r == nil })
	return ways[0], ways[1:]
}

// ownWay says whether the host of r may have refused a notice for want of a sender,
// and may get it as mail of ours. A host that said so is remembered.
func (a *attempt) ownWay(r *compiled, all []int) bool {
	said := func(is func(relay.Reply) bool) bool {
		return slices.ContainsFunc(all, func(i int) bool { return is(a.res.Replies[i]) })
	}
	if !ours(a.msg) || len(r.Via) == 0 || a.dressed || slices.Contains(a.own, r) || a.t.noticeSender(r).IsNull() || !said(replies.MayWantSender) {
		return false
	}
	if said(replies.WantsSender) {
		a.t.notices.refusedBy(r)
	}
	return true
}

// byAnother tries another way for the recipients of a notice that one way
// did not lead to: a smart host's temporary refusal waits for that host, and
// what MX hosts do not take goes another way at once. It says whether any went.
func (a *attempt) byAnother(first, second *compiled, all []int) bool {
	var rest []int
	unreached, smart := len(first.Via) == 0, len(first.Via) > 0
	for _, i := range all {
		reply := a.res.Replies[i]
		if reply.Stage == relay.StageRoute && reply.Status == statusBusy { // not tried at all
			return false
		}
		unreached = unreached && (reply.Stage == relay.StageConnect || reply.Stage == relay.StageGreeting)
		if reply.Positive() || replies.Nowhere(reply) || smart && !reply.Permanent() {
			continue
		}
		rest = append(rest, i)
	}
	if len(rest) == 0 || a.res.Unknown {
		return false
	}
	if unreached { // most networks let nobody out to port 25: there is no use in waiting for that each time
		a.t.notices.mu.Lock()
		a.t.notices.mxClosed = time.Now().Add(mxRetry)
		a.t.notices.mu.Unlock()
	}
	if len(second.Via) == 0 {
		a.turn()
		a.res.Session = relay.Session{Route: "mx", Provider: a.res.Provider}
	} else if a.task.Admission != nil && !a.task.Admission.Admit(second.first.destination) {
		for _, i := range rest { // the next attempt may find a connection free: until then nothing is final
			if a.res.Replies[i].Permanent() {
				a.res.Replies[i] = relay.Decision(relay.CauseBudget, statusBusy, "route %s was not tried: all its connections are in use", second.Name)
			}
		}
		return false
	}
	a.charged = true // nobody reserved room there
	failed := make(map[int]relay.Reply, len(rest))
	for _, i := range rest {
		failed[i], a.res.Replies[i] = a.res.Replies[i], relay.Reply{}
	}
	a.by(second, rest)
	for _, i := range rest {
		// While one way may still lead there, the notice waits.
		if now := a.res.Replies[i]; now.IsZero() || now.Permanent() && !replies.Nowhere(now) && !failed[i].Permanent() {
			a.res.Replies[i] = failed[i]
		}
	}
	return true
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
	first, others := t.ways(m, to)
	if first != nil && len(first.Via) > 0 {
		route = first.Name
		if t.notices.named(first) {
			mailbox = t.noticeSender(first).String()
		}
	}
	for _, r := range others {
		if fallback == "" && len(r.Via) > 0 && t.notices.named(r) {
			fallback = t.noticeSender(r).String()
		}
	}
	return route, mailbox, fallback
}
