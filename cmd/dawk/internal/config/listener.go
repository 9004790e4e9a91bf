package config

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
)

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
	if slices.ContainsFunc(l.Ciphers, byRSA) && c.TLS.Certificate == "" {
		c.doc.Fault(at+".ciphers", "suites with RSA key exchange need an RSA certificate: name one in [tls]; the self-signed one is not")
	}
	if l.SocketMode != "" && !strings.HasPrefix(l.Address, "unix:") {
		c.doc.Fault(at+".socket_mode", "socket_mode has no effect: %s is no unix socket", l.Address)
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

// ApiOffered says whether mail is taken over HTTP: from this machine, or over
// TLS. A token in the clear on a network would be everybody's.
func (c *Config) ApiOffered() bool {
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
	return c.ApiOffered() && err == nil
}

// IsUnix says whether an address in the configuration is a unix socket.
func IsUnix(address string) bool { return strings.HasPrefix(address, "unix:") }
