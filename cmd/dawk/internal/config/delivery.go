package config

import (
	"log/slog"
	"time"

	"dawk/mx"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/schedule"
)

// DeliveryConfig is [delivery].
type DeliveryConfig struct {
	// of MX hosts
	Port int `toml:"port"`
	// delivery attempts at once, all destinations together
	MaxConnections int `toml:"max_connections"`
	// mail for MX hosts with loopback, private, link-local, CGN, unspecified or multicast addresses is returned,
	// unless the address is listed here
	AllowNetworks []relay.Network `toml:"allow_networks"`
	// `"off"`; `"opportunistic"`: any certificate, in the clear if TLS fails; `"required"`: TLS with any
	// certificate; `"verified"`: TLS with a certificate for the host's name
	TLS string `toml:"tls"`
	// obey the TLSA records of MX hosts (RFC 7672): [tls.md](tls.md). Needs a DNS server that validates DNSSEC and
	// that `dns.trusted` believes
	DANE bool `toml:"dane"`
	// obey the MTA-STS policies of domains (RFC 8461)
	MTASTS bool `toml:"mta_sts"`
	// send daily reports to domains that ask for them (RFC 8460): [tls.md](tls.md#reports). Needs a `[[dkim]]` for
	// `hostname`
	TLSReports bool `toml:"tls_reports"`
	// delivery attempts at once to one provider, which is all domains whose MX hosts it runs, or to one route:
	// [shaping.md](shaping.md). Begins with 2 and adapts
	ConnectionsPerProvider int `toml:"connections_per_provider"`
	// `"4"`, `"6"`, `"both"`. Large providers refuse mail over IPv6 from an address without a PTR record: `dawk
	// check` says if yours has none; `"4"` avoids it
	IP string `toml:"ip"`
	// names of `[[source]]` sections: the pool that mail leaves from
	// Default: what the system chooses
	Source []string `toml:"source"`
	// PEM file of the authorities that `"verified"` and MTA-STS believe, at mail hosts, and at those of policies and
	// TLS reports
	// Default: the system's roots
	CAFile   string         `toml:"ca_file"`
	Timeouts TimeoutsConfig `toml:"timeouts"`
}

func newDeliveryConfig() DeliveryConfig {
	return DeliveryConfig{Port: mx.DefaultPort, MaxConnections: delivery.DefaultMaxConnections, ConnectionsPerProvider: shaping.DefaultConnections,
		TLS: "opportunistic", DANE: true, MTASTS: true, IP: "both", Timeouts: newTimeoutsConfig()}
}

// TimeoutsConfig is [delivery.timeouts].
type TimeoutsConfig struct {
	// a connection to one address
	Connect relay.Duration `toml:"connect"`
	// the greeting
	Greeting relay.Duration `toml:"greeting"`
	// the whole reply to a command, and a TLS handshake
	Command relay.Duration `toml:"command"`
	// the reply to DATA
	Data relay.Duration `toml:"data"`
	// each part of the content; the only one that begins again while octets move
	Block relay.Duration `toml:"block"`
	// the reply to the end of the content
	FinalDot relay.Duration `toml:"final_dot"`
	// one attempt as a whole, without a body that moves at 1 KiB/s or more
	Session relay.Duration `toml:"session"`
}

// newTimeoutsConfig is what the client waits where nothing is written.
func newTimeoutsConfig() TimeoutsConfig {
	t := smtpclient.Timeouts{}.WithDefaults()
	return TimeoutsConfig{Connect: relay.Duration(t.Connect), Greeting: relay.Duration(t.Greeting), Command: relay.Duration(t.Command),
		Data: relay.Duration(t.Data), Block: relay.Duration(t.Block), FinalDot: relay.Duration(t.FinalDot), Session: relay.Duration(t.Session)}
}

func (c *Config) checkDelivery() {
	d := c.Delivery
	if d.Port < 1 || d.Port > 65535 {
		c.doc.Fault("delivery.port", "delivery.port %d is not a port", d.Port)
	}
	c.atLeast("delivery.max_connections", d.MaxConnections, 1)
	c.oneOf("delivery.tls", d.TLS, "off", "opportunistic", "required", "verified")
	c.oneOf("delivery.ip", d.IP, "4", "6", "both")
	c.atLeast("delivery.connections_per_provider", d.ConnectionsPerProvider, 1)
	t := d.Timeouts
	c.positive("delivery.timeouts.connect", t.Connect)
	c.positive("delivery.timeouts.greeting", t.Greeting)
	c.positive("delivery.timeouts.command", t.Command)
	c.positive("delivery.timeouts.data", t.Data)
	c.positive("delivery.timeouts.block", t.Block)
	c.positive("delivery.timeouts.final_dot", t.FinalDot)
	c.positive("delivery.timeouts.session", t.Session)
}

// Shaping is the rules as they are applied. It is pure: what it says of a host
// is what mail is sent by.
func (c *Config) Shaping() (*shaping.Shaping, error) {
	return shaping.New(c.Delivery.ConnectionsPerProvider, c.providerRules())
}

// DeliveryConfig lacks Limits, and of Notices what is made at run time.
func (c *Config) DeliveryConfig(log *slog.Logger) delivery.Config {
	return delivery.Config{
		Notices:     c.Notices(),
		Retry:       durations(c.Queue.Retry),
		MaxAge:      time.Duration(c.Queue.MaxAge),
		DelayNotice: c.delayNotice(),
		Schedule:    schedule.Config{Attempts: c.Delivery.MaxConnections},
		Log:         log,
	}
}

// MXConfig lacks PolicyDir, OnTLS, and Own, which is known once the listeners are open, and
// Resolver.
func (c *Config) MXConfig(log *slog.Logger) (mx.Config, error) {
	level, err := tlspolicy.ParseLevel(c.Delivery.TLS)
	if err != nil {
		return mx.Config{}, err
	}
	t := c.Delivery.Timeouts
	shaping, err := c.Shaping()
	if err != nil {
		return mx.Config{}, err
	}
	out := mx.Config{
		Shaping:       shaping,
		Hostname:      c.Hostname,
		Port:          c.Delivery.Port,
		AllowNetworks: relay.Prefixes(c.Delivery.AllowNetworks),
		TLS:           level,
		DANE:          c.Delivery.DANE,
		MTASTS:        c.Delivery.MTASTS,
		IP:            c.Delivery.IP,
		Sources:       c.sources(),
		Pool:          c.Delivery.Source,
		RootCAs:       c.secrets.roots,
		Timeouts: smtpclient.Timeouts{
			Connect: time.Duration(t.Connect), Greeting: time.Duration(t.Greeting), Command: time.Duration(t.Command),
			Data: time.Duration(t.Data), Block: time.Duration(t.Block), FinalDot: time.Duration(t.FinalDot),
			Session: time.Duration(t.Session),
		},
		Log: log,
	}
	for i := range c.Routes {
		r, err := c.route(&c.Routes[i])
		if err != nil {
			return mx.Config{}, err
		}
		r.Password, r.Sources = c.secrets.passwords[i], c.Routes[i].Source
		if r.Certificate, err = c.Routes[i].certificate(log); err != nil {
			return mx.Config{}, err
		}
		out.Routes = append(out.Routes, r)
	}
	// A held route is probed before the first retry of whatever waits for it.
	out.NoticeRoute, out.OwnAddress = c.Bounce.NoticeRoute, c.PostmasterPath()
	out.HoldProbe = min(mx.DefaultHoldProbe, time.Duration(c.Queue.Retry[0])/2)
	return out, nil
}
