package explain

import (
	"fmt"

	"dawk/mx"
	"dawk/relay/admin"
)

// limits says what slows the mail down on its way out.
func (e *Explainer) limits(x *admin.Explanation) {
	say := func(format string, args ...any) { x.Limits = append(x.Limits, fmt.Sprintf(format, args...)) }
	say("%d connections at once to all destinations ([delivery] max_connections)", e.Cfg.Delivery.MaxConnections)
	if x.Destination.ByMX {
		e.providerLimits(x, say)
	}
	say("%d recipients in one transaction, if the host allows as many", x.Destination.Recipients)
	if i := x.Destination.Route; i >= 0 {
		if !x.Destination.ByMX {
			e.now(x, mx.RoutePrefix+x.Route.Name, say)
		}
		b, _ := e.Cfg.Routes[i].Budget()
		for _, l := range []struct {
			n    int
			what string
		}{{b.Connections, "connections at once"}, {b.PerMinute, "messages a minute"}, {b.MessagesPerDay, "messages a day"}, {b.RecipientsPerDay, "recipients a day"}} {
			if l.n > 0 {
				say("%d %s for %s (route %s)", l.n, l.what, e.Cfg.Routes[i].User, x.Route.Name)
			}
		}
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
		rule := e.Transport.Allowance(h.Provider)
		say("%d connections at once to provider %s, as long as it shows no trouble; all domains whose mail it takes share them", rule.Connections, h.Provider)
		if rule.MessagesPerConnection > 0 {
			say("%d messages a connection (provider %s)", rule.MessagesPerConnection, h.Provider)
		}
		if s := rule.Rate.String(); s != "" {
			say("%s messages to provider %s", s, h.Provider)
		}
		if s := rule.RecipientRate.String(); s != "" {
			say("%s recipients to provider %s", s, h.Provider)
		}
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
		if p.Name != provider || p.Resting == "" && p.SlowedAt.IsZero() && p.Connections < p.Limit {
			continue
		}
		why := p.Why(x.Now)
		say("at the moment: %s", why)
		if p.Resting != "" || p.Connections >= p.Limit {
			x.Waiting = p.Called() + " (" + why + ")"
		}
	}
}
