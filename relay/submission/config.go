package submission

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Config says how the server behaves. Zero limits mean none.
type Config struct {
	Hostname  string // our name: greeting, EHLO, Received
	Domain    string // for addresses without a domain, from known clients and devices; "": Hostname
	Listeners []Listener

	MaxMessageSize      int64 // octets, announced by SIZE; the Acceptor counts
	MaxRecipients       int   // of a message
	MaxConnections      int
	MaxConnectionsPerIP int           // IPv6 clients count by /64
	CommandTimeout      time.Duration // a client that says nothing; 0: 5 min (RFC 5321 §4.5.3.2.7)
	DataTimeout         time.Duration // a body that stops moving; 0: 3 min (§4.5.3.2.5)
	AuthFailuresPerIP   int           // in ten minutes, then 421
	// Backoff counts failed logins, and may be shared with other interfaces; nil: one of our own with
	// the limit AuthFailuresPerIP.
	Backoff    *identity.Backoff
	RequireTLS bool          // offer REQUIRETLS (RFC 8689)
	MaxHold    time.Duration // offer FUTURERELEASE up to this (RFC 4865)

	// GetCertificate gives the certificate for a handshake; needed where a
	// listener uses TLS. See Certificates.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Tickets        *Tickets                                            // nil: TLS sessions end with the listener
	Listen         func(network, address string) (net.Listener, error) // nil: net.Listen
	Log            *slog.Logger                                        // nil: none
}

// Listener is one address with its rules. The words are those of the
// configuration file; empty ones mean the default, named first.
type Listener struct {
	Address         string         // host:port, an IP address or empty host; or unix:/path, whose clients count as 127.0.0.1
	TLS             string         // "starttls", "implicit", "off"
	Auth            string         // "required", "optional", "off"
	TrustedNetworks []netip.Prefix // may relay without a login
	RequireTLS      bool           // no mail in the clear, also from trusted clients
	AuthWithoutTLS  bool           // logins in the clear are allowed
	MinTLS          string         // "1.2", "1.3", "1.0", "1.1"
	BareNewline     string         // "reject", "normalize"; "": normalize for TrustedNetworks and devices
	LongLines       string         // "reject", "fold"; "": fold for logins, TrustedNetworks and devices
	CompleteHeader  *bool          // addresses of the header without a domain get Config.Domain; nil: for TrustedNetworks and devices
	ReceivedClient  string         // "hidden", "full": the address of clients that logged in, in Received

	// Profile "device" is for printers and scanners: bare newlines are
	// normalized and long lines folded unless the keys above say otherwise,
	// untidy commands are taken, in the clear also with LF for CRLF, and a
	// missing From field is repaired. Else "".
	Profile string
	// PerClient applies to each address in TrustedNetworks, for mail without a login: quotas, anomaly
	// holds, whom it may send as.
	PerClient  identity.Policy
	Ciphers    []string       // suites offered below TLS 1.3 in addition to Go's default, by their IANA names
	ClientCAs  *x509.CertPool // whose certificates may log in by EXTERNAL; nil: nobody's
	Proxies    []netip.Prefix // who begins each connection with a PROXY header
	SocketMode string         // of a unix socket: "0660"
	// Inbound takes mail from anybody, for the recipients that the Acceptor does not refuse.
	Inbound bool
}

// Inbound is a Listener that takes mail from anybody, where nobody logs in.
func Inbound(address string) Listener {
	return Listener{Address: address, TLS: tlsOff, Auth: authOff, BareNewline: newlineNormalize, LongLines: linesFold, Inbound: true}
}

// The words of a Listener.
const (
	tlsStart, tlsImplicit, tlsOff       = "starttls", "implicit", "off"
	authRequired, authOptional, authOff = "required", "optional", "off"
	newlineReject, newlineNormalize     = "reject", "normalize"
	linesReject, linesFold              = "reject", "fold"
	receivedHidden, receivedFull        = "hidden", "full"
	profileDevice                       = "device"
	unixPrefix                          = "unix:"
	maxSocketPath                       = 107 // octets that fit into sockaddr_un
	defaultSocketMode                   = "0660"
	defaultMinTLS                       = "1.2"
	defaultCommandTimeout               = 5 * time.Minute
	defaultDataTimeout                  = 3 * time.Minute
	maxErrors                           = 20   // 5yz replies before a stranger is cut off
	maxCommands                         = 1000 // that serve no message
)

var tlsVersions = map[string]uint16{
	"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13,
}

// Validate refuses a configuration that cannot work or would relay for strangers.
func (c Config) Validate() (faults relay.Faults) {
	if _, err := relay.NormalizeDomain(c.Hostname); err != nil {
		faults.Add("hostname", "hostname %q is not a host name", c.Hostname)
	}
	if len(c.Listeners) == 0 {
		faults.Add("listener", "no [[listener]] is configured")
	}
	for _, limit := range []struct {
		key   string
		value int64
	}{{"max_message_size", c.MaxMessageSize}, {"max_recipients", int64(c.MaxRecipients)},
		{"max_connections", int64(c.MaxConnections)}, {"max_connections_per_ip", int64(c.MaxConnectionsPerIP)},
		{"command_timeout", int64(c.CommandTimeout)}, {"data_timeout", int64(c.DataTimeout)},
		{"auth_failures_per_ip", int64(c.AuthFailuresPerIP)}} {
		if limit.value < 0 {
			faults.Add(limit.key, "%s must not be negative", limit.key)
		}
	}
	seen := map[string]bool{}
	for _, l := range c.Listeners {
		var own relay.Faults
		if _, port, err := net.SplitHostPort(l.Address); err == nil && port != "0" && seen[l.Address] {
			own.Add("address", "the address is used twice")
		}
		seen[l.Address] = true
		own = append(own, l.Validate()...)
		if c.GetCertificate == nil && l.withDefaults().TLS != tlsOff {
			own.Add("tls", "tls = %q needs a certificate", l.withDefaults().TLS)
		}
		faults.Within("listener "+l.Address, own)
	}
	return faults
}

// Validate is Config.Validate for one listener. A fault of a network names its
// place in the list.
func (l Listener) Validate() (faults relay.Faults) {
	l = l.withDefaults()
	l.validateAddress(&faults)
	faults.OneOf("tls", l.TLS, tlsStart, tlsImplicit, tlsOff)
	faults.OneOf("auth", l.Auth, authRequired, authOptional, authOff)
	if l.BareNewline != "" {
		faults.OneOf("bare_newline", l.BareNewline, newlineReject, newlineNormalize)
	}
	if l.LongLines != "" {
		faults.OneOf("long_lines", l.LongLines, linesReject, linesFold)
	}
	faults.OneOf("received_client", l.ReceivedClient, receivedHidden, receivedFull)
	if l.Profile != "" && l.Profile != profileDevice {
		faults.Add("profile", "profile = %q is unknown; the only one is %q", l.Profile, profileDevice)
	}
	if _, err := suites(l.Ciphers, tlsVersions[l.MinTLS]); err != nil {
		faults.Add("ciphers", "ciphers: %v", err)
	}
	for i, p := range l.Proxies {
		if why := tooWide(p); why != "" {
			faults.Add(fmt.Sprintf("proxies[%d]", i), "proxies: %s: %s; whoever is in it may claim to be any client", p, why)
		}
	}
	if _, ok := tlsVersions[l.MinTLS]; !ok {
		faults.Add("min_tls", `min_tls = %q is not one of "1.0", "1.1", "1.2" and "1.3"`, l.MinTLS)
	}
	if l.TLS == tlsOff && l.RequireTLS {
		faults.Add("require_tls", `require_tls is set, but tls = "off" offers none: no mail could ever come in`)
	}
	if l.Auth == authOff && len(l.TrustedNetworks) == 0 && !l.Inbound {
		faults.Add("auth", `auth = "off" needs trusted_networks: without either nobody could send, or anybody`)
	}
	for i, p := range l.TrustedNetworks {
		if why := tooWide(p); why != "" {
			faults.Add(fmt.Sprintf("trusted_networks[%d]", i), "trusted_networks: %s would make an open relay: %s", p, why)
		}
	}
	return faults
}

func (l *Listener) validateAddress(faults *relay.Faults) {
	host, port, err := net.SplitHostPort(l.Address)
	if path, ok := strings.CutPrefix(l.Address, unixPrefix); ok {
		if !filepath.IsAbs(path) || len(path) > maxSocketPath {
			faults.Add("address", "the address of a unix socket is unix: and a path that begins with a slash, of at most %d octets", maxSocketPath)
		}
		if mode, err := strconv.ParseUint(l.SocketMode, 8, 32); err != nil || mode > 0o777 || mode&0o600 != 0o600 {
			faults.Add("socket_mode", "socket_mode = %q is not a mode like \"0660\"", l.SocketMode)
		}
	} else if err != nil {
		faults.Add("address", "the address is not of the form host:port")
	} else if _, err := netip.ParseAddr(host); host != "" && host != "localhost" && err != nil {
		faults.Add("address", "%q is not an IP address", host)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		faults.Add("address", "%q is not a port", port)
	}
}

func (l Listener) withDefaults() Listener {
	newline, long := "", ""
	if l.Profile == profileDevice {
		newline, long = newlineNormalize, linesFold
	}
	for _, d := range []struct {
		key   *string
		value string
	}{{&l.SocketMode, defaultSocketMode}, {&l.TLS, tlsStart}, {&l.Auth, authRequired}, {&l.MinTLS, defaultMinTLS}, {&l.BareNewline, newline},
		{&l.LongLines, long}, {&l.ReceivedClient, receivedHidden}} {
		if *d.key == "" {
			*d.key = d.value
		}
	}
	return l
}

// Networks that have no owner on the public Internet (RFC 1918, 6598, 3927, 4193, 4291, and
// loopback).
var privateNetworks = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("fc00::/7"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("::1/128"),
}

// Networks in which a translator represents IPv4 addresses in IPv6 (RFC 6052 §2.1, RFC 8215).
var translated = []netip.Prefix{netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48")}

// tooWide says why a network may not be trusted, "" if it may.
func tooWide(p netip.Prefix) string {
	if !p.IsValid() {
		return "it is not a network"
	}
	p = unmap(p)
	for _, q := range translated {
		if q.Overlaps(p) && p.Bits() < 128 {
			return "it overlaps " + q.String() + ", through which NAT64 lets the whole IPv4 Internet come in"
		}
	}
	private := slices.ContainsFunc(privateNetworks, func(q netip.Prefix) bool {
		return q.Addr().Is4() == p.Addr().Is4() && q.Bits() <= p.Bits() && q.Contains(p.Addr())
	})
	switch bits := p.Bits(); {
	case p.Addr().Is4() && bits < 8:
		return "shorter than /8"
	case p.Addr().Is6() && bits < 32:
		return "shorter than /32"
	case !private && bits < 16:
		return "a public network shorter than /16"
	}
	return ""
}

// unmap turns a prefix of v4-mapped addresses into the IPv4 prefix.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96).Masked()
	}
	return p.Masked()
}

// trusts gives the trusted network that a is in.
func (l Listener) trusts(a netip.Addr) (netip.Prefix, bool) {
	for _, p := range l.TrustedNetworks {
		if p = unmap(p); p.Contains(a) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}
