package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os/user"
	"slices"
	"strings"

	"dawk/relay"
)

// UsersConfig is [users].
type UsersConfig struct {
	// who may log in: [below](#userstoml). Must exist if a listener has `auth` other than `"off"`
	File string `toml:"file"`
}

func newUsersConfig() UsersConfig { return UsersConfig{File: "users.toml"} }

// NeedsUsers says whether any listener lets users log in.
func (c *Config) NeedsUsers() bool { return c.firstWithUsers() != "" }

func (c *Config) firstWithUsers() string {
	for i, l := range c.Listeners {
		if l.Auth != "off" {
			return fmt.Sprintf("listener[%d].auth", i)
		}
	}
	return ""
}

// Stray is an entry of a list of identities that nobody has.
type Stray struct{ Key, Name, Why string }

func (s Stray) String() string {
	return fmt.Sprintf("%s names %q: %s", s.Key, relay.Clip(s.Name), s.Why)
}

// Strays are the identities that routes and keys name and that nobody can have, with
// the names of all users.
func (c *Config) Strays(users []string) (all []Stray) {
	look := func(key string, list []string) {
		for _, name := range list {
			if why := c.stray(name, users); why != "" {
				all = append(all, Stray{Key: key, Name: name, Why: why})
			}
		}
	}
	for i := range c.Routes {
		look("identity of route "+c.Routes[i].RouteName(), c.Routes[i].Identity)
	}
	for i := range c.DKIM {
		look("identities of the key "+c.DKIM[i].Selector+" for "+c.DKIM[i].Domain, c.DKIM[i].Identities)
	}
	for i := range c.Webhooks {
		look("identity of the webhook "+c.Webhooks[i].Name, c.Webhooks[i].Identity)
	}
	return all
}

// stray says why nobody has the identity name, or "".
func (c *Config) stray(name string, users []string) string {
	network, isNetwork := strings.CutPrefix(name, relay.NetworkIdentity)
	program, isProgram := strings.CutPrefix(name, "local:")
	switch {
	case name == "dawk":
		return ""
	case isNetwork && !strings.Contains(network, "*"):
		if n, err := relay.ParseNetwork(network); err == nil && !c.trusts(n) {
			return "no listener trusts an address of this network"
		}
		return ""
	case isProgram && !strings.Contains(program, "*"):
		var unknown user.UnknownUserError
		if _, err := user.Lookup(program); errors.As(err, &unknown) {
			return "this machine has no such user"
		}
		return ""
	case strings.HasPrefix(name, "*"):
		return ""
	}
	for _, u := range users {
		if (&relay.Message{Identity: u}).SubmittedBy([]string{name}) {
			return ""
		}
	}
	if isNetwork || isProgram {
		return ""
	}
	return "no user of " + c.Users.File + " is called so"
}

// trusts says whether a listener lets clients of a part of n in without login.
func (c *Config) trusts(n relay.Network) bool {
	return slices.ContainsFunc(c.Listeners, func(l ListenerConfig) bool {
		return slices.ContainsFunc(l.TrustedNetworks, func(t relay.Network) bool { return t.Prefix().Overlaps(netip.Prefix(n)) })
	})
}
