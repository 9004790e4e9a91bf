package mx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"dawk/mx/dns"
	"dawk/mx/match"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Bounds of one attempt: a domain with hundreds of MX hosts, or hosts with
// hundreds of addresses, costs no more than another.
const (
	maxHosts        = 10 // looked up
	maxAddrsPerHost = 4  // listed; RFC 5321 §5.1 asks for two at least
	maxDials        = 10 // that end without a greeting
	maxSessions     = 3  // that end before the recipients were judged, or bring none of them through
	maxRepeated     = 20 // connections after which the same host gets another
)

// target is one address to try, with what is known of its host.
type target struct {
	smtpclient.Peer
	tlspolicy.Published
	rank int // targets of one rank are equally good; the lowest is the best

	recipients int // at most, in one transaction; 0: Config.RecipientsPerMessage

	provider string // who runs the host; "" with `via`
	rule     shaping.Rule

	account string // whose connections its are counted with: those of its provider, or of the first route to its mailbox; "": nobody's
	most    int    // of them
}

// plan is where mail may go now: addresses, best first, and why hosts that
// should be among them are not.
type plan struct {
	targets  []target
	failures []relay.Reply
}

// host is a name with its addresses or the reason why there are none.
type host struct {
	name     string
	port     uint16
	socket   string
	implicit bool
	lmtp     bool
	rank     int
	ip       string // restricts addresses; see Config.IP
	addrs    []netip.Addr
	err      error

	domain string // whose MX it is, when the way from there to the name is secure (DNSSEC); else ""
	doubt  string // whose MX it is, when nobody knows whether the way is secure; else ""
	dane   *tlspolicy.DANE

	alias  string // the name that its addresses stand at, if another
	secure bool   // its addresses are (DNSSEC)
}

// viaHosts are the hosts of a route, in the order written.
func (t *Transport) viaHosts(r *compiled) []*host {
	hosts := make([]*host, 0, len(r.Via))
	for i, h := range r.Via {
		hosts = append(hosts, &host{name: h.Host, port: h.Port, socket: h.Socket, implicit: h.ImplicitTLS, lmtp: h.LMTP, rank: i, ip: t.family(r)})
	}
	return hosts
}

// family restricts the addresses that mail goes to by r: see Config.IP.
func (t *Transport) family(r *compiled) string {
	if r == nil {
		return t.cfg.IP
	}
	return cmp.Or(r.IP, t.cfg.IP)
}

// literalHost is the host of mail to user@[address].
func (t *Transport) literalHost(a netip.Addr, ip string) *host {
	h := &host{name: a.String(), port: uint16(t.cfg.Port), addrs: []netip.Addr{a}}
	if !inFamily(a, ip) {
		h.err = dns.LeftOut(h.name, ip)
	}
	return h
}

// inFamily says whether ip, as in Config.IP, lets mail go to a.
func inFamily(a netip.Addr, ip string) bool {
	return ip != "4" && ip != "6" || (ip == "4") == a.Unmap().Is4()
}

// planVia lists the addresses of a route's hosts.
func (t *Transport) planVia(ctx context.Context, r *compiled) plan {
	hosts := t.viaHosts(r)
	t.resolve(ctx, hosts)
	var p plan
	for _, h := range hosts {
		p.add(h, fmt.Sprintf("route %q", r.Name), false)
	}
	for i := range p.targets {
		tg := &p.targets[i]
		tg.recipients = r.RecipientsPerMessage
		tg.account, tg.rule = r.first.destination, t.Allowance(r.first.destination)
		tg.most = tg.rule.Connections
	}
	return p
}

// planMX lists the hosts that take a domain's mail (RFC 5321 §5.1), with their
// addresses of a family.
func (t *Transport) planMX(ctx context.Context, domain, ip string) plan {
	if a, ok := relay.ParseLiteral(domain); ok {
		var p plan
		p.add(t.literalHost(a, ip), domain, true)
		return p
	}
	hosts, bad := t.mxHosts(ctx, domain, ip)
	if !bad.IsZero() {
		return plan{failures: []relay.Reply{bad}}
	}
	t.resolve(ctx, hosts)
	hosts, bad = t.dropSelf(domain, hosts)
	if !bad.IsZero() {
		return plan{failures: []relay.Reply{bad}}
	}
	var p plan
	for _, h := range hosts {
		p.add(h, domain, true)
	}
	return p
}

// mxHosts are the MX hosts by preference, equals in random order, or the
// domain itself where it has none (the implicit MX).
func (t *Transport) mxHosts(ctx context.Context, domain, ip string) ([]*host, relay.Reply) {
	answer, err := t.cfg.Resolver.LookupMX(ctx, domain)
	var dnsErr *dns.Error
	switch {
	case err == nil:
	case errors.As(err, &dnsErr) && dnsErr.Trouble == dns.NoData:
		return []*host{{name: domain, port: uint16(t.cfg.Port), ip: ip, domain: named(domain, dnsErr.Secure), doubt: named(domain, dnsErr.Doubt)}}, relay.Reply{}
	case errors.As(err, &dnsErr) && dnsErr.Trouble == dns.NXDomain:
		return t.denied(ctx, domain, ip, dnsErr.Secure)
	default: // a failed lookup never means "no MX"
		return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
			"cannot look up the MX hosts of %s: %v", domain, err)
	}
	records := slices.Clone(answer.Records)
	// RFC 7505: a null MX stands alone; beside other records it means nothing.
	records = slices.DeleteFunc(records, func(m dns.MX) bool { return m.Host == "" })
	if len(records) == 0 {
		return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 5, Subject: 1, Detail: 10},
			"the domain %s accepts no mail (null MX, RFC 7505)", domain)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b dns.MX) int { return int(a.Preference) - int(b.Preference) })
	var hosts []*host
	for _, m := range records {
		if len(hosts) == maxHosts {
			break
		}
		if slices.ContainsFunc(hosts, func(h *host) bool { return h.name == m.Host }) {
			continue
		}
		h := &host{name: m.Host, port: uint16(t.cfg.Port), rank: int(m.Preference), ip: ip, domain: named(domain, answer.Secure), doubt: named(domain, answer.Doubt)}
		if _, err := netip.ParseAddr(m.Host); err == nil { // RFC 1035 §3.3.9: a name it must be
			h.err = &dns.Error{Name: m.Host, Type: "A", Trouble: dns.NXDomain, Detail: "an address where a name belongs"}
		}
		hosts = append(hosts, h)
	}
	return hosts, relay.Reply{}
}

// resolve finds the addresses of all hosts at once.
func (t *Transport) resolve(ctx context.Context, hosts []*host) {
	var wg sync.WaitGroup
	for i, h := range hosts {
		if i == len(hosts)-1 {
			t.resolveHost(ctx, h) // the last, often the only one, needs no goroutine
			break
		}
		wg.Go(func() { t.resolveHost(ctx, h) })
	}
	wg.Wait()
}

func (t *Transport) resolveHost(ctx context.Context, h *host) {
	if h.err != nil || h.socket != "" {
		return
	}
	if a, err := netip.ParseAddr(h.name); err == nil { // of `via`
		h.addrs = []netip.Addr{a}
		return
	}
	if h.name == "localhost" { // RFC 6761 §6.3: never asked of DNS
		h.addrs = slices.DeleteFunc([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, func(a netip.Addr) bool { return !inFamily(a, cmp.Or(h.ip, t.cfg.IP)) })
		return
	}
	if _, err := relay.NormalizeDomain(h.name); err != nil {
		h.err = &dns.Error{Name: h.name, Type: "A", Trouble: dns.NXDomain, Detail: "not a host name"}
		return
	}
	answer, err := t.cfg.Resolver.LookupAddrs(ctx, h.name, cmp.Or(h.ip, t.cfg.IP))
	h.addrs, h.err = answer.Records, err
	h.secure = err == nil && answer.Secure
	if answer.Name != h.name {
		h.alias = answer.Name
	}
	if of := cmp.Or(h.domain, h.doubt); err == nil && t.cfg.DANE && of != "" {
		h.dane = tlspolicy.LookupDANE(ctx, t.secured, h.name, h.port, of, answer)
	}
}

func named(domain string, so bool) string {
	if so {
		return domain
	}
	return ""
}

// dropSelf drops ourselves and all hosts that are no better: giving mail to
// them could only bring it back (RFC 5321 §5.1).
func (t *Transport) dropSelf(domain string, hosts []*host) ([]*host, relay.Reply) {
	for _, h := range hosts {
		self := strings.EqualFold(h.name, t.cfg.Hostname)
		for _, a := range h.addrs {
			self = self || t.addresses.IsOwn(netip.AddrPortFrom(a.Unmap(), h.port))
		}
		if !self {
			continue
		}
		better := slices.DeleteFunc(slices.Clone(hosts), func(o *host) bool { return o.rank >= h.rank })
		if len(better) == 0 {
			return nil, relay.Decision(relay.CausePolicy, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"the best MX host of %s, %s, is this relay itself: the mail would loop", domain, h.name)
		}
		return better, relay.Reply{}
	}
	return hosts, relay.Reply{}
}

// add lists a host's addresses, or says why it has none.
func (p *plan) add(h *host, of string, byMX bool) {
	if h.err != nil {
		p.failures = append(p.failures, hostFailure(h, of, byMX))
		return
	}
	tg := target{Peer: smtpclient.Peer{Host: h.name, Implicit: h.implicit, LMTP: h.lmtp}, rank: h.rank, Published: tlspolicy.Published{DANE: h.dane, Vouched: h.vouched(of)}}
	if h.socket != "" {
		tg.Host, tg.Socket = "localhost", h.socket
		p.targets = append(p.targets, tg)
	}
	for i, a := range h.addrs {
		if i == maxAddrsPerHost {
			break
		}
		tg.Addr = netip.AddrPortFrom(a.Unmap(), h.port)
		p.targets = append(p.targets, tg)
	}
}

// vouched says whether nobody but the domain itself can have named the host.
func (h *host) vouched(domain string) bool {
	return h.domain != "" || h.name == domain || literal(domain)
}

// hostFailure is the verdict on a host without addresses. It is final only if
// all hosts of the domain end so, for want of the family of `ip`, too, as with
// Postfix and inet_protocols = ipv4: waiting would not bring it, and the reply
// names the setting. It is never final for the hosts of a route: those are our
// own configuration, or a provider's slip, and not the fault of the mail.
func hostFailure(h *host, of string, byMX bool) relay.Reply {
	if dns.Temporary(h.err) {
		return relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
			"cannot look up the address of %s: %v", h.name, h.err)
	}
	status := relay.Status{Class: 5, Subject: 4, Detail: 4} // RFC 3463: unable to route
	if h.name == of {
		var e *dns.Error
		if errors.As(h.err, &e) && e.Detail != "" {
			return relay.Failure(relay.StageDNS, status, "the domain %s has no MX record, and no address that can be used (%v)", of, h.err)
		}
		return relay.Failure(relay.StageDNS, status, "the domain %s has neither an MX nor an address record", of)
	}
	if !byMX {
		status.Class = 4
	}
	return relay.Failure(relay.StageDNS, status, "%s, a host of %s, has no address (%v)", h.name, of, h.err)
}

// denied is for a domain whose MX records do not exist because the name does
// not. Without proof the address is asked for: the resolver of a container
// network denies MX for names whose address it knows.
func (t *Transport) denied(ctx context.Context, domain, ip string, proven bool) ([]*host, relay.Reply) {
	if !proven {
		answer, err := t.cfg.Resolver.LookupAddrs(ctx, domain, "both") // whether it exists is no matter of our family
		within := func(a netip.Addr) bool {
			return slices.ContainsFunc(t.cfg.AllowNetworks, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
		}
		switch {
		case err == nil && !slices.ContainsFunc(answer.Records, func(a netip.Addr) bool { return !within(a) }):
			return []*host{{name: domain, port: uint16(t.cfg.Port), ip: ip}}, relay.Reply{}
		case err == nil:
			return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
				"the name server says that %s does not exist (NXDOMAIN for MX) and gives its address", domain)
		case dns.Temporary(err):
			return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3}, "cannot look up %s: %v", domain, err)
		}
	}
	return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 5, Subject: 1, Detail: 2},
		"the domain %s does not exist (NXDOMAIN)", domain)
}

// compiled is a Route with its patterns in normal form.
type compiled struct {
	Route
	destination string // of its mail, with `via`
	to, from    []match.Pattern
	sendAs      []match.Pattern
	mailbox     relay.Path // that its user is; null: its user is no address
	gate        *shaping.Gate
	budget      *shaping.Meter // never nil in a Transport
	first       *compiled      // of all routes to its mailbox; never nil in a Transport
	takes       shaping.Rule   // of the first one: the limits of all of them
}

func compileRoute(r Route) (c *compiled, faults relay.Faults) {
	c = &compiled{Route: r, destination: RoutePrefix + r.Name, mailbox: mailboxOf(r.User), gate: new(shaping.Gate)}
	for _, set := range []struct {
		key  string
		in   []string
		into *[]match.Pattern
	}{{"to", r.To, &c.to}, {"from", r.From, &c.from}, {"send_as", r.SendAs, &c.sendAs}} {
		for i, s := range set.in {
			p, err := match.Parse(s)
			if err != nil {
				faults.Add(fmt.Sprintf("%s[%d]", set.key, i), "%s: %v", set.key, err)
			}
			*set.into = append(*set.into, p)
		}
	}
	return c, faults
}

// matches says whether a recipient of m takes this route. domain is the
// recipient's, with our own for a bare postmaster.
func (c *compiled) matches(m *relay.Message, to relay.Path, domain string) bool {
	return match.Any(c.to, to, domain) && match.Any(c.from, m.From, m.From.Domain()) && m.SubmittedBy(c.Identity)
}
