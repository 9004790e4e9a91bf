package check

import (
	"context"
	"fmt"
	"strings"

	"dawk/cmd/dawk/internal/show"
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
	return all
}

// ruleWords is what a provider takes, in words.
func ruleWords(r shaping.Rule) string {
	words := []string{show.Plural(r.Connections, "connection") + " at once"}
	if r.MessagesPerConnection > 0 {
		words = append(words, show.Plural(r.MessagesPerConnection, "message")+" a connection")
	}
	if r.Rate.N > 0 {
		words = append(words, "rate "+r.Rate.String())
	}
	if r.RecipientRate.N > 0 {
		words = append(words, r.RecipientRate.String()+" recipients")
	}
	return strings.Join(words, ", ")
}
