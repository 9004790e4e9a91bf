package config

import (
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/delivery"
	"dawk/relay/submission"
)

// These methods give each package its own small Config. They are called on a
// Config that loadConfig or defaultConfig has returned without error; what is
// no configuration (stores, observers, hooks) the caller adds.

func (l *ListenerConfig) submission() submission.Listener {
	return submission.Listener{
		Address: l.Address, TLS: l.TLS, Auth: l.Auth,
		TrustedNetworks: relay.Prefixes(l.TrustedNetworks),
		RequireTLS:      l.RequireTLS, AuthWithoutTLS: l.AuthWithoutTLS, MinTLS: l.MinTLS,
		BareNewline: l.BareNewline, LongLines: l.LongLines, ReceivedClient: l.ReceivedClient,
		Profile: l.Profile, Ciphers: l.Ciphers, Proxies: relay.Prefixes(l.Proxies), SocketMode: l.SocketMode,
		PerClient: l.Policy(),
	}
}

// NeedsTLS says whether any listener needs a certificate.
func (c *Config) NeedsTLS() bool {
	if c.HTTP.Address != "" && c.HTTP.TLS == "implicit" {
		return true
	}
	for _, l := range c.Listeners {
		if l.TLS != "off" {
			return true
		}
	}
	return false
}

// SubmissionConfig lacks GetCertificate, which the caller sets when needsTLS.
func (c *Config) SubmissionConfig(log *slog.Logger) submission.Config {
	out := submission.Config{
		Hostname:            c.Hostname,
		MaxMessageSize:      int64(c.Limits.MaxMessageSize),
		MaxRecipients:       c.Limits.MaxRecipients,
		MaxConnections:      c.Limits.MaxConnections,
		MaxConnectionsPerIP: c.Limits.MaxConnectionsPerIP,
		CommandTimeout:      time.Duration(c.Limits.CommandTimeout),
		DataTimeout:         time.Duration(c.Limits.DataTimeout),
		AuthFailuresPerIP:   c.Limits.AuthFailuresPerIP,
		RequireTLS:          true,
		MaxHold:             time.Duration(c.Queue.MaxAge),
		Log:                 log,
	}
	for i := range c.Listeners {
		l := c.Listeners[i].submission()
		l.ClientCAs = c.secrets.clientCAs[i]
		out.Listeners = append(out.Listeners, l)
	}
	return out
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

// PostmasterPath is the zero Path without one; a bare "postmaster" is ours.
func (c *Config) PostmasterPath() relay.Path {
	p, err := relay.ParsePath(c.Postmaster)
	if err != nil || p.IsNull() || p.Domain() != "" {
		return p
	}
	if full, err := p.WithDomain(c.Hostname); err == nil {
		return full
	}
	return p
}

// QueueOptions lacks Destination, Fatal and Hook.
func (c *Config) QueueOptions(log *slog.Logger) boltstore.Options {
	return boltstore.Options{
		Dir:            c.DataDir,
		MaxSize:        int64(c.Queue.MaxSize),
		MinFree:        int64(c.Queue.MinFree),
		MaxMessageSize: int64(c.Limits.MaxMessageSize),
		Log:            log,
	}
}

// delayNotice is queue.delay_notice. Where it was not written and mail is given
// up before it, there is none: that mail is returned before it could be late.
func (c *Config) delayNotice() time.Duration {
	if c.Queue.DelayNotice >= c.Queue.MaxAge {
		return 0
	}
	return time.Duration(c.Queue.DelayNotice)
}

func (c *Config) DeliveryConfig(log *slog.Logger) delivery.Config {
	limit, span, _ := ParseNoticeLimit(c.Bounce.Limit) // checked
	return delivery.Config{
		Languages:      c.languages,
		Language:       c.Bounce.Language,
		TellLate:       c.Bounce.DelayEnded,
		NoticeLimit:    limit,
		NoticeSpan:     span,
		Hostname:       c.Hostname,
		Postmaster:     c.PostmasterPath(),
		Retry:          durations(c.Queue.Retry),
		MaxAge:         time.Duration(c.Queue.MaxAge),
		DelayNotice:    c.delayNotice(),
		MaxConnections: c.Delivery.MaxConnections,
		PerProvider:    c.Delivery.ConnectionsPerProvider,
		Log:            log,
	}
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

// MxConfig lacks PolicyDir, OnTLS, and Own, which is known once the listeners are open, and
// Resolver.
func (c *Config) MxConfig(log *slog.Logger) (mx.Config, error) {
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
	out.NoticeRoute = c.Bounce.NoticeRoute
	out.HoldProbe = min(30*time.Second, time.Duration(c.Queue.Retry[0])/2)
	return out, nil
}

// OwnAddresses are the addresses that the listeners take, as configured: mail
// by MX never goes there. No host means every address, of both families.
func (c *Config) OwnAddresses() []netip.AddrPort {
	var own []netip.AddrPort
	for _, l := range c.Listeners {
		host, port, err := net.SplitHostPort(l.Address)
		n, err2 := strconv.ParseUint(port, 10, 16)
		if err != nil || err2 != nil {
			continue // a unix socket
		}
		hosts := []string{host}
		switch host {
		case "":
			hosts = []string{"0.0.0.0", "::"}
		case "localhost":
			hosts = []string{"127.0.0.1", "::1"}
		}
		for _, h := range hosts {
			if a, err := netip.ParseAddr(h); err == nil {
				own = append(own, netip.AddrPortFrom(a, uint16(n)))
			}
		}
	}
	return own
}

// LedgerFile holds quotas and holds of users.
func (c *Config) LedgerFile() string { return filepath.Join(c.DataDir, "users-ledger.json") }
