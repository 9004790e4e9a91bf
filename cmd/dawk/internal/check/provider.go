package check

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/mx"
	"dawk/mx/shaping"
)

// shaping shows what the configuration changes about the limits by provider.
func (c *checker) shaping(context.Context) []Finding {
	rules, err := c.cfg.Shaping()
	if err != nil { // told with its place already
		return nil
	}
	all := []Finding{good("shaping", "%d connections at once to a provider, if no rule says otherwise; rules for %d providers",
		c.cfg.Delivery.ConnectionsPerProvider, len(rules.Names()))}
	for _, p := range c.cfg.Providers {
		r := rules.Rule(p.Name)
		if r.Documented > 0 && r.Connections > r.Documented {
			all = append(all, warn("shaping", fmt.Sprintf("set connections to %d or less", r.Documented),
				"provider %s: %s; but it says that it takes %d connections at once (%s)", r.Name, ruleWords(r), r.Documented, r.Source))
			continue
		}
		all = append(all, good("shaping", "provider %s: %s", r.Name, ruleWords(r)))
	}
	return append(all, c.routeLimits(rules)...)
}

// routeLimits shows what routes say of their smart hosts, and finds sections
// [[provider]] that are about hosts of a route as well.
func (c *checker) routeLimits(rules *shaping.Shaping) (all []Finding) {
	for i := range c.cfg.Routes {
		r := &c.cfg.Routes[i]
		if words := ruleWords(r.Limits()); words != "" {
			all = append(all, good("shaping", "route %s: %s", r.RouteName(), words))
		}
		for _, via := range r.Via {
			hop, err := mx.ParseHop(via, r.LogsIn())
			if err != nil {
				continue
			}
			name := rules.Provider(hop.Host)
			if slices.ContainsFunc(c.cfg.Providers, func(p config.ProviderConfig) bool { return p.Name == name }) {
				all = append(all, warn("shaping", "write the limits of that host into the [[route]], as in connections = 5",
					"provider %s: its limits are for hosts found by MX; they do not hold for %s of route %s", name, hop.Host, r.RouteName()))
			}
		}
	}
	return all
}

// ruleWords is what a provider takes, in words.
func ruleWords(r shaping.Rule) string {
	var words []string
	if r.Connections > 0 {
		words = append(words, show.Plural(r.Connections, "connection")+" at once")
	}
	if r.MessagesPerConnection > 0 {
		words = append(words, show.Plural(r.MessagesPerConnection, "message")+" a connection")
	}
	if r.Rate.N > 0 {
		words = append(words, "rate "+r.Rate.String())
	}
	if r.RecipientRate.N > 0 {
		words = append(words, r.RecipientRate.String()+" recipients")
	}
	if r.Recipients > 0 {
		words = append(words, show.Plural(r.Recipients, "recipient")+" in one transaction")
	}
	return strings.Join(words, ", ")
}
