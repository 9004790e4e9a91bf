package mx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx/dial"
	"dawk/mx/smtpclient"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// What a delivery would see, for people: [Transport.Explain] and
// [Transport.Survey] look with the same eyes as [Transport.Deliver], and
// change nothing by it.

// sourceViews are the pool of a route, or the default one.
func (t *Transport) sourceViews(r *compiled) []survey.SourceView {
	pool, sum := t.cfg.Pool, 0
	if r != nil && len(r.Sources) > 0 {
		pool = r.Sources
	}
	for _, name := range pool {
		sum += max(t.source(name).Weight, 1)
	}
	var all []survey.SourceView
	for _, name := range pool {
		s := t.source(name)
		all = append(all, survey.SourceView{Name: s.Name, Addr4: s.Addr4, Addr6: s.Addr6, EHLO: t.ehlo(policy{source: s}), Share: 100 * max(s.Weight, 1) / sum})
	}
	return all
}

// destination looks a recipient's domain, or the hosts of a route, up as a
// delivery under pol does.
func (t *Transport) destination(ctx context.Context, r *compiled, pol policy, domain string) survey.Destination {
	d := survey.Destination{Domain: domain, Route: -1, ByMX: r == nil || len(r.Via) == 0, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(r)}
	if d.Route = slices.Index(t.routes, r); d.Route >= 0 {
		d.RouteName = r.Name
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
func (t *Transport) viewHosts(ctx context.Context, d *survey.Destination, hosts []*host, pol policy, sts *tlspolicy.STSPolicy) {
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
		v := survey.HostView{Host: h.name, Port: h.port, Socket: h.socket, ImplicitTLS: h.implicit, LMTP: h.lmtp, Preference: h.rank, Alias: h.alias, Secure: h.secure}
		if d.ByMX {
			v.Provider = t.cfg.Shaping.Provider(h.name)
		}
		switch {
		case h.err != nil:
			v.Trouble = hostFailure(h, of, d.ByMX)
		case !slices.Contains(kept, h):
			v.Trouble = relay.Decision(relay.CausePolicy, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"%s is this relay itself, or no better than it: mail that went there could only come back", h.name)
		}
		tg := target{Peer: smtpclient.Peer{Host: h.name, Implicit: h.implicit}, Published: tlspolicy.Published{DANE: h.dane, Domain: d.Domain, Vouched: h.vouched(d.Domain)}}
		if sts != nil && sts.Mode != tlspolicy.ModeNone {
			tg.STS = sts
		}
		raised, bad := t.raise(pol, tg)
		if v.Trouble.IsZero() {
			v.Trouble = bad
		}
		v.TLS, v.Known = survey.ViewTLS(raised.Demand, tg.Host, tg.Published), tg.Published
		t.viewAddrs(&v, h, pol.mx)
		d.Hosts = append(d.Hosts, v)
	}
}

// viewAddrs lists the addresses, with the ones that are refused and why.
func (t *Transport) viewAddrs(v *survey.HostView, h *host, guarded bool) {
	var refused error
	for i, a := range h.addrs {
		one := survey.AddrView{Addr: a.Unmap()}
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
	good := func(a survey.AddrView) bool { return a.Refused == "" }
	if refused != nil && v.Trouble.IsZero() && !slices.ContainsFunc(v.Addrs, good) {
		v.Trouble = dial.Refusal(h.name, refused)
	}
}

// Explain says where mail for one recipient of m would go now. It asks DNS and
// policy hosts, connects to nobody, and changes nothing.
func (t *Transport) Explain(ctx context.Context, m *relay.Message, to relay.Path) survey.Destination {
	r, others := t.ways(m, to)
	d := t.destination(ctx, r, t.policy(m, r), t.domain(to))
	for _, o := range others {
		if o != nil {
			d.Otherwise = append(d.Otherwise, o.Name)
		}
	}
	return d
}
