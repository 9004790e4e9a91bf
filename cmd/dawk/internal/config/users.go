package config

import (
	"fmt"
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
