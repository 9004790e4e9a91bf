package config

import (
	"log/slog"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
)

// LimitsConfig is [limits].
type LimitsConfig struct {
	// larger messages are refused (552); one of exactly this size is taken. At least 64KiB
	MaxMessageSize relay.Size `toml:"max_message_size"`
	// recipients of one message
	MaxRecipients int `toml:"max_recipients"`
	// client connections at once; more hear 421. An eighth of them, at least 8, is kept for loopback, Unix sockets and
	// trusted networks
	MaxConnections int `toml:"max_connections"`
	// of one address (IPv6: of a /64; twice as many of a /56, four times of a /48); `0`: no limit. Loopback and Unix
	// sockets do not count. On `[http]` as well
	MaxConnectionsPerIP int `toml:"max_connections_per_ip"`
	// a client that says nothing for this long is disconnected
	CommandTimeout relay.Duration `toml:"command_timeout"`
	// so is one whose message stops moving
	DataTimeout relay.Duration `toml:"data_timeout"`
	// failed logins of one address in ten minutes before it hears 421, or 429 over HTTP, counted as connections are;
	// `0`: no limit. On loopback and Unix sockets the login name is slowed down instead
	AuthFailuresPerIP int `toml:"auth_failures_per_ip"`
}

func newLimitsConfig() LimitsConfig {
	return LimitsConfig{MaxMessageSize: 50 << 20, MaxRecipients: 1000,
		MaxConnections: 2000, MaxConnectionsPerIP: 50,
		CommandTimeout: relay.Duration(5 * time.Minute), DataTimeout: relay.Duration(3 * time.Minute), AuthFailuresPerIP: 20}
}

func (c *Config) checkLimits() {
	const minimum = 64 << 10 // octets of content that everybody must take (RFC 5321 §4.5.3.1.7)
	if c.Limits.MaxMessageSize < minimum {
		c.doc.Fault("limits.max_message_size", "limits.max_message_size is %s; less than 64KiB breaks ordinary mail (RFC 5321 §4.5.3.1.7)", c.Limits.MaxMessageSize)
	}
	c.atLeast("limits.max_recipients", c.Limits.MaxRecipients, 1)
	c.atLeast("limits.max_connections", c.Limits.MaxConnections, 1)
	c.atLeast("limits.max_connections_per_ip", c.Limits.MaxConnectionsPerIP, 0)
	c.atLeast("limits.auth_failures_per_ip", c.Limits.AuthFailuresPerIP, 0)
	c.positive("limits.command_timeout", c.Limits.CommandTimeout)
	c.positive("limits.data_timeout", c.Limits.DataTimeout)
}

// AcceptorConfig is for the rules of acceptance.
func (c *Config) AcceptorConfig(log *slog.Logger) accept.Config {
	return accept.Config{
		Hostname:       c.Hostname,
		Postmaster:     c.PostmasterPath(),
		MaxMessageSize: int64(c.Limits.MaxMessageSize),
		MaxRecipients:  c.Limits.MaxRecipients,
		Log:            log,
	}
}
