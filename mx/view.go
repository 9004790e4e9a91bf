package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// What a delivery would see, for people: [Transport.Explain] and
// [Transport.Survey] look with the same eyes as [Transport.Deliver], and
// change nothing by it.

// Destination is where the mail of one recipient would go now, and why.
type Destination struct {
	Domain     string             `json:"domain,omitempty"`      // the recipients'; "" where a single host was asked about
	Route      int                `json:"route"`                 // index in Config.Routes; -1: none matches
	RouteName  string             `json:"route_name,omitempty"`  // "" without a route
	ByMX       bool               `json:"by_mx"`                 // not by `via`
	ImplicitMX bool               `json:"implicit_mx,omitempty"` // the domain has no MX record: it is its own host (RFC 5321 §5.1)
	Secure     bool               `json:"dnssec"`                // the MX answer was authentic
	Recipients int                `json:"recipients"`            // at most, in one transaction
	Sources    []SourceView       `json:"sources,omitempty"`     // one of which it would leave from; none: the system chooses
	Trouble    []relay.Reply      `json:"trouble,omitempty"`     // why there are no hosts at all
	STS        *tlspolicy.STSView `json:"mta_sts,omitempty"`     // nil: not looked at
	Hosts      []HostView         `json:"hosts,omitempty"`       // in the order in which they are tried
}

// HostView is one host of a Destination.
type HostView struct {
	Host        string      `json:"host"`
	Port        uint16      `json:"port"`
	ImplicitTLS bool        `json:"implicit_tls,omitempty"`
	LMTP        bool        `json:"lmtp,omitempty"`
	Socket      string      `json:"socket,omitempty"`   // path of a unix socket, then there is no host
	Provider    string      `json:"provider,omitempty"` // who runs it, whose limits it shares; "" with `via`
	Preference  int         `json:"preference"`
	Alias       string      `json:"alias,omitempty"` // the name that its addresses stand at, if another
	Secure      bool        `json:"dnssec"`          // its addresses are authentic
	Addrs       []AddrView  `json:"addresses,omitempty"`
	TLS         TLSView     `json:"tls"`
	Trouble     relay.Reply `json:"trouble,omitzero"` // why it is not used now

	dane   *tlspolicy.DANE
	sts    *tlspolicy.STSPolicy
	domain string
}

// String is "mx.example.org:25", or the path of a socket.
func (h *HostView) String() string {
	if h.Socket != "" {
		return "unix:" + h.Socket
	}
	return net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
}

// SourceView is one source that mail may leave from.
type SourceView struct {
	Name  string     `json:"name"`
	Addr4 netip.Addr `json:"ipv4,omitzero"`
	Addr6 netip.Addr `json:"ipv6,omitzero"`
	EHLO  string     `json:"ehlo"`
	Share int        `json:"share"` // of the mail, in percent
}

// sourceViews are the pool of a route, or the default one.
func (t *Transport) sourceViews(r *compiled) []SourceView {
	pool, sum := t.cfg.Pool, 0
	if r != nil && len(r.Sources) > 0 {
		pool = r.Sources
	}
	for _, name := range pool {
		sum += max(t.source(name).Weight, 1)
	}
	var all []SourceView
	for _, name := range pool {
		s := t.source(name)
		all = append(all, SourceView{Name: s.Name, Addr4: s.Addr4, Addr6: s.Addr6, EHLO: t.ehlo(policy{source: s}), Share: 100 * max(s.Weight, 1) / sum})
	}
	return all
}

// AddrView is one address of a host.
type AddrView struct {
	Addr    netip.Addr `json:"address"`
	Refused string     `json:"refused,omitempty"` // why it is not dialled; "": it is
}

// TLSView is what a session with a host must fulfil.
type TLSView struct {
	Level string     `json:"level"` // of ParseLevel, or "dane": as verified, by TLSA records
	By    string     `json:"by"`    // who set it: "configuration", or as relay.Result.TLSPolicy
	Why   string     `json:"why"`
	TLSA  []TLSAView `json:"tlsa,omitempty"`
}

// TLSAView is one TLSA record.
type TLSAView struct {
	Record string `json:"record"`
	Use    string `json:"use"` // "usable", or why it is not
}

// Failures are why hosts are not used that should be.
func (d *Destination) Failures() []relay.Reply {
	all := slices.Clone(d.Trouble)
	for i := range d.Hosts {
		if bad := d.Hosts[i].Trouble; !bad.IsZero() {
			all = append(all, bad)
		}
	}
	return all
}

// Reply is the verdict if no host is left to try; zero: there is one.
func (d *Destination) Reply() relay.Reply {
	for i := range d.Hosts {
		if len(d.Trouble) == 0 && d.Hosts[i].Trouble.IsZero() {
			return relay.Reply{}
		}
	}
	return summary(d.Failures())
}

// destination looks a recipient's domain, or the hosts of a route, up as a
// delivery under pol does.
func (t *Transport) destination(ctx context.Context, r *compiled, pol policy, domain string) Destination {
	d := Destination{Domain: domain, Route: -1, ByMX: r == nil || len(r.Via) == 0, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(r)}
	if r != nil {
		d.Route, d.RouteName = slices.Index(t.routes, r), r.Name
		if r.RecipientsPerMessage > 0 {
			d.Recipients = r.RecipientsPerMessage
		}
	}
	var hosts []*host
	switch a, isLiteral := relay.ParseLiteral(domain); {
	case !d.ByMX:
		hosts = t.viaHosts(r)
	case isLiteral:
		hosts = []*host{t.literalHost(a, t.family(r))}
	default:
		var bad relay.Reply
		if hosts, bad = t.mxHosts(ctx, domain, t.family(r)); !bad.IsZero() {
			d.Trouble = append(d.Trouble, bad)
			return d
		}
		d.ImplicitMX = len(hosts) == 1 && hosts[0].name == domain
		d.Secure = hosts[0].domain != ""
	}
	var policy *tlspolicy.STSPolicy
	if d.ByMX && t.sts != nil && !literal(domain) {
		d.STS, policy = t.sts.View(ctx, domain)
		if pol.Lax || pol.Level == tlspolicy.LevelOff {
			policy = nil
		}
	}
	t.viewHosts(ctx, &d, hosts, pol, policy)
	return d
}

func literal(domain string) bool { return strings.HasPrefix(domain, "[") }

// viewHosts resolves the hosts and judges each.
func (t *Transport) viewHosts(ctx context.Context, d *Destination, hosts []*host, pol policy, sts *tlspolicy.STSPolicy) {
	t.resolve(ctx, hosts)
	kept := hosts
	if d.ByMX {
		var bad relay.Reply
		if kept, bad = t.dropSelf(d.Domain, hosts); !bad.IsZero() {
			d.Trouble = append(d.Trouble, bad)
		}
	}
	of := d.Domain
	if !d.ByMX {
		of = fmt.Sprintf("route %q", d.RouteName)
	}
	for _, h := range hosts {
		v := HostView{Host: h.name, Port: h.port, Socket: h.socket, ImplicitTLS: h.implicit, LMTP: h.lmtp, Preference: h.rank, Alias: h.alias, Secure: h.secure}
		if d.ByMX {
			v.Provider = t.cfg.Shaping.Provider(h.name)
		}
		switch {
		case h.err != nil:
			v.Trouble = hostFailure(h, of)
		case !slices.Contains(kept, h):
			v.Trouble = relay.Decision(relay.CausePolicy, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"%s is this relay itself, or no better than it: mail that went there could only come back", h.name)
		}
		tg := target{Peer: smtpclient.Peer{Host: h.name, Implicit: h.implicit}, Published: tlspolicy.Published{DANE: h.dane, Domain: d.Domain, Vouched: h.vouched(d.Domain)}}
		if sts != nil && sts.Mode != tlspolicy.ModeNone {
			tg.STS = sts
		}
		raised, bad := t.Raise(pol, tg)
		if v.Trouble.IsZero() {
			v.Trouble = bad
		}
		v.TLS, v.dane, v.sts, v.domain = viewTLS(raised, tg), tg.DANE, tg.STS, tg.Domain
		t.viewAddrs(&v, h, pol.mx)
		d.Hosts = append(d.Hosts, v)
	}
}

// viewAddrs lists the addresses, with the ones that are refused and why.
func (t *Transport) viewAddrs(v *HostView, h *host, guarded bool) {
	var refused error
	for i, a := range h.addrs {
		one := AddrView{Addr: a.Unmap()}
		switch err := t.addresses.Check(netip.AddrPortFrom(one.Addr, h.port)); {
		case guarded && err != nil:
			one.Refused, refused = relay.Advised(err.Error(), relay.RemedyOf(err)), err
		case i >= maxAddrsPerHost:
			one.Refused = fmt.Sprintf("not tried: of a host's addresses the first %d are", maxAddrsPerHost)
		}
		if len(v.Addrs) < 2*maxAddrsPerHost {
			v.Addrs = append(v.Addrs, one)
		}
	}
	good := func(a AddrView) bool { return a.Refused == "" }
	if refused != nil && v.Trouble.IsZero() && !slices.ContainsFunc(v.Addrs, good) {
		v.Trouble = refusal(h.name, refused)
	}
}

// viewTLS puts a session's policy into words.
func viewTLS(p policy, tg target) TLSView {
	v := TLSView{Level: p.Level.String(), By: p.By}
	if p.DANE != nil {
		v.Level = "dane"
	}
	if v.By == "" {
		v.By = "configuration"
	}
	v.Why = p.Words(tg.Host, tg.Published)
	if tg.DANE == nil {
		return v
	}
	for i, r := range tg.DANE.Records {
		if i == maxTLSAShown {
			break
		}
		v.TLSA = append(v.TLSA, TLSAView{Record: clipText(r.String()), Use: tg.DANE.Use(r)})
	}
	return v
}

const maxTLSAShown = 20

// clipText bounds what somebody published, for a line of output.
func clipText(s string) string {
	if s = relay.Sanitize(s); len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

// Explain says where mail for one recipient of m would go now. It asks DNS and
// policy hosts, connects to nobody, and changes nothing.
func (t *Transport) Explain(ctx context.Context, m *relay.Message, to relay.Path) Destination {
	r := t.route(m, to)
	return t.destination(ctx, r, t.Policy(m, r), t.domain(to))
}
