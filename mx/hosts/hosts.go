package hosts

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

	"dawk/mx/dial"
	"dawk/mx/dns"
	"dawk/mx/nexthop"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// A domain with hundreds of MX hosts, or hosts with hundreds of addresses, costs
// no more than another.
const (
	maxHosts        = 10 // looked up
	MaxAddrsPerHost = 4  // listed; RFC 5321 §5.1 asks for two at least
)

// Finder looks hosts up.
type Finder struct {
	Resolver  Lookup
	Secured   tlspolicy.SecuredLookup // for DANE; nil: none
	Hostname  string                  // ours
	Port      uint16                  // of MX hosts
	IP        string                  // "4", "6" or "both": the addresses of whoever asks for no family of their own
	Addresses dial.AddressPolicy      // which are our own, and which networks are
}

// Lookup is what a Finder asks of DNS; *dns.Resolver is the one in use. Errors
// are *dns.Error.
type Lookup interface {
	LookupMX(ctx context.Context, domain string) (dns.Answer[dns.MX], error)
	LookupAddrs(ctx context.Context, host, ip string) (dns.Answer[netip.Addr], error)
}

// Target is one address to try, with what is known of its host.
type Target struct {
	smtpclient.Peer
	tlspolicy.Published
	Rank int // targets of one rank are equally good; the lowest is the best

	Recipients int // at most, in one transaction; 0: as many as the configuration allows

	Provider string // who runs the host; "" for hosts of a route
	Rule     shaping.Rule
	Account  string // whose connections its are counted with: those of its provider, or of the first route to its mailbox; "": nobody's
}

// Plan is where mail may go now: addresses, best first, and why hosts that
// should be among them are not.
type Plan struct {
	Targets  []Target
	Failures []relay.Reply
}

// Host is a name with its addresses or the reason why there are none.
type Host struct {
	Name     string
	Port     uint16
	Socket   string
	Implicit bool
	LMTP     bool
	Rank     int
	IP       string // restricts addresses; "" that of the Finder
	Addrs    []netip.Addr
	Err      error

	Domain string // whose MX it is, when the way from there to the name is secure (DNSSEC); else ""
	Doubt  string // whose MX it is, when nobody knows whether the way is secure; else ""
	DANE   *tlspolicy.DANE

	Alias  string // the name that its addresses stand at, if another
	Secure bool   // its addresses are (DNSSEC)
}

// Via are the hosts of a route, in the order written.
func (f *Finder) Via(hops []nexthop.Hop, ip string) []*Host {
	hosts := make([]*Host, 0, len(hops))
	for i, h := range hops {
		hosts = append(hosts, &Host{Name: h.Host, Port: h.Port, Socket: h.Socket, Implicit: h.ImplicitTLS, LMTP: h.LMTP, Rank: i, IP: ip})
	}
	return hosts
}

// Literal is the host of mail to user@[address].
func (f *Finder) Literal(a netip.Addr, ip string) *Host {
	h := &Host{Name: a.String(), Port: f.Port, Addrs: []netip.Addr{a}}
	if !inFamily(a, ip) {
		h.Err = dns.LeftOut(h.Name, ip)
	}
	return h
}

// inFamily says whether ip, as in Finder.IP, lets mail go to a.
func inFamily(a netip.Addr, ip string) bool {
	return ip != "4" && ip != "6" || (ip == "4") == a.Unmap().Is4()
}

// PlanVia lists the addresses of the hosts of a route, which failures name.
func (f *Finder) PlanVia(ctx context.Context, hops []nexthop.Hop, ip, route string) (p Plan) {
	hosts := f.Via(hops, ip)
	f.Resolve(ctx, hosts)
	for _, h := range hosts {
		p.add(h, fmt.Sprintf("route %q", route), false)
	}
	return p
}

// PlanMX lists the hosts that take a domain's mail (RFC 5321 §5.1), with their
// addresses of a family.
func (f *Finder) PlanMX(ctx context.Context, domain, ip string) Plan {
	if a, ok := relay.ParseLiteral(domain); ok {
		var p Plan
		p.add(f.Literal(a, ip), domain, true)
		return p
	}
	hosts, bad := f.MX(ctx, domain, ip)
	if !bad.IsZero() {
		return Plan{Failures: []relay.Reply{bad}}
	}
	f.Resolve(ctx, hosts)
	hosts, bad = f.DropSelf(domain, hosts)
	if !bad.IsZero() {
		return Plan{Failures: []relay.Reply{bad}}
	}
	var p Plan
	for _, h := range hosts {
		p.add(h, domain, true)
	}
	return p
}

// MX are the MX hosts by preference, equals in random order, or the
// domain itself where it has none (the implicit MX).
func (f *Finder) MX(ctx context.Context, domain, ip string) ([]*Host, relay.Reply) {
	answer, err := f.Resolver.LookupMX(ctx, domain)
	var dnsErr *dns.Error
	switch {
	case err == nil:
	case errors.As(err, &dnsErr) && dnsErr.Trouble == dns.NoData:
		return []*Host{{Name: domain, Port: f.Port, IP: ip, Domain: named(domain, dnsErr.Secure), Doubt: named(domain, dnsErr.Doubt)}}, relay.Reply{}
	case errors.As(err, &dnsErr) && dnsErr.Trouble == dns.NXDomain:
		return f.denied(ctx, domain, ip, dnsErr.Secure)
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
	var hosts []*Host
	for _, m := range records {
		if len(hosts) == maxHosts {
			break
		}
		if slices.ContainsFunc(hosts, func(h *Host) bool { return h.Name == m.Host }) {
			continue
		}
		h := &Host{Name: m.Host, Port: f.Port, Rank: int(m.Preference), IP: ip, Domain: named(domain, answer.Secure), Doubt: named(domain, answer.Doubt)}
		if _, err := netip.ParseAddr(m.Host); err == nil { // RFC 1035 §3.3.9: a name it must be
			h.Err = &dns.Error{Name: m.Host, Type: "A", Trouble: dns.NXDomain, Detail: "an address where a name belongs"}
		}
		hosts = append(hosts, h)
	}
	return hosts, relay.Reply{}
}

// Resolve finds the addresses of all hosts at once.
func (f *Finder) Resolve(ctx context.Context, hosts []*Host) {
	var wg sync.WaitGroup
	for i, h := range hosts {
		if i == len(hosts)-1 {
			f.resolve(ctx, h) // the last, often the only one, needs no goroutine
			break
		}
		wg.Go(func() { f.resolve(ctx, h) })
	}
	wg.Wait()
}

func (f *Finder) resolve(ctx context.Context, h *Host) {
	if h.Err != nil || h.Socket != "" {
		return
	}
	if a, err := netip.ParseAddr(h.Name); err == nil { // of `via`
		h.Addrs = []netip.Addr{a}
		return
	}
	if h.Name == "localhost" { // RFC 6761 §6.3: never asked of DNS
		h.Addrs = slices.DeleteFunc([]netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, func(a netip.Addr) bool { return !inFamily(a, cmp.Or(h.IP, f.IP)) })
		return
	}
	if _, err := relay.NormalizeDomain(h.Name); err != nil {
		h.Err = &dns.Error{Name: h.Name, Type: "A", Trouble: dns.NXDomain, Detail: "not a host name"}
		return
	}
	answer, err := f.Resolver.LookupAddrs(ctx, h.Name, cmp.Or(h.IP, f.IP))
	h.Addrs, h.Err = answer.Records, err
	h.Secure = err == nil && answer.Secure
	if answer.Name != h.Name {
		h.Alias = answer.Name
	}
	if of := cmp.Or(h.Domain, h.Doubt); err == nil && f.Secured != nil && of != "" {
		h.DANE = tlspolicy.LookupDANE(ctx, f.Secured, h.Name, h.Port, of, answer)
	}
}

func named(domain string, so bool) string {
	if so {
		return domain
	}
	return ""
}

// DropSelf drops ourselves and all hosts that are no better: giving mail to
// them could only bring it back (RFC 5321 §5.1).
func (f *Finder) DropSelf(domain string, hosts []*Host) ([]*Host, relay.Reply) {
	for _, h := range hosts {
		self := strings.EqualFold(h.Name, f.Hostname)
		for _, a := range h.Addrs {
			self = self || f.Addresses.IsOwn(netip.AddrPortFrom(a.Unmap(), h.Port))
		}
		if !self {
			continue
		}
		better := slices.DeleteFunc(slices.Clone(hosts), func(o *Host) bool { return o.Rank >= h.Rank })
		if len(better) == 0 {
			return nil, relay.Decision(relay.CausePolicy, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"the best MX host of %s, %s, is this relay itself: the mail would loop", domain, h.Name)
		}
		return better, relay.Reply{}
	}
	return hosts, relay.Reply{}
}

// add lists a host's addresses, or says why it has none.
func (p *Plan) add(h *Host, of string, byMX bool) {
	if h.Err != nil {
		p.Failures = append(p.Failures, h.Failure(of, byMX))
		return
	}
	tg := Target{Peer: smtpclient.Peer{Host: h.Name, Implicit: h.Implicit, LMTP: h.LMTP}, Rank: h.Rank, Published: tlspolicy.Published{DANE: h.DANE, Vouched: h.Vouched(of)}}
	if h.Socket != "" {
		tg.Host, tg.Socket = "localhost", h.Socket
		p.Targets = append(p.Targets, tg)
	}
	for i, a := range h.Addrs {
		if i == MaxAddrsPerHost {
			break
		}
		tg.Addr = netip.AddrPortFrom(a.Unmap(), h.Port)
		p.Targets = append(p.Targets, tg)
	}
}

// Vouched says whether nobody but the domain itself can have named the host.
func (h *Host) Vouched(domain string) bool {
	return h.Domain != "" || h.Name == domain || strings.HasPrefix(domain, "[")
}

// Failure is the verdict on a host without addresses. It is final only if
// all hosts of the domain end so, for want of the family of `ip`, too, as with
// Postfix and inet_protocols = ipv4: waiting would not bring it, and the reply
// names the setting. It is never final for the hosts of a route: those are our
// own configuration, or a provider's slip, and not the fault of the mail.
func (h *Host) Failure(of string, byMX bool) relay.Reply {
	if dns.Temporary(h.Err) {
		return relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
			"cannot look up the address of %s: %v", h.Name, h.Err)
	}
	status := relay.Status{Class: 5, Subject: 4, Detail: 4} // RFC 3463: unable to route
	if h.Name == of {
		var e *dns.Error
		if errors.As(h.Err, &e) && e.Detail != "" {
			return relay.Failure(relay.StageDNS, status, "the domain %s has no MX record, and no address that can be used (%v)", of, h.Err)
		}
		return relay.Failure(relay.StageDNS, status, "the domain %s has neither an MX nor an address record", of)
	}
	if !byMX {
		status.Class = 4
	}
	return relay.Failure(relay.StageDNS, status, "%s, a host of %s, has no address (%v)", h.Name, of, h.Err)
}

// denied is for a domain whose MX records do not exist because the name does
// not. Without proof the address is asked for: the resolver of a container
// network denies MX for names whose address it knows.
func (f *Finder) denied(ctx context.Context, domain, ip string, proven bool) ([]*Host, relay.Reply) {
	if !proven {
		answer, err := f.Resolver.LookupAddrs(ctx, domain, "both") // whether it exists is no matter of our family
		within := func(a netip.Addr) bool {
			return slices.ContainsFunc(f.Addresses.Allow, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
		}
		switch {
		case err == nil && !slices.ContainsFunc(answer.Records, func(a netip.Addr) bool { return !within(a) }):
			return []*Host{{Name: domain, Port: f.Port, IP: ip}}, relay.Reply{}
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
