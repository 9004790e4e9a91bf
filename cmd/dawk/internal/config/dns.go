package config

import (
	"fmt"
	"net/netip"
	"strings"

	"dawk/mx/dns"
	"dawk/relay"
)

// DNSConfig is [dns].
type DNSConfig struct {
	// `"127.0.0.1:53"`; the port may be left out
	// Default: those of `/etc/resolv.conf`
	Servers []string `toml:"servers"`
	// believe the servers when they say that DNSSEC was checked
	// Default: only if all are on loopback
	Trusted *bool `toml:"trusted"`
}

func (c *Config) checkDNS() {
	for i, s := range c.DNS.Servers {
		if _, err := dnsServer(s); err != nil {
			c.doc.Fault(fmt.Sprintf("dns.servers[%d]", i), "dns.servers: %v", err)
		}
	}
}

// dnsServer gives "address" its port.
func dnsServer(s string) (string, error) {
	if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Port() == 0 {
		return "", fmt.Errorf("%q is not the address of a server: write it like \"127.0.0.1:53\"", relay.Clip(s))
	}
	return ap.String(), nil
}

// ResolverConfig names the DNS servers; the caller makes the one Resolver.
func (c *Config) ResolverConfig() dns.Config {
	out := dns.Config{Trusted: c.DNS.Trusted}
	for _, s := range c.DNS.Servers {
		if full, err := dnsServer(s); err == nil { // checked
			out.Servers = append(out.Servers, full)
		}
	}
	return out
}

// CheckConfig is [check].
type CheckConfig struct {
	// block lists in DNS (RFC 5782) on which `dawk check` looks for our addresses; `[]`: none
	Lists []string `toml:"lists"`
}

func newCheckConfig() CheckConfig {
	return CheckConfig{Lists: []string{"zen.spamhaus.org", "bl.spamcop.net"}}
}

func (c *Config) checkCheck() {
	for i, name := range c.Check.Lists {
		if _, err := relay.NormalizeDomain(name); err != nil {
			c.doc.Fault(fmt.Sprintf("check.lists[%d]", i), "check.lists: %v", err)
		}
	}
}
