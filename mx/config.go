package mx

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/nexthop"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/limits"
	"dawk/relay/replies"
	"dawk/relay/tlsrpt"
)

// What a Config that says nothing has.
const (
	DefaultPort      = 25
	DefaultHoldProbe = 30 * time.Second
)

// Hop is a next hop of `via`.
type Hop = nexthop.Hop

// ParseHop is nexthop.Parse.
func ParseHop(s string, login bool) (Hop, error) { return nexthop.Parse(s, login) }

// Config is what a Transport needs. Port and IP are checked by who made it. The zero value of each field has a
// default, but for Hostname and Resolver.
type Config struct {
	Hostname string // our name in EHLO; A-labels
	Port     int    // of MX hosts; 0: DefaultPort
	// AllowNetworks are prefixes to which delivery by MX is allowed although
	// it would be refused: see AddressPolicy.
	AllowNetworks []netip.Prefix
	TLS           tlspolicy.Level // LevelDefault: opportunistic
	IP            string          // "4", "6" or "both"; "": both
	Sources       []dial.Source   // that routes and Pool name
	Pool          []string        // names of the Sources of mail without a route's own; empty: what the system chooses
	RootCAs       *x509.CertPool  // nil: the system's
	Timeouts      smtpclient.Timeouts
	Routes        []Route          // first match wins
	Own           []netip.AddrPort // our listeners: mail never goes there by MX

	IdleTimeout           time.Duration // of a connection in the pool; 0: 10 s, below 0: no reuse
	MessagesPerConnection int           // 0: 50
	RecipientsPerMessage  int           // in one transaction; 0: 100 (RFC 5321 §4.5.3.1.8)

	// ReturnPath is the reverse-path of a message for one of its recipients, an
	// index into its list, which then gets a transaction of its own; null: that of
	// the message. nil: every message keeps its own.
	ReturnPath func(m *relay.Message, recipient int) relay.Path

	Shaping *shaping.Shaping // nil: the shipped rules
	// Share is how many of a provider's connections this machine may have now, where several
	// share them; 0: none. nil: all.
	Share func(provider string, connections int) int
	// Together counts what mailboxes send together with other machines; nil: nobody else sends.
	Together limits.Shared

	// HoldProbe is the least time between logins of a route that is held; it
	// must be shorter than the first retry step. 0: DefaultHoldProbe.
	HoldProbe time.Duration
	// OnHold is told when a route is held for trouble with its account, and when
	// it is free again. It must not block or call the Transport. nil: nobody.
	OnHold func(route string, held bool, why relay.Reply)

	// NoticeRoute takes all notices of ours: the name of a route with `via`, or
	// NoticesByMX. "": see Transport.ways.
	NoticeRoute string
	// OwnAddress is what notices of ours are sent as at a smart host that takes
	// no mail without a sender and knows no mailbox of ours; null: nothing.
	OwnAddress relay.Path
	// Sign makes the header fields that sign a message whose content was changed
	// for a route; nil: none.
	Sign func(route string, m *relay.Message, content relay.Content) ([]byte, error)
	// BudgetFile is where what mailboxes have sent is kept; "": in memory alone.
	BudgetFile string

	// DANE and MTASTS let the domains of recipients raise the level for their
	// MX hosts (RFC 7672, RFC 8461), unless it is LevelOff. They need a
	// Resolver that is a SecuredLookup, as *Resolver is.
	DANE, MTASTS bool
	PolicyDir    string // where MTA-STS policies are kept; "": in memory alone
	// OnTLS is told what each session with an MX host showed about its TLS. It
	// must not block or call the Transport. nil: nobody.
	OnTLS func(tlsrpt.Session)

	// SevenBit converts the content of a message for hosts without 8BITMIME (RFC
	// 6152 §3); the Transport closes what it gives. Its error is relay.ErrNotSevenBit, or
	// temporary trouble. nil: such mail is returned.
	SevenBit func(*relay.Message, relay.Content) (relay.Content, error)

	Resolver hosts.Lookup
	// Dial connects to an address "ip:port", or to the path of a "unix" socket,
	// where no Source demands a local address; nil: a net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	Log  *slog.Logger // debugging only; nil: none
}

// Route sends what matches all its conditions another way than by MX at the
// default level. Empty conditions match all.
//
// To and From hold domains ("example.com", which does not match its
// subdomains; "*.example.com", which matches only them), mailboxes, or "*";
// From also "<>", the null reverse-path. Identity is for
// relay.Message.SubmittedBy.
type Route struct {
	Name     string
	To       []string
	From     []string
	Identity []string
	Via      []Hop           // in order of preference, looked up by address only; empty: by MX, with TLS as below
	TLS      tlspolicy.Level // LevelDefault: Config.TLS
	IP       string          // "4", "6" or "both"; "": Config.IP
	Sources  []string        // names of Config.Sources; empty: Config.Pool
	User     string
	Password string

	Auth       string                // the mechanism of the login; AuthAuto: what the host offers
	Credential smtpclient.Credential // in place of Password; nil: none
	Token      bool                  // Credential gives OAuth2 access tokens
	Provider   replies.Provider
	Budget     shaping.Budget
	Limits     shaping.Rule // of the hosts in Via; zero values: those of Budget, or of any provider
	// RecipientsPerMessage is Config.RecipientsPerMessage for this route; 0: that.
	RecipientsPerMessage int
	// Certificate is ours, for hosts that know their clients by it; nil: none.
	Certificate func() (*tls.Certificate, error)

	// SendAs are the addresses, as in From, that the mailbox User may send as
	// besides itself. SendAsKnown: those are all; else nobody knows.
	SendAs      []string
	SendAsKnown bool
	Rewrite     Rewrite // of From; needs a User that is a mailbox
}

// Known says whether the host knows us: by a login, by our certificate, or by
// our address at a provider that says so.
func (r *Route) Known() bool {
	return r.User != "" || r.Certificate != nil || r.Provider != replies.ProviderOther
}

// LogsIn says whether AUTH is said; EXTERNAL needs no name for that.
func (r *Route) LogsIn() bool { return r.User != "" || r.Auth == smtpclient.AuthExternal }

// Validate reports everything that is wrong with c.
func (c Config) Validate() (faults relay.Faults) {
	if _, err := relay.NormalizeDomain(c.Hostname); err != nil {
		faults.Add("hostname", "hostname: %v", err)
	}
	if _, ok := c.Resolver.(tlspolicy.SecuredLookup); (c.DANE || c.MTASTS) && c.Resolver != nil && !ok {
		faults.Add("dane", "DANE and MTA-STS need a resolver that knows TXT and TLSA records")
	}
	c.validateSources(&faults)
	names := map[string]bool{}
	for i, r := range c.Routes {
		name := r.name(i)
		var own relay.Faults
		if names[name] {
			own.Add("name", "another route has this name; give one of them a `name` of its own")
		}
		names[name] = true
		faults.Within(fmt.Sprintf("route %q", name), append(own, c.ValidateRoute(r)...))
	}
	return faults
}

func validIP(s string) bool { return slices.Contains([]string{"", "4", "6", "both"}, s) }

// ValidateRoute is Validate for one route. A fault in a list names its place.
func (c Config) ValidateRoute(r Route) relay.Faults {
	_, faults := compileRoute(r)
	if !validIP(r.IP) {
		faults.Add("ip", `ip: %q is not one of "4", "6", "both"`, r.IP)
	}
	c.validatePool(&faults, r.Sources)
	if r.Password != "" && r.User == "" {
		faults.Add("user", "it has a password but no `user`")
	}
	if r.LogsIn() && len(r.Via) == 0 {
		faults.Add("user", "a login needs `via`: an MX host has no account of ours")
	}
	switch {
	case !smtpclient.ValidAuth(r.Auth):
		faults.Add("auth", "auth %q is unknown: it is one of plain, login, scram-sha-256, external, xoauth2, oauthbearer", r.Auth)
	case r.Token && r.Auth != smtpclient.AuthAuto && !smtpclient.TokenMechanism(r.Auth):
		faults.Add("auth", `auth = %q takes a password, but the route has a flow, which gets tokens: use "xoauth2" or "oauthbearer"`, r.Auth)
	case !r.Token && smtpclient.TokenMechanism(r.Auth):
		faults.Add("auth", "auth = %q needs a token: set `flow`", r.Auth)
	}
	level := c.level(r)
	for i, h := range r.Via {
		key := fmt.Sprintf("via[%d]", i)
		if h.Socket == "" && (h.Host == "" || h.Port == 0) {
			faults.Add(key, "via %q has no host or no port", h.String())
		}
		if h.LMTP != r.Via[0].LMTP {
			faults.Add(key, "via %q: a route leads to SMTP servers or to LMTP servers, not to both: what one has taken is on its way, what the other has taken is delivered", h.String())
		}
		if h.ImplicitTLS && level == tlspolicy.LevelOff {
			faults.Add(key, `via %q is TLS, but tls = "off"`, h.String())
		}
		if r.LogsIn() && level != tlspolicy.LevelVerified && !h.Loopback() {
			what := "a password"
			if r.User == "" {
				what = "a login"
			}
			faults.Add("tls", `%s would go to %s over tls = %q, to whoever answers: set tls = "verified"`, what, h.Host, level)
		}
	}
	return faults
}

// level is the route's own, or the default.
func (c Config) level(r Route) tlspolicy.Level {
	for _, l := range []tlspolicy.Level{r.TLS, c.TLS} {
		if l != tlspolicy.LevelDefault {
			return l
		}
	}
	return tlspolicy.LevelOpportunistic
}

// name is the route's name, or the one that commands call it by when it has
// none: its user, else its first `to`.
func (r Route) name(i int) string {
	switch {
	case r.Name != "":
		return r.Name
	case r.User != "":
		return r.User
	case len(r.To) > 0:
		return r.To[0]
	}
	return "route " + strconv.Itoa(i+1)
}

// WithDefaults fills in what was left out, for NewTransport.
func (c Config) WithDefaults() Config {
	c.Timeouts = c.Timeouts.WithDefaults()
	if c.Port == 0 {
		c.Port = DefaultPort
	}
	if c.TLS == tlspolicy.LevelDefault {
		c.TLS = tlspolicy.LevelOpportunistic
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = 10 * time.Second
	}
	if c.MessagesPerConnection <= 0 {
		c.MessagesPerConnection = 50
	}
	if c.RecipientsPerMessage <= 0 {
		c.RecipientsPerMessage = 100
	}
	if c.Shaping == nil {
		c.Shaping, _ = shaping.New(0, nil) // a test checks the shipped rules
	}
	if c.Share == nil {
		c.Share = func(_ string, connections int) int { return connections }
	}
	if c.HoldProbe <= 0 {
		c.HoldProbe = DefaultHoldProbe
	}
	if c.OnTLS == nil {
		c.OnTLS = func(tlsrpt.Session) {}
	}
	if c.OnHold == nil {
		c.OnHold = func(string, bool, relay.Reply) {}
	}
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
