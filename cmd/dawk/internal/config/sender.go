package config

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"dawk/mx"
	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/submission"
)

// As whom mail leaves: what a route's mailbox may send as, our certificate for
// it, and the way of notices.

// checkSender looks at what a route does about From, and at its certificate.
func (c *Config) checkSender(at string, r *RouteConfig) {
	if r.RewriteFrom != "" {
		c.oneOf(at+".rewrite_from", r.RewriteFrom, "never", "denied", "always")
	}
	for key, written := range map[string]bool{"send_as": r.SendAs != nil, "rewrite_from": r.RewriteFrom == "denied" || r.RewriteFrom == "always"} {
		if p, err := relay.ParsePath(r.User); written && (err != nil || p.Domain() == "") {
			c.doc.Fault(at+"."+key, `%s needs user to be the mailbox that sends, as in user = "scanner@example.org"`, key)
		}
	}
	for key, other := range map[string][2]string{
		"client_certificate": {r.ClientCertificate, r.ClientKey}, "client_key": {r.ClientKey, r.ClientCertificate}} {
		if other[0] != "" && other[1] == "" {
			c.doc.Fault(at+"."+key, "client_certificate and client_key belong together: write both")
		}
	}
	if r.ClientCertificate != "" && r.TLS == "off" {
		c.doc.Fault(at+".client_certificate", `client_certificate needs TLS, but tls = "off"`)
	}
	if r.ClientCertificate != "" && len(r.Via) == 0 {
		c.doc.Fault(at+".client_certificate", "client_certificate needs via: an MX host knows no certificate of ours")
	}
	if r.Auth == smtpclient.AuthExternal && r.ClientCertificate == "" {
		c.doc.Fault(at+".auth", `auth = "external" needs client_certificate and client_key: the server takes the login from our certificate`)
	}
}

// checkClientCertificates reads the pairs of routes.
func (c *Config) checkClientCertificates() {
	for i := range c.Routes {
		r := &c.Routes[i]
		if at := fmt.Sprintf("route[%d]", i); r.ClientCertificate != "" && r.ClientKey != "" && c.doc.Clean(at) {
			if _, err := tls.LoadX509KeyPair(r.ClientCertificate, r.ClientKey); err != nil {
				c.doc.Fault(at+".client_certificate", "client_certificate: %v; both are PEM files that belong together, readable by the relay", err)
			}
		}
	}
}

// certificate is ours for the hosts of r; it is read again when it changes.
func (r *RouteConfig) certificate(log *slog.Logger) (func() (*tls.Certificate, error), error) {
	if r.ClientCertificate == "" {
		return nil, nil
	}
	pair, err := submission.LoadCertificates(r.ClientCertificate, r.ClientKey, log)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", r.RouteName(), err)
	}
	return func() (*tls.Certificate, error) { return pair.Get(nil) }, nil
}

func (c *Config) checkNoticeRoute() {
	name := c.Bounce.NoticeRoute
	if name == "" || name == mx.NoticesByMX {
		return
	}
	var all []string
	for i := range c.Routes {
		if r := &c.Routes[i]; len(r.Via) > 0 {
			if r.RouteName() == name {
				return
			}
			if r.RouteName() != "" {
				all = append(all, r.RouteName())
			}
		}
	}
	c.doc.Fault("bounce.notice_route", `bounce.notice_route = %q is no route with via; it is %s`, Clip(name), quoteList(append(all, mx.NoticesByMX)))
}
