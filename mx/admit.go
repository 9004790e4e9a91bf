package mx

import (
	"cmp"
	"slices"
	"strings"

	"dawk/mx/shaping"
	"dawk/relay"
)

// statusBusy is for hosts that were not tried for want of a connection.
var statusBusy = relay.Status{Class: 4, Subject: 3, Detail: 2}

// share finds out who runs the MX hosts of a domain. Hosts of the provider
// whose connection the task has come first among those that are equally good:
// the others would need another.
func (a *attempt) share(targets []target) {
	for i := range targets {
		tg := &targets[i]
		if i > 0 && tg.Host == targets[i-1].Host {
			tg.provider, tg.rule = targets[i-1].provider, targets[i-1].rule
			tg.account, tg.most = targets[i-1].account, targets[i-1].most
			continue
		}
		tg.provider = a.t.cfg.Shaping.Provider(tg.Host)
		tg.rule = a.t.cfg.Shaping.Rule(tg.provider)
		tg.account, tg.most = tg.provider, tg.rule.Connections
	}
	if a.task.Admission == nil || len(targets) == 0 {
		return
	}
	best := 1
	for best < len(targets) && targets[best].rank == targets[0].rank {
		best++
	}
	has := a.task.Admission.Provider()
	slices.SortStableFunc(targets[:best], func(x, y target) int {
		switch {
		case (x.provider == has) == (y.provider == has):
			return 0
		case x.provider == has:
			return -1
		}
		return 1
	})
	a.t.domains.Put(a.task.Destination, targets[0].provider)
}

// admitted asks for a connection to the provider of a host, unless the attempt
// has one.
func (a *attempt) admitted(tg target) bool {
	if a.task.Admission == nil || tg.provider == "" || tg.provider == a.res.Provider {
		return true
	}
	if !a.task.Admission.Admit(tg.provider) {
		return false
	}
	a.res.Provider = tg.provider
	return true
}

// passBy leaves the hosts of a provider alone to which the attempt may not
// connect. If nothing was connected to before, it ends: it is no attempt.
func (a *attempt) passBy(w *walk) {
	tg := w.queue[0]
	busy := relay.Decision(relay.CauseBudget, statusBusy,
		"%s was not tried: all connections to provider %s are in use", tg.Host, tg.provider)
	w.failures = slices.Insert(w.failures, 0, busy) // the last one is what people are told first
	w.queue, w.fresh = slices.DeleteFunc(w.queue, func(o target) bool { return o.provider == tg.provider }), false
	w.over = a.res.Provider == ""
}

// Provider names who takes the mail of a destination: the destination itself
// where that is a route, or that of the first route to the same mailbox, what the last attempt found where it is a domain, ""
// when nobody has looked lately. It is cheap and does not block.
func (t *Transport) Provider(destination string) string {
	if r := t.byDestination(destination); r != nil {
		return r.first.destination
	}
	if strings.HasPrefix(destination, RoutePrefix) {
		return destination
	}
	if a, ok := relay.ParseLiteral(destination); ok { // nobody need look
		return t.cfg.Shaping.Provider(a.String())
	}
	return t.domains.Get(destination)
}

// Allowance is what a provider takes, or a route with `via`, which Provider
// makes a provider of its own.
func (t *Transport) Allowance(provider string) (rule shaping.Rule) {
	if r := t.byDestination(provider); r != nil {
		rule = r.takes
	} else if !strings.HasPrefix(provider, RoutePrefix) {
		rule = t.cfg.Shaping.Rule(provider)
	}
	rule.Name, rule.Connections = provider, cmp.Or(rule.Connections, t.cfg.Shaping.Connections)
	rule.Recipients = cmp.Or(rule.Recipients, t.cfg.RecipientsPerMessage)
	return rule
}
