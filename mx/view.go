package mx

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/mx/smtpclient"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// What a delivery would see, for people: [Transport.Explain] and
// [Transport.Survey] look up what [Transport.Deliver] would, and change
// nothing.

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
		all = append(all, survey.SourceView{Name: s.Name, Addr4: s.Addr4, Addr6: s.Addr6, EHLO: t.opener.EHLO(session.Policy{Source: s}), Share: 100 * max(s.Weight, 1) / sum})
	}
	return all
}

// destination looks a recipient's domain, or the hosts of a route, up as a
// delivery under pol does.
func (t *Transport) destination(ctx context.Context, r *compiled, pol session.Policy, domain string) survey.Destination {
	d := survey.Destination{Domain: domain, Route: -1, ByMX: r == nil || len(r.Via) == 0, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(r)}
	if d.Route = slices.Index(t.routes, r); d.Route >= 0 {
		d.RouteName = r.Name
		if r.RecipientsPerMessage > 0 {
			d.Recipients = r.RecipientsPerMessage
		}
	}
	var found []*hosts.Host
	switch a, isLiteral := relay.ParseLiteral(domain); {
	case !d.ByMX:
		found = t.finder.Via(r.Via, t.family(r))
	case isLiteral:
		found = []*hosts.Host{t.finder.Literal(a, t.family(r))}
	default:
		var bad relay.Reply
		if found, bad = t.finder.MX(ctx, domain, t.family(r)); !bad.IsZero() {
			d.Trouble = append(d.Trouble, bad)
			return d
		}
		d.ImplicitMX = len(found) == 1 && found[0].Name == domain
		d.Secure = found[0].Domain != ""
	}
	var policy *tlspolicy.STSPolicy
	if d.ByMX && t.sts != nil && !literal(domain) {
		d.STS, policy = t.sts.View(ctx, domain)
		if pol.Lax || pol.Level == tlspolicy.LevelOff {
			policy = nil
		}
	}
	t.viewHosts(ctx, &d, found, pol, policy)
	return d
}

func literal(domain string) bool { return strings.HasPrefix(domain, "[") }

// viewHosts resolves the hosts and judges each.
func (t *Transport) viewHosts(ctx context.Context, d *survey.Destination, found []*hosts.Host, pol session.Policy, sts *tlspolicy.STSPolicy) {
	t.finder.Resolve(ctx, found)
	kept := found
	if d.ByMX {
		var bad relay.Reply
		if kept, bad = t.finder.DropSelf(d.Domain, found); !bad.IsZero() {
			d.Trouble = append(d.Trouble, bad)
		}
	}
	of := d.Domain
	if !d.ByMX {
		of = fmt.Sprintf("route %q", d.RouteName)
	}
	for _, h := range found {
		v := survey.HostView{Host: h.Name, Port: h.Port, Socket: h.Socket, ImplicitTLS: h.Implicit, LMTP: h.LMTP, Preference: h.Rank, Alias: h.Alias, Secure: h.Secure}
		if d.ByMX {
			v.Provider = t.cfg.Shaping.Provider(h.Name)
		}
		switch {
		case h.Err != nil:
			v.Trouble = h.Failure(of, d.ByMX)
		case !slices.Contains(kept, h):
			v.Trouble = relay.Decision(relay.CausePolicy, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"%s is this relay itself, or no better than it: mail that went there could only come back", h.Name)
		}
		tg := hosts.Target{Peer: smtpclient.Peer{Host: h.Name, Implicit: h.Implicit}, Published: tlspolicy.Published{DANE: h.DANE, Domain: d.Domain, Vouched: h.Vouched(d.Domain)}}
		if sts != nil && sts.Mode != tlspolicy.ModeNone {
			tg.STS = sts
		}
		raised, bad := pol.Raise(tg)
		if v.Trouble.IsZero() {
			v.Trouble = bad
		}
		v.TLS, v.Known = survey.ViewTLS(raised.Demand, tg.Host, tg.Published), tg.Published
		t.viewAddrs(&v, h, pol.MX)
		d.Hosts = append(d.Hosts, v)
	}
}

// viewAddrs lists the addresses, with the ones that are refused and why.
func (t *Transport) viewAddrs(v *survey.HostView, h *hosts.Host, guarded bool) {
	var refused error
	for i, a := range h.Addrs {
		one := survey.AddrView{Addr: a.Unmap()}
		switch err := t.opener.Addresses.Check(netip.AddrPortFrom(one.Addr, h.Port)); {
		case guarded && err != nil:
			one.Refused, one.Remedy, refused = err.Error(), relay.RemedyOf(err), err
		case i >= hosts.MaxAddrsPerHost:
			one.Refused = fmt.Sprintf("not tried: of a host's addresses the first %d are", hosts.MaxAddrsPerHost)
		}
		if len(v.Addrs) < 2*hosts.MaxAddrsPerHost {
			v.Addrs = append(v.Addrs, one)
		}
	}
	good := func(a survey.AddrView) bool { return a.Refused == "" }
	if refused != nil && v.Trouble.IsZero() && !slices.ContainsFunc(v.Addrs, good) {
		v.Trouble = dial.Refusal(h.Name, refused)
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
