package config

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"dawk/mx"
	"dawk/mx/oauth"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

func (c *Config) checkDelivery() {
	d := c.Delivery
	if d.Port < 1 || d.Port > 65535 {
		c.doc.Fault("delivery.port", "delivery.port %d is not a port", d.Port)
	}
	c.atLeast("delivery.max_connections", d.MaxConnections, 1)
	c.oneOf("delivery.tls", d.TLS, "off", "opportunistic", "required", "verified")
	c.oneOf("delivery.ip", d.IP, "4", "6", "both")
	t := d.Timeouts
	c.positive("delivery.timeouts.connect", t.Connect)
	c.positive("delivery.timeouts.greeting", t.Greeting)
	c.positive("delivery.timeouts.command", t.Command)
	c.positive("delivery.timeouts.data", t.Data)
	c.positive("delivery.timeouts.block", t.Block)
	c.positive("delivery.timeouts.final_dot", t.FinalDot)
	c.positive("delivery.timeouts.session", t.Session)
}

func (c *Config) checkRoutes() {
	names := map[string]int{}
	for i := range c.Routes {
		at := fmt.Sprintf("route[%d]", i)
		c.checkRoute(at, &c.Routes[i])
		name := c.Routes[i].RouteName()
		if first, taken := names[name]; taken && name != "" {
			c.doc.Fault(at, "this route is called %q, like the one in line %d: give one of them a name = \"…\" of its own",
				Clip(name), c.doc.Line(fmt.Sprintf("route[%d]", first)))
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
	if len(r.To) == 0 && c.doc.Lacks(at, "to") {
		c.doc.Fault(at, `this [[route]] has no "to": write to = ["*"] for all mail, or the domains that it serves`)
	}
	if len(r.Via) == 0 && r.TLS == "" && r.IP == "" && len(r.Source) == 0 && c.doc.Clean(at) {
		c.doc.Fault(at, `this [[route]] changes nothing: write where its mail goes, as in via = ["smtp.example.net:587"]`)
	}
	if r.Name != "" && (len(r.Name) > 64 || relay.Sanitize(r.Name) != r.Name || strings.ContainsAny(r.Name, " \t")) {
		c.doc.Fault(at+".name", "name %q is not a word of at most 64 characters without spaces", Clip(r.Name))
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
	c.checkRouteParts(at, r)
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

// checkFiles opens the files that the configuration names, as far as they
// belong to it; certificates and users are read by their own packages.
func (c *Config) checkFiles() {
	if c.NeedsUsers() {
		if _, err := os.Stat(c.Users.File); errors.Is(err, fs.ErrNotExist) && c.doc.Clean("users.file") {
			place := "users.file"
			if !c.doc.Has(place) {
				place = c.firstWithUsers()
			}
			c.doc.Fault(place, "users log in here, but the file of users %s does not exist: make it with `dawk user add NAME`", c.Users.File)
		}
	}
	c.checkCertificate()
	c.checkWords()
	c.checkSecrets()
	c.secrets.passwords = map[int]string{}
	for i, r := range c.Routes {
		if r.PasswordFile == "" {
			continue
		}
		password, err := readSecret(r.PasswordFile)
		if err != nil {
			c.doc.Fault(fmt.Sprintf("route[%d].password_file", i), "password_file: %v", err)
		}
		c.secrets.passwords[i] = password
	}
	roots, err := readRoots(c.Delivery.CAFile)
	if err != nil {
		c.doc.Fault("delivery.ca_file", "%v", err)
	}
	c.secrets.roots = roots
	c.checkDKIMFiles()
	c.checkClientCAs()
	c.checkClientCertificates()
}

// readRoots reads delivery.ca_file; nil, the system's authorities, without one.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := readBounded(file, 16<<20)
	if err != nil {
		return nil, fmt.Errorf("delivery.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("delivery.ca_file: %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

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

// readSecret is the first line of a file, or of a variable of the environment; its error never holds the content.
func readSecret(path string) (string, error) {
	data, ok, err := oauth.FromEnvironment(path)
	if !ok {
		data, err = readBounded(path, 64<<10)
	}
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	secret := strings.TrimSuffix(string(line), "\r")
	switch {
	case secret == "":
		return "", fmt.Errorf("the first line of %s is empty; it must be the password", path)
	case !utf8.ValidString(secret) || strings.ContainsFunc(secret, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", fmt.Errorf("the first line of %s holds control characters or is not UTF-8", path)
	}
	return secret, nil
}
