package mx

import (
	"net/netip"
	"slices"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/relay"
)

// walk is an attempt's way along the hosts of one destination.
type walk struct {
	pol      session.Policy
	sources  []*dial.Source // that may stand in for pol.Source
	queue    []hosts.Target // still to try, best first
	failures []relay.Reply

	most            int  // dials: maxDials, or fewer
	dials, sessions int  // that failed
	repeated        int  // connections after which the same host came again
	fresh           bool // the next session must not be on an idle connection
	over            bool // no other host will do better
}

func (a *attempt) walk(r *compiled, pol session.Policy, p hosts.Plan) *walk {
	w := &walk{pol: pol, failures: p.Failures, most: maxDials}
	if w.sources = a.t.sources(a.task.Message, r, p.Targets); len(w.sources) > 0 {
		w.pol.Source, w.sources = w.sources[0], w.sources[1:]
	}
	if w.pol.MX {
		a.share(p.Targets)
	}
	w.queue = a.t.idleFirst(p.Targets, w.pol)
	return w
}

// on says whether there is a host left, and the attempt may try it.
func (w *walk) on() bool {
	return len(w.queue) > 0 && w.dials < w.most && w.sessions < maxSessions && w.repeated < maxRepeated && !w.over
}

// step tries the best host that is left, and gives the recipients that are not
// judged yet.
func (a *attempt) step(r *compiled, w *walk, rest []int) []int {
	if !a.admitted(w.queue[0]) {
		a.passBy(w)
		return rest
	}
	if !w.fresh {
		if a.connect(w); len(w.queue) == 0 {
			return rest
		}
	}
	tg, from := w.queue[0], w.pol.Source
	s := a.session(tg, w.pol, rest, w.fresh)
	if a.use.Leave() {
		a.t.shared.Pool.End(tg.Account)
	}
	if !s.stale {
		a.visited(tg, s)
	}
	if w.pol.Route != "" {
		a.learn(r, &s, rest)
	}
	if a.use.Ctx.Err() == nil { // else it is we who failed
		a.t.noteHealth(tg, w.pol, s)
	}
	switch {
	case s.stale:
		w.fresh = true // the same host again
	case s.progress && s.failure.IsZero():
		w.again(s)
	case s.failure.IsZero(): // DSN parameters refused on the last message it takes
		w.sessions++
	case a.given(w, s.failure, from):
		w.queue, w.fresh = w.queue[1:], false
		w.over = a.enough || hopeless(s.failure)
	}
	return s.rest
}

// again counts a connection that has served its time where others wait for the
// next to the same host. One that brought no recipient through is as good as one
// that failed.
func (w *walk) again(s sessionResult) {
	if len(s.rest) == 0 {
		return
	}
	if w.repeated++; !s.taken {
		w.sessions++
	}
	if !w.on() && !w.over {
		if s.why.IsZero() {
			s.why = relay.Failure(relay.StageMail, relay.Status{Class: 4, Subject: 5, Detail: 3},
				"%s takes too little on one connection, and got as many as one attempt makes: the other recipients wait for the next attempt", w.queue[0].Host)
		}
		w.failures = append(w.failures, s.why)
	}
}

// given notes why a target is given up; false: it may do from another source.
func (a *attempt) given(w *walk, why relay.Reply, from *dial.Source) bool {
	if dial.OfSource(why) {
		if from == w.pol.Source && len(w.sources) > 0 {
			a.t.cfg.Log.Warn("a source address cannot be used; another of the pool stands in",
				"source", from.Name, "instead", w.sources[0].Name, "reply", why.String())
			w.pol.Source, w.sources = w.sources[0], w.sources[1:]
		}
		if from != w.pol.Source {
			return false
		}
	}
	w.failed(why)
	return true
}

// failed counts a failure towards the bounds of the attempt.
func (w *walk) failed(why relay.Reply) {
	w.failures = append(w.failures, why)
	switch why.Stage {
	case relay.StageConnect:
		w.dials++
	case relay.StageRoute: // refused: nothing was dialled
	default:
		w.sessions++
	}
}

// connect connects to whichever of the best targets answers first, and puts it
// at the head of the queue, unless one of them has an idle connection or there
// is only one. Targets that failed leave the queue.
func (a *attempt) connect(w *walk) {
	n := a.equals(w)
	if n < 2 {
		return
	}
	group, from := w.queue[:n], w.pol.Source
	a.use.Progress.At(group[0].Host, relay.StageConnect)
	a.t.shared.Pool.Begin(group[0].Account) // all are of one account
	a.t.shared.Pool.Room(a.use.Ctx, group[0].Account, group[0].Rule.Connections)
	won, nc, failed := a.t.opener.Race(a.use.Ctx, group, w.pol)
	if a.use.Ready = nc; nc == nil {
		a.t.shared.Pool.End(group[0].Account)
	}
	gone := make([]bool, n)
	for _, d := range failed {
		if gone[d.I] = won >= 0; gone[d.I] { // the source does, for the target that won
			w.failed(d.Bad)
		} else {
			gone[d.I] = a.given(w, d.Bad, from)
		}
		a.visited(group[d.I], sessionResult{failure: d.Bad})
		if a.use.Ctx.Err() == nil {
			a.t.noteHealth(group[d.I], w.pol, sessionResult{failure: d.Bad})
		}
	}
	queue := make([]hosts.Target, 0, len(w.queue))
	if won >= 0 {
		gone[won] = true
		queue = append(queue, group[won])
	}
	for i, tg := range group {
		if !gone[i] {
			queue = append(queue, tg)
		}
	}
	w.queue = append(queue, w.queue[n:]...)
}

// equals is how many of the best targets may be raced against each other.
func (a *attempt) equals(w *walk) int {
	for i, tg := range w.queue {
		pol, bad := w.pol.Raise(tg)
		switch {
		case i == w.most-w.dials, tg.Rank != w.queue[0].Rank, tg.Provider != w.queue[0].Provider, tg.Socket != "", !bad.IsZero():
			return i
		case i == 0 && a.t.shared.Pool.Has(pol.Key(tg)):
			return 0
		}
	}
	return len(w.queue)
}

// idleFirst puts a target with an idle connection before the others of the
// best rank: any of those would do, and this one is there already.
func (t *Transport) idleFirst(targets []hosts.Target, p session.Policy) []hosts.Target {
	for i, tg := range targets {
		if tg.Rank != targets[0].Rank || tg.Provider != targets[0].Provider {
			break
		}
		raised, _ := p.Raise(tg)
		if i > 0 && t.shared.Pool.Has(raised.Key(tg)) {
			first := append([]hosts.Target{tg}, slices.Clone(targets[:i])...)
			return append(first, targets[i+1:]...)
		}
	}
	return targets
}

// place is what is connected to.
type place struct {
	addr   netip.AddrPort
	socket string
}

// noteHealth learns from a session with a host of a route. A verdict on the
// mail, or on us, says nothing of the host.
func (t *Transport) noteHealth(tg hosts.Target, p session.Policy, s sessionResult) {
	if !p.MX && !s.stale && !s.failure.Permanent() && s.failure.Stage != relay.StageRoute {
		t.health.Note(place{tg.Addr, tg.Socket}, !s.failure.IsZero())
	}
}

// healthy puts the hosts of a route that failed lately last.
func (t *Transport) healthy(targets []hosts.Target) []hosts.Target {
	if len(targets) < 2 {
		return targets
	}
	var good, bad []hosts.Target
	for _, tg := range targets {
		if t.health.Later(place{tg.Addr, tg.Socket}) {
			bad = append(bad, tg)
		} else {
			good = append(good, tg)
		}
	}
	return append(good, bad...)
}
