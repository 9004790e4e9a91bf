package config

import (
	"fmt"

	"dawk/mx/shaping"
	"dawk/relay"
)

// ProviderConfig is one [[provider]].
type ProviderConfig struct {
	// that of a shipped rule, or one of your own: lower-case letters, digits, `-`, `_`
	// Default: required
	Name string `toml:"name"`
	// the hosts it runs: `"mx.example.net"`, or `"*.example.net"` for all below that. The longest match wins.
	// Replaces the shipped list as a whole
	// Default: the shipped list
	MX []string `toml:"mx"`
	// at once
	// Default: `delivery.connections_per_provider`, or what the provider documents if that is less
	Connections int `toml:"connections"`
	// then the connection is closed
	// Default: the shipped rule's, else 50
	MessagesPerConnection int `toml:"messages_per_connection"`
	// messages in a time: `"100/m"`, `"1000/h"`, `"20/10m"`; `"0"` for none. Never exceeded in any such time, and
	// spread evenly over it
	// Default: none
	Rate string `toml:"rate"`
	// recipients in a time, likewise
	// Default: none
	RecipientRate string `toml:"recipient_rate"`
}

// rule is p for package mx; rates that cannot be read are left out.
func (p *ProviderConfig) rule() shaping.Rule {
	return shaping.Rule{Name: p.Name, MX: p.MX, Connections: p.Connections, MessagesPerConnection: p.MessagesPerConnection,
		Rate: ownRate(p.Rate), RecipientRate: ownRate(p.RecipientRate)}
}

// ownRate tells "none" from "as without".
func ownRate(s string) relay.Rate {
	if s == "0" {
		return relay.Rate{N: -1}
	}
	r, _ := relay.ParseRate(s)
	return r
}

func (c *Config) providerRules() (own []shaping.Rule) {
	for i := range c.Providers {
		own = append(own, c.Providers[i].rule())
	}
	return own
}

func (c *Config) checkProviders() {
	sound := true
	names := map[string]int{}
	for i := range c.Providers {
		at, p := fmt.Sprintf("provider[%d]", i), &c.Providers[i]
		c.checkProvider(at, p)
		if first, taken := names[p.Name]; taken && p.Name != "" {
			c.doc.Fault(at, "provider %q is in line %d already: write all that concerns it there", relay.Clip(p.Name), c.doc.Line(fmt.Sprintf("provider[%d]", first)))
		} else {
			names[p.Name] = i
		}
		sound = sound && c.doc.Clean(at)
	}
	if !sound || len(c.Providers) == 0 {
		return
	}
	// One after the other, so that what is wrong among them has its place.
	whole := c.Providers
	defer func() { c.Providers = whole }()
	for i := range whole {
		c.Providers = whole[:i+1]
		if _, err := c.Shaping(); err != nil {
			at := fmt.Sprintf("provider[%d]", i)
			if c.doc.Has(at + ".mx") {
				at += ".mx"
			}
			c.doc.Fault(at, "%v", err)
			return
		}
	}
}

func (c *Config) checkProvider(at string, p *ProviderConfig) {
	if p.Name == "" && c.doc.Lacks(at, "name") {
		c.doc.Fault(at, `this [[provider]] has no name: write that of a shipped rule, such as name = "google", or one of your own with its mx = [...]`)
	}
	for j, m := range p.MX {
		if err := shaping.ValidMXPattern(m); err != nil {
			c.doc.Fault(fmt.Sprintf("%s.mx[%d]", at, j), "%v", err)
		}
	}
	c.checkTakes(at, []numberKey{{"connections", p.Connections}, {"messages_per_connection", p.MessagesPerConnection}},
		[]rateKey{{"rate", p.Rate}, {"recipient_rate", p.RecipientRate}})
}

type numberKey struct {
	key   string
	value int
}

type rateKey struct{ key, value string }

// checkTakes looks at the keys that say what a provider or a smart host takes.
func (c *Config) checkTakes(at string, numbers []numberKey, rates []rateKey) {
	for _, n := range numbers {
		if path := at + "." + n.key; c.doc.Has(path) {
			c.atLeast(path, n.value, 1)
		}
	}
	for _, r := range rates {
		if !c.doc.Has(at + "." + r.key) {
			continue
		}
		if _, err := relay.ParseRate(r.value); err != nil {
			c.doc.Fault(at+"."+r.key, "%s = %v", r.key, err)
		}
	}
}
