package config

import (
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
	"dawk/relay/submission"
)

// ListenerConfig is one [[listener]].
type ListenerConfig struct {
	// `"192.0.2.10:25"`: an IP address and a port. `"0.0.0.0:587"` is every IPv4 address of the machine,
	// `"[::]:587"` and `":587"` every address. Or `"unix:/run/dawk/smtp.sock"`:
	// its clients count as 127.0.0.1
	// Default: required
	Address string `toml:"address"`
	// `"starttls"`, `"implicit"` (port 465), `"off"`
	TLS string `toml:"tls"`
	// `"required"`: strangers hear 530 at MAIL. `"optional"`: they hear 550 at RCPT. `"off"`: nobody can log in, and
	// `trusted_networks` must be set
	Auth string `toml:"auth"`
	// clients from there need no login, with every `auth`, and no TLS unless `require_tls`
	TrustedNetworks []relay.Network `toml:"trusted_networks"`
	// no mail in the clear, not even from trusted clients
	RequireTLS bool `toml:"require_tls"`
	// allow passwords in the clear. On a listener with `tls = "off"` clients on loopback may always log in
	AuthWithoutTLS bool `toml:"auth_without_tls"`
	// oldest TLS spoken: `"1.0"`, `"1.1"`, `"1.2"`, `"1.3"`
	MinTLS string `toml:"min_tls"`
	// a CR or LF that stands alone: `"reject"` the message (554 5.6.11), or `"normalize"` it
	// Default: `"normalize"` for `trusted_networks` and devices; else `"reject"`
	BareNewline string `toml:"bare_newline"`
	// lines over 998 octets: `"reject"` the message (554 5.6.0), or `"fold"` them. A signed message is never folded
	// Default: `"fold"` for whoever may send
	LongLines string `toml:"long_lines"`
	// whether addresses of the header without a domain (`From: root`) get `[sendmail] domain`
	// Default: for `trusted_networks` and devices
	CompleteHeader *bool `toml:"complete_header"`
	// whether the Received field shows the address of clients that logged in: `"hidden"`, `"full"`
	ReceivedClient string `toml:"received_client"`
	// `"device"`: for printers and scanners. See [devices.md](devices.md)
	// Default: none
	Profile string `toml:"profile"`
	// cipher suites to offer besides, for devices that know nothing better: `["TLS_RSA_WITH_AES_128_CBC_SHA"]`.
	// Those with RSA key exchange need an RSA certificate
	// Default: those without CBC; with `min_tls` below 1.2, which has nothing else, those with CBC too
	Ciphers []string `toml:"ciphers"`
	// PEM file with the authorities of client certificates. A certificate of theirs logs in, by EXTERNAL, the user
	// that has one of its names in `certificates`
	// Default: none
	ClientCA string `toml:"client_ca"`
	// proxies that name the client of each connection in a PROXY header, version 1 or 2. They must send one; from
	// anybody else it is a bad command
	Proxies []relay.Network `toml:"proxies"`
	// mode of a Unix socket
	// Default: `"0660"`
	SocketMode string `toml:"socket_mode"`
	// whom clients of `trusted_networks` without a login may send as, in the reverse-path and in the header:
	// `["printer@example.org", "@example.org"]`. See [submission.md](submission.md#who-may-send-as-whom)
	// Default: anybody
	Senders []identity.Sender `toml:"senders"`
	// of each address in `trusted_networks` (IPv6: each /64) that has not logged in, with the meaning they have for
	// [users](#userstoml). `network:ADDRESS` is its name in `dawk health` and for `dawk user release`
	// Default: no limit
	QuotaConfig
}

// SetDefaults is called for each [[listener]] before its keys.
func (l *ListenerConfig) SetDefaults() {
	*l = ListenerConfig{TLS: "starttls", Auth: "required", MinTLS: "1.2", ReceivedClient: "hidden"}
}

// Policy is what holds for clients that have not logged in, each by itself.
func (l *ListenerConfig) Policy() identity.Policy {
	p := l.QuotaConfig.policy()
	p.Senders = l.Senders
	return p
}

// localListener serves the programs of this machine and nobody else. It is
// what a configuration without [[listener]] gets.
func localListener() ListenerConfig {
	var l ListenerConfig
	l.SetDefaults()
	l.Address, l.TLS, l.Auth = "127.0.0.1:2525", "off", "off"
	for _, n := range []string{"127.0.0.0/8", "::1"} {
		var network relay.Network
		if err := network.UnmarshalText([]byte(n)); err != nil {
			panic(err)
		}
		l.TrustedNetworks = append(l.TrustedNetworks, network)
	}
	return l
}

func (c *Config) checkListeners() {
	taken := map[string]string{} // address → where it is used
	for i := range c.Listeners {
		at := fmt.Sprintf("listener[%d]", i)
		if c.doc.Has("listener") {
			c.checkListener(at, &c.Listeners[i])
		}
		c.claim(taken, at+".address", c.Listeners[i].Address)
	}
	if len(c.Listeners) == 0 && c.doc.Clean("listener") {
		c.doc.Fault("listener", "the list of listeners is empty: nobody could send anything")
	}
	c.claim(taken, "http.address", c.HTTP.Address)
}

func (c *Config) checkListener(at string, l *ListenerConfig) {
	if l.Address == "" {
		if c.doc.Lacks(at, "address") {
			c.doc.Fault(at, `this [[listener]] has no address: write one like address = "0.0.0.0:587"`)
		}
	}
	s := l.submission()
	if s.Address == "" {
		s.Address = "127.0.0.1:0" // its other keys are looked at all the same
	}
	for _, f := range s.Validate() {
		c.report(at, f)
	}
	c.checkListenerCombination(at, l)
}

// checkListenerCombination refuses keys that contradict each other or have no
// effect together.
func (c *Config) checkListenerCombination(at string, l *ListenerConfig) {
	fault := func(key, format string, args ...any) { c.doc.Fault(at+"."+key, format, args...) }
	if l.AuthWithoutTLS {
		switch {
		case l.Auth == "off":
			fault("auth_without_tls", `auth_without_tls has no effect with auth = "off"`)
		case l.TLS == "implicit":
			fault("auth_without_tls", `auth_without_tls has no effect with tls = "implicit": nothing there is without TLS`)
		case l.RequireTLS:
			fault("auth_without_tls", "auth_without_tls contradicts require_tls: choose one")
		}
	}
	c.checkListenerTLS(at, l)
	c.checkListenerQuota(at, l)
	loopbackOnly := false
	if ap, err := netip.ParseAddrPort(l.Address); err == nil {
		loopbackOnly = ap.Addr().Unmap().IsLoopback()
	} else if host, _, err := net.SplitHostPort(l.Address); err == nil {
		loopbackOnly = host == "localhost" || IsUnix(l.Address)
	}
	if l.TLS == "off" && l.Auth == "required" && !l.AuthWithoutTLS && len(l.TrustedNetworks) == 0 && !loopbackOnly {
		fault("tls", `with tls = "off" only this machine may log in: set tls = "starttls", or auth_without_tls = true if passwords may cross the network in the clear`)
	}
}

// checkListenerTLS refuses keys about TLS that have no effect.
func (c *Config) checkListenerTLS(at string, l *ListenerConfig) {
	for _, key := range []string{"min_tls", "ciphers", "client_ca"} {
		if l.TLS == "off" && c.doc.Has(at+"."+key) {
			c.doc.Fault(at+"."+key, `%s has no effect with tls = "off"`, key)
		}
	}
	if l.Auth == "off" && l.ClientCA != "" {
		c.doc.Fault(at+".client_ca", `client_ca has no effect with auth = "off": a certificate is a login`)
	}
	byRSA := func(s string) bool { return strings.HasPrefix(s, "TLS_RSA_") }
	if slices.ContainsFunc(l.Ciphers, byRSA) && c.TLS.Certificate == "" && c.TLS.ACME == "" {
		c.doc.Fault(at+".ciphers", "suites with RSA key exchange need an RSA certificate: name one in [tls]; the self-signed one is not")
	}
	if l.SocketMode != "" && !strings.HasPrefix(l.Address, "unix:") {
		c.doc.Fault(at+".socket_mode", "socket_mode has no effect: %s is not a unix socket", l.Address)
	}
}

// checkClientCAs reads the authorities of client certificates.
func (c *Config) checkClientCAs() {
	c.secrets.clientCAs = map[int]*x509.CertPool{}
	for i, l := range c.Listeners {
		if l.ClientCA == "" {
			continue
		}
		at := fmt.Sprintf("listener[%d].client_ca", i)
		pem, err := readBounded(l.ClientCA, 16<<20)
		pool := x509.NewCertPool()
		switch {
		case err != nil:
			c.doc.Fault(at, "client_ca: %v", err)
		case !pool.AppendCertsFromPEM(pem):
			c.doc.Fault(at, "client_ca: %s holds no certificate in PEM form", l.ClientCA)
		default:
			c.secrets.clientCAs[i] = pool
		}
	}
}

// These methods give each package its own small Config. They are called on a
// Config that Load or Default has returned without error; what is
// no configuration (stores, observers, hooks) the caller adds.

func (l *ListenerConfig) submission() submission.Listener {
	return submission.Listener{
		Address: l.Address, TLS: l.TLS, Auth: l.Auth,
		TrustedNetworks: relay.Prefixes(l.TrustedNetworks),
		RequireTLS:      l.RequireTLS, AuthWithoutTLS: l.AuthWithoutTLS, MinTLS: l.MinTLS,
		BareNewline: l.BareNewline, LongLines: l.LongLines, ReceivedClient: l.ReceivedClient, CompleteHeader: l.CompleteHeader,
		Profile: l.Profile, Ciphers: l.Ciphers, Proxies: relay.Prefixes(l.Proxies), SocketMode: l.SocketMode,
		PerClient: l.Policy(),
	}
}

// SubmissionConfig lacks GetCertificate, which the caller sets when NeedsTLS.
func (c *Config) SubmissionConfig(log *slog.Logger) submission.Config {
	out := submission.Config{
		Hostname:            c.Hostname,
		Domain:              c.Sendmail.Domain,
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

// APIOffered says whether mail is taken over HTTP: from this machine, or over
// TLS. A token in the clear on a network would be everybody's.
func (c *Config) APIOffered() bool {
	if c.HTTP.Address == "" || c.HTTP.TLS == "implicit" {
		return c.HTTP.Address != ""
	}
	host, _, err := net.SplitHostPort(c.HTTP.Address)
	if err != nil {
		return false
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// WantsUsers says whether the file of users is read: where somebody may log
// in, and for tokens where there is a file.
func (c *Config) WantsUsers() bool {
	if c.NeedsUsers() {
		return true
	}
	_, err := os.Stat(c.Users.File)
	return c.APIOffered() && err == nil
}

// IsUnix says whether an address in the configuration is a unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, "unix:") }
