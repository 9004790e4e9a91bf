package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"

	"dawk/mx"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/submission"
)

// RouteConfig is one [[route]].
type RouteConfig struct {
	// what logs and commands call it: one word, each once
	// Default: its `user`, else its first `to`
	Name string `toml:"name"`
	// recipients: `"example.com"` (not its subdomains), `"*.example.com"` (only those), `"user@example.com"`, `"*"`
	// Default: required
	To []string `toml:"to"`
	// reverse-paths, written as in `to`; `"<>"` for bounces
	// Default: any
	From []string `toml:"from"`
	// who submitted it: names of users, `*` for any characters; `"network:192.0.2.0/24"` for clients without
	// a login whose address lies there
	// Default: any
	Identity []string `toml:"identity"`
	// `"microsoft365"`, `"gmail"`, `"workspace_relay"` (smtp-relay.gmail.com; a login is optional): defaults for
	// `via`, `tls`, `token_url`, `scope`, and the provider's budget of messages, which mail then waits for
	Type string `toml:"type"`
	// hosts in order of preference: `"host"`, `"host:port"`, `"smtps://host:port"` for TLS from the start,
	// `"lmtp://host:port"` for LMTP, `"lmtp+unix:/path"` or `"smtp+unix:/path"` for a socket. The port is 465 with
	// `smtps`, 24 with `lmtp`, 587 with a `user`, else 25. Looked up by address, never by MX. All of a route's are
	// SMTP, or all are LMTP
	// Default: by MX
	Via []string `toml:"via"`
	// as there. A login needs `"verified"`, unless the host is loopback
	// Default: `delivery.tls`; with a `flow` or another type than `smtp`: `"verified"`
	TLS string `toml:"tls"`
	// as there
	// Default: `delivery.ip`
	IP string `toml:"ip"`
	// names of `[[source]]` sections: the pool that mail by this route leaves from, with or without `via`
	// Default: `delivery.source`
	Source []string `toml:"source"`
	// our login there; with OAuth2 the mailbox that sends
	// Default: none
	User string `toml:"user"`
	// file whose first line is the password; readable by the relay's user alone. Read again when it changes
	// Default: none
	PasswordFile string `toml:"password_file"`

	// how OAuth2 tokens are got: `"client_credentials"`, `"device_code"` (microsoft365), `"refresh_token"`,
	// `"service_account"` (gmail)
	// Default: none
	Flow string `toml:"flow"`
	// microsoft365: the Directory (tenant) ID
	// Default: none
	Tenant string `toml:"tenant"`
	// of the application
	// Default: none
	ClientID string `toml:"client_id"`
	// file whose first line is the application's secret
	// Default: none
	ClientSecretFile string `toml:"client_secret_file"`
	// `flow = "refresh_token"`: file whose first line is the first refresh token. Later ones are kept in the data
	// directory, and win until the file changes
	// Default: none
	RefreshTokenFile string `toml:"refresh_token_file"`
	// `flow = "service_account"`: Google's JSON key
	// Default: none
	ServiceAccountFile string `toml:"service_account_file"`
	// where tokens are asked for; https, or loopback. Its certificate is checked with `delivery.ca_file`
	// Default: by type
	TokenURL string `toml:"token_url"`
	// several are separated by spaces
	// Default: by type
	Scope string `toml:"scope"`
	// `"plain"`, `"login"`, `"scram-sha-256"`, `"external"` (our certificate; `user` only where the host wants a
	// name too); with a flow `"xoauth2"`, `"oauthbearer"`. Without it the first of these that the host offers, in
	// the order PLAIN, LOGIN, SCRAM-SHA-256, or XOAUTH2, OAUTHBEARER
	// Default: what the host offers
	Auth string `toml:"auth"`
	// `false`: mail that goes only this way is not signed
	// Default: `true`
	DKIM *bool `toml:"dkim"`

	// PEM files of our own certificate for the hosts, which know us by it; read again when they change. `auth =
	// "external"` needs them
	// Default: none
	ClientCertificate string `toml:"client_certificate"`
	ClientKey         string `toml:"client_key"`
	// addresses, written as in `to`, that the mailbox `user` may send as besides itself; `[]`: none. Mail whose
	// reverse-path or From is another is refused at submission (`550 5.7.1`), or rewritten: see `rewrite_from`
	// Default: dawk refuses none
	SendAs []string `toml:"send_as"`
	// `"denied"`: mail that the host refuses for its sender, or that `send_as` does not allow, is sent as the
	// mailbox `user`; `"always"`: all that is neither from `user` nor in `send_as`. The old From becomes Reply-To,
	// unless there is one, and X-Original-From; the message is signed anew where it is signed at all. Bounces from
	// beyond go to the mailbox then
	// Default: `"never"`
	RewriteFrom string `toml:"rewrite_from"`

	// what the smart host takes, as in `[[provider]]`: connections at once
	// Default: by type, else `delivery.connections_per_provider`
	Connections int `toml:"connections"`
	// then the connection is closed
	// Default: 50
	MessagesPerConnection int `toml:"messages_per_connection"`
	// messages in a time: `"100/h"`. A message with more recipients than `max_recipients` counts as several
	// Default: none
	Rate string `toml:"rate"`
	// recipients in a time, likewise
	// Default: none
	RecipientRate string `toml:"recipient_rate"`
	// in one transaction
	// Default: by type, else 100
	MaxRecipients int `toml:"max_recipients"`
}

// SetDefaults is called for each [[route]] before its keys.
func (r *RouteConfig) SetDefaults() { r.Type = "smtp" }

func (c *Config) checkRoutes() {
	names := map[string]int{}
	for i := range c.Routes {
		at := fmt.Sprintf("route[%d]", i)
		c.checkRoute(at, &c.Routes[i])
		name := c.Routes[i].RouteName()
		if first, taken := names[name]; taken && name != "" {
			c.doc.Fault(at, "this route is called %q, like the one in line %d: give one of them a name = \"…\" of its own",
				relay.Clip(name), c.doc.Line(fmt.Sprintf("route[%d]", first)))
			continue
		}
		names[name] = i
	}
}

// LogsIn says whether the hosts of the route hear AUTH.
func (r *RouteConfig) LogsIn() bool { return r.User != "" || r.Auth == smtpclient.AuthExternal }

// RouteName is what commands call the route.
func (r *RouteConfig) RouteName() string {
	switch {
	case r.Name != "":
		return r.Name
	case r.User != "":
		return r.User
	case len(r.To) > 0:
		return r.To[0]
	}
	return ""
}

func (c *Config) checkRoute(at string, r *RouteConfig) {
	c.checkIdentities(at+".identity", r.Identity)
	if len(r.To) == 0 && c.doc.Lacks(at, "to") {
		c.doc.Fault(at, `this [[route]] has no "to": write to = ["*"] for all mail, or the domains that it serves`)
	}
	if len(r.Via) == 0 && r.TLS == "" && r.IP == "" && len(r.Source) == 0 && c.doc.Clean(at) {
		c.doc.Fault(at, `this [[route]] changes nothing: write where its mail goes, as in via = ["smtp.example.net:587"]`)
	}
	if r.Name != "" && (len(r.Name) > 64 || relay.Sanitize(r.Name) != r.Name || strings.ContainsAny(r.Name, " \t")) {
		c.doc.Fault(at+".name", "name %q is not a word of at most 64 characters without spaces", relay.Clip(r.Name))
	}
	if _, ok := presets[r.Type]; ok {
		c.checkLogin(at, r)
	} else {
		c.oneOf(at+".type", r.Type, "smtp", "microsoft365", "gmail", "workspace_relay")
		if r.Flow != "" {
			c.oneOf(at+".flow", r.Flow, flowNames(anyFlow)...)
		}
	}
	if !smtpclient.ValidAuth(r.Auth) {
		c.oneOf(at+".auth", r.Auth, smtpclient.AuthPlain, smtpclient.AuthLogin, smtpclient.AuthSCRAM, smtpclient.AuthExternal, smtpclient.AuthXOAuth2, smtpclient.AuthOAuthBearer)
	}
	if r.User == "" && r.PasswordFile != "" && c.doc.Clean(at+".user") {
		c.doc.Fault(at+".password_file", "password_file needs user: the name to log in with")
	}
	if r.TLS != "" {
		c.oneOf(at+".tls", r.TLS, "off", "opportunistic", "required", "verified")
	}
	if r.IP != "" {
		c.oneOf(at+".ip", r.IP, "4", "6", "both")
	}
	c.checkPool(at+".source", r.Source, cmp.Or(r.IP, c.Delivery.IP))
	c.checkSender(at, r)
	c.checkRouteLimits(at, r)
	c.checkRouteParts(at, r)
}

// Limits are those that are written for the hosts of r; rates that cannot be
// read are left out.
func (r *RouteConfig) Limits() shaping.Rule {
	p := ProviderConfig{Connections: r.Connections, MessagesPerConnection: r.MessagesPerConnection, Rate: r.Rate, RecipientRate: r.RecipientRate}
	rule := p.rule()
	rule.Recipients = r.MaxRecipients
	return rule
}

func (c *Config) checkRouteLimits(at string, r *RouteConfig) {
	numbers := []numberKey{{"connections", r.Connections}, {"messages_per_connection", r.MessagesPerConnection}, {"max_recipients", r.MaxRecipients}}
	c.checkTakes(at, numbers, []rateKey{{"rate", r.Rate}, {"recipient_rate", r.RecipientRate}})
	for _, key := range []string{"connections", "messages_per_connection", "max_recipients", "rate", "recipient_rate"} {
		if c.doc.Has(at+"."+key) && len(r.Via) == 0 {
			c.doc.Fault(at+"."+key, "%s needs via: the limits of MX hosts are in [[provider]]", key)
			return
		}
	}
	for i, p := range c.Providers {
		for _, pattern := range p.MX {
			if c.named(r, pattern) {
				c.doc.Fault(fmt.Sprintf("provider[%d].mx", i), "provider %q: mx %q is a host of route %q, and [[provider]] is for hosts found by MX: write its limits into that [[route]], as in connections = 5",
					relay.Clip(p.Name), pattern, relay.Clip(r.RouteName()))
			}
		}
	}
}

// named says whether a host of r's via is written as mx of a [[provider]].
func (c *Config) named(r *RouteConfig, pattern string) bool {
	want, err := relay.NormalizeDomain(pattern)
	if err != nil {
		return false
	}
	for _, s := range r.Via {
		if hop, err := mx.ParseHop(s, r.LogsIn()); err == nil && hop.Host == want {
			return true
		}
	}
	return false
}

// checkRouteParts hands a route to package mx: first its patterns and hosts,
// and, where these can be read, the whole of it.
func (c *Config) checkRouteParts(at string, r *RouteConfig) {
	sound := c.doc.Clean(at)
	for _, f := range (mx.Config{}).ValidateRoute(mx.Route{To: r.To, From: r.From, SendAs: r.SendAs}) {
		sound = false
		c.report(at, f)
	}
	for j, s := range r.Via {
		if _, err := mx.ParseHop(s, r.LogsIn()); err != nil {
			sound = false
			c.doc.Fault(fmt.Sprintf("%s.via[%d]", at, j), "%v", err)
		}
	}
	if !sound {
		return
	}
	whole, err := c.route(r)
	if err != nil {
		c.doc.Fault(at, "%v", err)
		return
	}
	level, _ := tlspolicy.ParseLevel(c.Delivery.TLS) // delivery.tls has been checked
	for _, f := range (mx.Config{TLS: level}).ValidateRoute(whole) {
		if f.Key == "tls" && !c.doc.Has(at+".tls") {
			f.Key = "user" // the level is a default: the login is what was written
		}
		c.report(at, f)
	}
}

// route is r for package mx, without its password.
func (c *Config) route(r *RouteConfig) (mx.Route, error) {
	level, err := tlspolicy.ParseLevel(r.TLS)
	if err != nil {
		return mx.Route{}, err
	}
	out := mx.Route{Name: r.RouteName(), To: r.To, From: r.From, Identity: r.Identity, TLS: level, IP: r.IP, User: r.User,
		Auth: r.Auth, Token: r.Flow != "", Provider: presets[r.Type].provider}
	out.Budget, out.RecipientsPerMessage = r.Budget()
	out.RecipientsPerMessage = cmp.Or(r.MaxRecipients, out.RecipientsPerMessage)
	out.Limits = r.Limits()
	out.Limits.Recipients = out.RecipientsPerMessage
	out.SendAs, out.SendAsKnown = r.SendAs, r.SendAs != nil
	if out.Rewrite, err = mx.ParseRewrite(r.RewriteFrom); err != nil {
		return mx.Route{}, err
	}
	for _, s := range r.Via {
		hop, err := mx.ParseHop(s, r.LogsIn())
		if err != nil {
			return mx.Route{}, err
		}
		out.Via = append(out.Via, hop)
	}
	return out, nil
}

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
