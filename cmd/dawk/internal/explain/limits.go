package explain

import (
	"fmt"

	"dawk/mx"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin"
)

// limits says what slows the mail down on its way out.
func (e *Explainer) limits(x *admin.Explanation) {
	say := func(format string, args ...any) { x.Limits = append(x.Limits, fmt.Sprintf(format, args...)) }
	say("%d connections at once to all destinations ([delivery] max_connections)", e.Config.Delivery.MaxConnections)
	if x.Destination.ByMX {
		e.providerLimits(x, say)
	}
	say("%d recipients in one transaction, if the host allows as many", x.Destination.Recipients)
	i := x.Destination.Route
	if i < 0 {
		return
	}
	if !x.Destination.ByMX {
		destination := mx.RoutePrefix + x.Route.Name
		sayRule(e.Transport.Allowance(e.Transport.Provider(destination)), "route "+x.Route.Name, say)
		e.now(x, destination, say)
	}
	b, _ := e.Config.Routes[i].Budget()
	for _, l := range []struct {
		n    int
		what string
	}{{b.PerMinute, "messages a minute"}, {b.MessagesPerDay, "messages a day"}, {b.RecipientsPerDay, "recipients a day"}} {
		if l.n > 0 {
			say("%d %s for %s (route %s)", l.n, l.what, e.Config.Routes[i].User, x.Route.Name)
		}
	}
}

// sayRule says what a provider or a smart host takes, besides connections that
// all share.
func sayRule(rule shaping.Rule, of string, say func(string, ...any)) {
	say("%d connections at once to %s, as long as it shows no trouble", rule.Connections, of)
	if rule.MessagesPerConnection > 0 {
		say("%d messages a connection (%s)", rule.MessagesPerConnection, of)
	}
	if s := rule.Rate.String(); s != "" {
		say("%s messages to %s", s, of)
	}
	if s := rule.RecipientRate.String(); s != "" {
		say("%s recipients to %s", s, of)
	}
}

// providerLimits are those of whoever runs the first host: all domains whose
// mail it takes share them.
func (e *Explainer) providerLimits(x *admin.Explanation, say func(string, ...any)) {
	for i := range x.Destination.Hosts {
		h := &x.Destination.Hosts[i]
		if !h.Trouble.IsZero() || h.Provider == "" {
			continue
		}
		sayRule(e.Transport.Allowance(h.Provider), "provider "+h.Provider+" and all domains whose mail it takes", say)
		e.now(x, h.Provider, say)
		return
	}
}

// now says what a provider takes less of at this moment than the rules allow.
func (e *Explainer) now(x *admin.Explanation, provider string, say func(string, ...any)) {
	if e.Providers == nil {
		return
	}
	for _, p := range e.Providers() {
		if p.Name != provider || p.State == relay.LoadOpen && p.SlowedAt.IsZero() {
			continue
		}
		say("at the moment: %s", p.Said)
		if p.State != relay.LoadOpen {
			x.Waiting = p.Called() + " (" + p.Said + ")"
		}
	}
}
