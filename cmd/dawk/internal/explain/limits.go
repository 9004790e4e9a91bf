package explain

import (
	"fmt"

	"dawk/cmd/dawk/internal/show"
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
		sayRule(e.Transport.Allowance(e.Transport.Provider(mx.RoutePrefix+x.Route.Name)), "route "+x.Route.Name, say)
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
	say("%s at once to %s, as long as it shows no trouble", show.Plural(rule.Connections, "connection"), of)
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
		return
	}
}

// now says what keeps mail for a destination at this moment.
func (e *Explainer) now(x *admin.Explanation, m *relay.Message) {
	if e.Toward == nil {
		return
	}
	p := e.Toward(e.Transport.Destination(m, x.SendTo))
	if !x.Route.HeldSince.IsZero() {
		p.State, p.Since, p.Failure = relay.LoadHeld, x.Route.HeldSince, x.Route.HeldBy
		p.Said = p.Why(x.Now)
	}
	x.Provider = &p
	if p.Keeps() && p.Ready > 0 {
		p.Said += fmt.Sprintf("; %d wait before it", p.Ready)
	}
	if p.Keeps() || !p.SlowedAt.IsZero() {
		x.Limits = append(x.Limits, "at the moment: "+p.Said)
	}
	if p.Keeps() {
		x.Waiting = p.Called() + " (" + p.Said + ")"
	}
}
