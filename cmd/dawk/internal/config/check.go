package config

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// check finds every value and every combination that cannot be meant. The
// rules that concern one package are that package's Validate; what is added
// here is the place of the key in the file.
func (c *Config) check() {
	c.checkNames()
	c.checkListeners()
	c.checkTLS()
	c.checkLimits()
	c.checkQueue()
	c.checkDNS()
	c.checkDelivery()
	c.checkProviders()
	c.checkSources()
	c.checkRoutes()
	c.checkDKIM()
	c.checkTLSReports()
	c.checkBounce()
	c.checkHistory()
	c.checkHTTP()
	c.checkSendmail()
	c.oneOf("log.format", c.Log.Format, "text", "json")
	c.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
}

func (c *Config) checkNames() {
	name, err := relay.NormalizeDomain(c.Hostname)
	switch {
	case c.Hostname == "" && !c.doc.Has("hostname"): // a client command: see loadClientConfig
	case err != nil || strings.HasPrefix(name, "["):
		c.doc.Fault("hostname", "hostname %q is not a host name: write it like \"relay.example.org\"", Clip(c.Hostname))
	case strings.Trim(name, "0123456789.") == "":
		c.doc.Fault("hostname", "hostname %q is an address; it must be a name, like \"relay.example.org\"", name)
	}
	if c.Postmaster != "" {
		if _, err := relay.ParsePath(c.Postmaster); err != nil {
			c.doc.Fault("postmaster", "postmaster: %v: write it like \"postmaster@example.org\"", err)
		}
	}
	if c.DataDir == "" {
		c.doc.Fault("data_dir", "data_dir is empty: the queue needs a directory")
	}
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

// report places a fault that the owner of a section found at the key that it
// names, in the section at.
func (c *Config) report(at string, f relay.Fault) {
	if f.Key != "" {
		at += "." + f.Key
	}
	if c.doc.Clean(at) { // else more than this has been said of it
		c.doc.Fault(at, "%s", f.Error())
	}
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

// claim reports an address that an earlier key has taken. 0.0.0.0 and [::]
// take their port on every address.
func (c *Config) claim(taken map[string]string, at, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	a, _ := netip.ParseAddr(host)
	for other, where := range taken {
		h, p, _ := net.SplitHostPort(other)
		b, _ := netip.ParseAddr(h)
		wild := !a.IsValid() || !b.IsValid() || (a.IsUnspecified() || b.IsUnspecified()) && (a.Is4() == b.Is4() || a.Is6() && a.IsUnspecified() || b.Is6() && b.IsUnspecified())
		if p == port && (a == b || wild) {
			c.doc.Fault(at, "%s is taken already by %s in line %d: give one of them another address or port", address, keyOf(where), c.doc.Line(where))
			return
		}
	}
	taken[net.JoinHostPort(host, port)] = at
}

func keyOf(path string) string {
	if strings.HasPrefix(path, "listener") {
		return "the listener"
	}
	return path
}

func (c *Config) checkTLS() {
	switch {
	case c.TLS.Certificate != "" && c.TLS.Key == "":
		c.doc.Fault("tls.certificate", "tls.certificate needs tls.key: the file with its private key")
	case c.TLS.Certificate == "" && c.TLS.Key != "":
		c.doc.Fault("tls.key", "tls.key needs tls.certificate: the file with the certificate chain")
	}
}

// checkCertificate reads the pair, where anything uses it.
func (c *Config) checkCertificate() {
	if c.TLS.Certificate == "" || c.TLS.Key == "" || !c.NeedsTLS() {
		return
	}
	for key, file := range map[string]string{"tls.certificate": c.TLS.Certificate, "tls.key": c.TLS.Key} {
		if _, err := readBounded(file, 1<<20); err != nil {
			c.doc.Fault(key, "%s: %v", key, err)
		}
	}
	if _, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key); err != nil && c.doc.Clean("tls") {
		c.doc.Fault("tls.certificate", "tls.certificate %s and tls.key %s do not serve: %v; they are PEM files that belong together", c.TLS.Certificate, c.TLS.Key, err)
	}
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

func (c *Config) checkQueue() {
	q := c.Queue
	if len(q.Retry) == 0 && c.doc.Clean("queue.retry") {
		c.doc.Fault("queue.retry", `queue.retry is empty: give at least one wait, as in retry = ["5m"]`)
	}
	for i, step := range q.Retry {
		c.positive(fmt.Sprintf("queue.retry[%d]", i), step)
	}
	c.positive("queue.max_age", q.MaxAge)
	if c.doc.Clean("queue") && c.doc.Has("queue.delay_notice") && q.MaxAge > 0 && q.DelayNotice >= q.MaxAge {
		c.doc.Fault("queue.delay_notice", `queue.delay_notice (%s) is not shorter than queue.max_age (%s), so no notice would ever go out: shorten it, or write "0" for none`, q.DelayNotice, q.MaxAge)
	}
	if least := relay.Size(64 << 20); q.MaxSize > 0 && q.MaxSize < least {
		c.doc.Fault("queue.max_size", `queue.max_size (%s) leaves no room for mail beside what the file keeps for itself: give at least %s, or "0" for no limit`, q.MaxSize, least)
	} else if q.MaxSize > 0 && q.MaxSize < c.Limits.MaxMessageSize {
		c.doc.Fault("queue.max_size", "queue.max_size (%s) is smaller than one message may be (limits.max_message_size = %s)", q.MaxSize, c.Limits.MaxMessageSize)
	}
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
		return "", fmt.Errorf("%q is not the address of a server: write it like \"127.0.0.1:53\"", Clip(s))
	}
	return ap.String(), nil
}

func (c *Config) checkHTTP() {
	c.oneOf("http.tls", c.HTTP.TLS, "off", "implicit")
	if c.HTTP.Address == "" {
		return
	}
	host, port, err := net.SplitHostPort(c.HTTP.Address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err == nil && host != "" && host != "localhost" {
		_, err = netip.ParseAddr(host)
	}
	if err != nil {
		c.doc.Fault("http.address", "http.address %q is not an address: write it like \"127.0.0.1:8025\"", Clip(c.HTTP.Address))
	}
}

func (c *Config) oneOf(path, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		c.doc.Fault(path, "%s = %q is unknown; it is one of %s", keyName(path), Clip(value), quoteList(allowed))
	}
}

func (c *Config) atLeast(path string, value, least int) {
	if value < least && c.doc.Clean(path) {
		c.doc.Fault(path, "%s is %d; it must be at least %d", keyName(path), value, least)
	}
}

// keyName is path as the documents write it: the line says which of several
// sections is meant.
func keyName(path string) string {
	section, key, _ := strings.Cut(path, "[")
	_, key, _ = strings.Cut(key, "]")
	return section + key
}

func (c *Config) positive(path string, d relay.Duration) {
	if d <= 0 && c.doc.Clean(path) {
		name, _, _ := strings.Cut(path, "[")
		c.doc.Fault(path, "%s must be longer than 0", name)
	}
}

func quoteList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	return strings.Join(quoted, ", ")
}

func Clip(s string) string {
	if len(s) > 80 {
		return strings.ToValidUTF8(s[:80], "") + "…"
	}
	return s
}

func durations(list []relay.Duration) []time.Duration {
	out := make([]time.Duration, len(list))
	for i, d := range list {
		out[i] = time.Duration(d)
	}
	return out
}
