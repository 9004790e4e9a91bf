package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx/dial"
	"dawk/relay"
)

// SourceConfig is one [[source]]: addresses of this machine that mail leaves
// from, and the name that goes with them.
type SourceConfig struct {
	// one word, each once
	// Default: required
	Name string `toml:"name"`
	// one IPv4 address, one IPv6 address, or one of each. A family that is missing is not used
	// Default: required
	Addresses []string `toml:"addresses"`
	// the name said in EHLO. It should be what the PTR records of the addresses say, and lead back to them; `dawk
	// check` looks
	// Default: `hostname`
	EHLO string `toml:"ehlo"`
	// its share of a pool, against the others': 1 to 1000
	Weight int `toml:"weight"`
}

// SetDefaults is called for each [[source]] before its keys.
func (s *SourceConfig) SetDefaults() { s.Weight = 1 }

// maxWeight keeps shares within what anybody means by one.
const maxWeight = 1000

func (c *Config) checkSources() {
	names := map[string]int{}
	for i := range c.Sources {
		at, s := fmt.Sprintf("source[%d]", i), &c.Sources[i]
		switch first, taken := names[s.Name]; {
		case s.Name == "" && c.doc.Lacks(at, "name"):
			c.doc.Fault(at, `this [[source]] has no name: write one, as in name = "a"; source = ["a"] in [delivery] or a [[route]] then uses it`)
		case len(s.Name) > 64 || relay.Sanitize(s.Name) != s.Name || strings.ContainsAny(s.Name, " \t"):
			c.doc.Fault(at+".name", "name %q is not a word of at most 64 characters without spaces", relay.Clip(s.Name))
		case taken && s.Name != "":
			c.doc.Fault(at+".name", "the name %q is taken already in line %d", s.Name, c.doc.Line(fmt.Sprintf("source[%d]", first)))
		}
		names[s.Name] = i
		if len(s.Addresses) == 0 && c.doc.Lacks(at, "addresses") {
			c.doc.Fault(at, `this [[source]] has no addresses: write those that mail is to leave from, as in addresses = ["192.0.2.10", "2001:db8::10"]`)
		}
		c.checkSourceAddresses(at, s)
		if s.EHLO != "" {
			if _, err := relay.NormalizeDomain(s.EHLO); err != nil {
				c.doc.Fault(at+".ehlo", "ehlo: %v", err)
			}
		}
		if s.Weight < 1 || s.Weight > maxWeight {
			c.doc.Fault(at+".weight", "weight is %d; it must be from 1 to %d: leave the source out of the lists instead of giving it no weight", s.Weight, maxWeight)
		}
	}
	c.checkPool("delivery.source", c.Delivery.Source, c.Delivery.IP)
}

func (c *Config) checkSourceAddresses(at string, s *SourceConfig) {
	var seen4, seen6 bool
	for j, text := range s.Addresses {
		place := fmt.Sprintf("%s.addresses[%d]", at, j)
		a, err := netip.ParseAddr(text)
		switch a = a.Unmap(); {
		case err != nil || a.Zone() != "":
			c.doc.Fault(place, "%q is not an IP address", relay.Clip(text))
		case a.IsUnspecified() || a.IsMulticast():
			c.doc.Fault(place, "no mail can leave from %s: write one address of this machine", a)
		case a.Is4() && seen4, a.Is6() && seen6:
			c.doc.Fault(place, "a source has one IPv4 and one IPv6 address at most: describe %s in a [[source]] of its own, and name both where they are used", a)
		}
		seen4, seen6 = seen4 || a.Is4(), seen6 || a.Is6()
	}
}

// checkPool looks at a list of sources for mail over these families.
func (c *Config) checkPool(at string, pool []string, ip string) {
	for j, name := range pool {
		place := fmt.Sprintf("%s[%d]", at, j)
		i := slices.IndexFunc(c.Sources, func(s SourceConfig) bool { return s.Name == name })
		switch {
		case i < 0:
			c.doc.Fault(place, "there is no [[source]] with the name %q", relay.Clip(name))
		case slices.Contains(pool[:j], name):
			c.doc.Fault(place, "%q is named twice: give it a greater weight instead", name)
		default:
			s := c.Sources[i].Source()
			if ip == "4" && !s.Addr4.IsValid() || ip == "6" && !s.Addr6.IsValid() {
				c.doc.Fault(place, "the source %q has no IPv%s address, and ip = %q allows no other", name, ip, ip)
			}
		}
	}
}

// Source is s for package mx; addresses that are none are left out.
func (s *SourceConfig) Source() dial.Source {
	out := dial.Source{Name: s.Name, EHLO: s.EHLO, Weight: s.Weight}
	if name, err := relay.NormalizeDomain(s.EHLO); err == nil && s.EHLO != "" {
		out.EHLO = name
	}
	for _, text := range s.Addresses {
		a, err := netip.ParseAddr(text)
		switch a = a.Unmap(); {
		case err != nil:
		case a.Is4():
			out.Addr4 = a
		default:
			out.Addr6 = a
		}
	}
	return out
}

func (c *Config) sources() []dial.Source {
	var out []dial.Source
	for i := range c.Sources {
		out = append(out, c.Sources[i].Source())
	}
	return out
}
