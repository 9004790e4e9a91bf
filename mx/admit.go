package mx

import (
	"cmp"
	"slices"
	"strings"

	"dawk/mx/hosts"
	"dawk/mx/shaping"
	"dawk/relay"
)

// statusBusy is for hosts that were not tried for want of a connection.
var statusBusy = relay.Status{Class: 4, Subject: 3, Detail: 2}

// share finds out who runs the MX hosts of a domain. Hosts of the provider
// whose connection the task has come first among those that are equally good:
// the others would need another.
func (a *attempt) share(targets []hosts.Target) {
	for i := range targets {
		tg := &targets[i]
		if i > 0 && tg.Host == targets[i-1].Host {
			tg.Provider, tg.Rule = targets[i-1].Provider, targets[i-1].Rule
			tg.Account = targets[i-1].Account
			continue
		}
		tg.Provider = a.t.cfg.Shaping.Provider(tg.Host)
		tg.Rule = a.t.cfg.Shaping.Rule(tg.Provider)
		tg.Rule.Connections = a.t.cfg.Share(tg.Provider, tg.Rule.Connections)
		tg.Account = tg.Provider
	}
	if a.task.Admission == nil || len(targets) == 0 {
		return
	}
	best := 1
	for best < len(targets) && targets[best].Rank == targets[0].Rank {
		best++
	}
	has := a.task.Admission.Provider()
	slices.SortStableFunc(targets[:best], func(x, y hosts.Target) int {
		switch {
		case (x.Provider == has) == (y.Provider == has):
			return 0
		case x.Provider == has:
			return -1
		}
		return 1
	})
	a.t.domains.Put(a.task.Destination, targets[0].Provider)
}

// admitted asks for a connection to the provider of a host, unless the attempt
// has one.
func (a *attempt) admitted(tg hosts.Target) bool {
	if a.task.Admission == nil || tg.Provider == "" || tg.Provider == a.res.Provider {
		return true
	}
	if !a.task.Admission.Admit(tg.Provider) {
		return false
	}
	a.res.Provider = tg.Provider
	return true
}

// passBy skips the hosts of a provider to which the attempt may not connect. If it
// has not connected to any host before, it ends and does not count as an attempt.
func (a *attempt) passBy(w *walk) {
	tg := w.queue[0]
	busy := relay.Decision(relay.CauseBudget, statusBusy,
		"%s was not tried: all connections to provider %s are in use", tg.Host, tg.Provider)
	w.failures = slices.Insert(w.failures, 0, busy) // the last one is what people are told first
	w.queue, w.fresh = slices.DeleteFunc(w.queue, func(o hosts.Target) bool { return o.Provider == tg.Provider }), false
	w.over = a.res.Provider == ""
}

// Provider names who takes the mail of a destination. For a route it is the
// destination of the first route to the same mailbox; for a domain it is what the
// last attempt found, "" when nobody has looked lately. It is cheap and does not
// block.
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
// makes a provider of its own. Connections are our share of them, which may be none.
func (t *Transport) Allowance(provider string) (rule shaping.Rule) {
	if r := t.byDestination(provider); r != nil {
		rule = r.takes
	} else if !strings.HasPrefix(provider, RoutePrefix) {
		rule = t.cfg.Shaping.Rule(provider)
	}
	rule.Name, rule.Connections = provider, t.cfg.Share(provider, cmp.Or(rule.Connections, t.cfg.Shaping.Connections))
	rule.Recipients = cmp.Or(rule.Recipients, t.cfg.RecipientsPerMessage)
	return rule
}

// Shrink closes idle connections beyond what Allowance gives now, and says how many are still
// open beyond that.
func (t *Transport) Shrink() (over int) {
	return t.shared.Pool.Shrink(func(account string) int { return t.Allowance(account).Connections })
}
