package config

import (
	"fmt"

	"dawk/relay"
)

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
