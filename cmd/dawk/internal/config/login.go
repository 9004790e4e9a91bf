package config

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/mx"
	"dawk/mx/hosts"
	"dawk/mx/oauth"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/relay"
	"dawk/relay/replies"
)

// preset is what a type of route stands for.
type preset struct {
	via      string
	flows    []oauth.Flow
	provider replies.Provider
	open     bool // the host may know us without a login
}

var anyFlow = []oauth.Flow{oauth.ClientCredentials, oauth.DeviceCode, oauth.RefreshToken, oauth.ServiceAccount}

var googleFlows = []oauth.Flow{oauth.ServiceAccount, oauth.RefreshToken}

var presets = map[string]preset{
	"microsoft365":    {"smtp.office365.com:587", []oauth.Flow{oauth.ClientCredentials, oauth.DeviceCode, oauth.RefreshToken}, replies.ProviderMicrosoft, false},
	"gmail":           {"smtp.gmail.com:587", googleFlows, replies.ProviderGoogle, false},
	"workspace_relay": {"smtp-relay.gmail.com:587", googleFlows, replies.ProviderGoogle, true},
	"smtp":            {"", []oauth.Flow{oauth.ClientCredentials, oauth.RefreshToken}, replies.ProviderOther, true},
}

// complete fills in what the type stands for.
func (r *RouteConfig) complete() {
	p := presets[r.Type]
	if len(r.Via) == 0 && p.via != "" {
		r.Via = []string{p.via}
	}
	if r.TLS == "" && (p.via != "" || r.Flow != "") {
		r.TLS = "verified"
	}
	flow := oauth.Flow(r.Flow)
	switch {
	case r.Type == "microsoft365" && flow != "":
		if r.TokenURL == "" && r.Tenant != "" {
			r.TokenURL = "https://login.microsoftonline.com/" + r.Tenant + "/oauth2/v2.0/token"
		}
		if r.Scope == "" {
			r.Scope = "https://outlook.office.com/SMTP.Send offline_access"
			if flow == oauth.ClientCredentials {
				r.Scope = "https://outlook.office365.com/.default"
			}
		}
	case p.provider == replies.ProviderGoogle && flow != "":
		if r.TokenURL == "" && flow == oauth.RefreshToken {
			r.TokenURL = "https://oauth2.googleapis.com/token"
		}
		if r.Scope == "" {
			r.Scope = "https://mail.google.com/"
		}
	}
}

// Provider is who runs the smart host.
func (r *RouteConfig) Provider() replies.Provider { return presets[r.Type].provider }

// Budget is what the provider documents for one mailbox.
// https://learn.microsoft.com/exchange/troubleshoot/send-emails/smtp-submission-improvements,
// https://support.google.com/a/answer/166852 and /mail/answer/22839; for the
// Workspace relay https://support.google.com/a/answer/2956491: it counts by
// sender and by organisation, which only Google knows.
func (r *RouteConfig) Budget() (b shaping.Budget, recipientsPerMessage int) {
	switch r.Type {
	case "microsoft365":
		return shaping.Budget{Connections: 3, PerMinute: 30, RecipientsPerDay: 10_000}, 500
	case "gmail":
		user := strings.ToLower(r.User)
		if strings.HasSuffix(user, "@gmail.com") || strings.HasSuffix(user, "@googlemail.com") {
			return shaping.Budget{Connections: 5, MessagesPerDay: 500, RecipientsPerDay: 500}, 100
		}
		return shaping.Budget{Connections: 5, MessagesPerDay: 2000, RecipientsPerDay: 10_000}, 100
	case "workspace_relay":
		return shaping.Budget{}, 100
	}
	return shaping.Budget{}, 0
}

// login is r for package oauth; ok is false where there is nothing to keep up
// to date.
func (c *Config) login(r *RouteConfig, log *slog.Logger) (cfg oauth.Config, ok bool) {
	flow := oauth.Flow(r.Flow)
	secret := r.ClientSecretFile
	switch {
	case r.User == "":
		return oauth.Config{}, false
	case flow == "" && r.PasswordFile != "":
		flow, secret = oauth.Password, r.PasswordFile
	case flow == "":
		return oauth.Config{}, false
	}
	t := c.Delivery.Timeouts
	cfg = oauth.Config{Route: r.RouteName(), User: r.User, Flow: flow, Provider: presets[r.Type].provider,
		TokenURL: r.TokenURL, ClientID: r.ClientID, Scope: r.Scope,
		SecretFile: secret, RefreshTokenFile: r.RefreshTokenFile, ServiceAccountFile: r.ServiceAccountFile,
		Dir: filepath.Join(c.DataDir, "oauth"), RootCAs: c.secrets.roots,
		Connect: time.Duration(t.Connect), Answer: time.Duration(t.Command), Log: log}
	if flow == oauth.DeviceCode && r.Type == "microsoft365" {
		cfg.DeviceURL = strings.TrimSuffix(r.TokenURL, "/token") + "/devicecode"
	}
	return cfg, true
}

// checkLogin says what is wrong with how a route logs in.
func (c *Config) checkLogin(at string, r *RouteConfig) {
	p := presets[r.Type]
	oauthKeys := []string{"tenant", "client_id", "client_secret_file", "refresh_token_file", "service_account_file", "token_url", "scope"}
	if r.Flow == "" {
		for _, key := range oauthKeys {
			if c.doc.Has(at + "." + key) {
				c.doc.Fault(at+"."+key, "%s needs flow: how tokens are got, as in flow = %q", key, flowNames(p.flows)[0])
			}
		}
		switch {
		case !p.open && r.User == "":
			c.doc.Fault(at, "type = %q needs user: the mailbox that sends", r.Type)
		case !p.open && r.PasswordFile == "":
			c.doc.Fault(at, "type = %q needs flow, the way to log in: %s", r.Type, quoteList(flowNames(p.flows)))
		case r.User != "" && r.PasswordFile == "" && r.Auth != smtpclient.AuthExternal:
			c.doc.Fault(at+".user", "user needs password_file: a file whose first line is the password; or a flow, for OAuth2")
		case r.User == "" && r.Auth != "" && r.Auth != smtpclient.AuthExternal:
			c.doc.Fault(at+".auth", "auth needs user: the name to log in with")
		}
		return
	}
	c.oneOf(at+".flow", r.Flow, flowNames(p.flows)...)
	if r.User == "" {
		c.doc.Fault(at, "flow = %q needs user: the mailbox that sends", relay.Clip(r.Flow))
	}
	if r.PasswordFile != "" {
		c.doc.Fault(at+".password_file", "password_file and flow exclude each other: with a flow there is no password")
	}
	if r.Type == "microsoft365" && r.Tenant == "" && !c.doc.Has(at+".token_url") {
		c.doc.Fault(at, `type = "microsoft365" needs tenant: the Directory (tenant) ID in Entra`)
	} else if strings.ContainsAny(r.Tenant, "/?#% \t\r\n\\") {
		c.doc.Fault(at+".tenant", "tenant %q is neither an ID nor a domain", relay.Clip(r.Tenant))
	}
	if r.Type != "microsoft365" && r.Tenant != "" {
		c.doc.Fault(at+".tenant", `tenant is for type = "microsoft365"`)
	}
	if !slices.Contains(p.flows, oauth.Flow(r.Flow)) {
		return
	}
	whole := *r
	whole.User = cmp.Or(r.User, "user") // that it is missing has been said
	cfg, _ := c.login(&whole, nil)
	for _, f := range cfg.Validate() {
		if f.Key == "token_url" && r.Type == "microsoft365" && !c.doc.Has(at+".token_url") {
			continue // it is made of tenant, of which all has been said
		}
		c.report(at, f)
	}
}

func flowNames(flows []oauth.Flow) []string {
	var names []string
	for _, f := range flows {
		names = append(names, string(f))
	}
	return names
}

// checkSecrets looks whether the files of logins can be read.
func (c *Config) checkSecrets() {
	for i, r := range c.Routes {
		for key, file := range map[string]string{"client_secret_file": r.ClientSecretFile,
			"refresh_token_file": r.RefreshTokenFile, "service_account_file": r.ServiceAccountFile} {
			if file == "" {
				continue
			}
			if _, err := readSecret(file); err != nil {
				c.doc.Fault(fmt.Sprintf("route[%d].%s", i, key), "%s: %v", key, err)
			}
		}
	}
}

// Logins are the sources of the secrets that may change while the relay runs,
// by the name of their route.
type Logins map[string]*oauth.Source

// Logins makes a source for each route that has one, and gives it to its route
// in cfg. Of old, those of the configuration before, a source stays where nothing that
// concerns it is another. The caller closes them. before and old may be nil.
func (c *Config) Logins(cfg *mx.Config, log *slog.Logger, before *Config, old Logins) (Logins, error) {
	all := Logins{}
	for i := range c.Routes {
		o, ok := c.login(&c.Routes[i], log)
		if !ok {
			continue
		}
		s := old[o.Route]
		if s == nil || !c.sameLogin(before, &c.Routes[i]) {
			o.Dial = resolvingDial(cfg.Resolver, c.Delivery.IP)
			var err error
			if s, err = oauth.NewSource(o); err != nil {
				all.CloseBut(old)
				return nil, fmt.Errorf("route %q: %w", o.Route, err)
			}
		}
		all[o.Route] = s
		cfg.Routes[i].Credential = s
	}
	return all, nil
}

// sameLogin says whether r logs in as it did in the configuration before.
func (c *Config) sameLogin(before *Config, r *RouteConfig) bool {
	i := slices.IndexFunc(before.Routes, func(o RouteConfig) bool { return o.RouteName() == r.RouteName() })
	return i >= 0 && reflect.DeepEqual(before.Routes[i], *r) && reflect.DeepEqual(before.DNS, c.DNS) &&
		reflect.DeepEqual(before.Delivery, c.Delivery) && before.DataDir == c.DataDir
}

// Close closes all of them.
func (l Logins) Close() { l.CloseBut(nil) }

// CloseBut closes those that kept has not.
func (l Logins) CloseBut(kept Logins) {
	for route, s := range l {
		if kept[route] != s {
			s.Close()
		}
	}
}

// resolvingDial connects by name through our own resolver, as mail does.
func resolvingDial(lookup hosts.Lookup, ip string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		var d net.Dialer
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		if _, err := netip.ParseAddr(host); err == nil || host == "localhost" || lookup == nil {
			return d.DialContext(ctx, network, addr)
		}
		found, err := lookup.LookupAddrs(ctx, host, ip)
		if err != nil {
			return nil, &net.DNSError{Name: host, Err: err.Error()}
		}
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return nil, err
		}
		var errs []error
		for _, a := range found.Records {
			nc, err := d.DialContext(ctx, network, netip.AddrPortFrom(a, uint16(n)).String())
			if err == nil {
				return nc, nil
			}
			errs = append(errs, err)
		}
		return nil, errors.Join(errs...)
	}
}

// SecretFile is where the secret of a route's flow is kept, and what it is
// called; "" for the device code flow.
func (c *Config) SecretFile(name string) (file, what string) {
	for i := range c.Routes {
		r := &c.Routes[i]
		if r.RouteName() != name {
			continue
		}
		switch oauth.Flow(r.Flow) {
		case "":
			return r.PasswordFile, "password of " + r.User
		case oauth.ClientCredentials:
			return r.ClientSecretFile, "client secret (its Value)"
		case oauth.RefreshToken:
			return r.RefreshTokenFile, "refresh token"
		case oauth.ServiceAccount:
			return r.ServiceAccountFile, "JSON key of the service account"
		}
	}
	return "", ""
}
