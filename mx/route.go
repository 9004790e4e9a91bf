package mx

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"dawk/relay"
)

// Bounds of one attempt: a domain with hundreds of MX hosts, or hosts with
// hundreds of addresses, costs no more than another.
const (
	maxHosts        = 10 // looked up
	maxAddrsPerHost = 4  // listed; RFC 5321 §5.1 asks for two at least
	maxDials        = 10 // that end without a greeting
	maxSessions     = 3  // that end before the recipients were judged
)

// target is one address to try, under the name that led to it.
type target struct {
	host     string
	addr     netip.AddrPort
	implicit bool // TLS from the first octet
	rank     int  // targets of one rank are equally good; the lowest is the best

	dane *dane      // what DNS says of its certificate; nil: nothing
	sts  *stsPolicy // of the recipient's domain; nil: none

	domain string // the recipients'; "" with `via`

	recipients int // at most, in one transaction; 0: Config.RecipientsPerMessage
}

// String is "mx.example.org [192.0.2.1]:25".
func (t target) String() string {
	a := t.addr.Addr().String()
	if t.host == a {
		return net.JoinHostPort(a, strconv.Itoa(int(t.addr.Port())))
	}
	return fmt.Sprintf("%s [%s]:%d", t.host, a, t.addr.Port())
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
	implicit bool
	rank     int
	addrs    []netip.Addr
	err      error

	domain string // whose MX it is, when the way from there to the name is secure (DNSSEC); else ""
	dane   *dane
}

// planVia lists the hosts of a route, in the order written.
func (t *Transport) planVia(ctx context.Context, r *compiled) plan {
	hosts := make([]*host, 0, len(r.Via))
	for i, h := range r.Via {
		hosts = append(hosts, &host{name: h.Host, port: h.Port, implicit: h.ImplicitTLS, rank: i})
	}
	t.resolve(ctx, hosts)
	var p plan
	for _, h := range hosts {
		p.add(h, fmt.Sprintf("route %q", r.Name))
	}
	for i := range p.targets {
		p.targets[i].recipients = r.RecipientsPerMessage
	}
	return p
}

// planMX lists the hosts that take a domain's mail (RFC 5321 §5.1).
func (t *Transport) planMX(ctx context.Context, domain string) plan {
	if a, ok := relay.ParseLiteral(domain); ok {
		var p plan
		p.add(&host{name: a.String(), port: uint16(t.cfg.Port), addrs: []netip.Addr{a}}, domain)
		return p
	}
	hosts, bad := t.mxHosts(ctx, domain)
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
		p.add(h, domain)
	}
	return p
}

// mxHosts are the MX hosts by preference, equals in random order, or the
// domain itself where it has none (the implicit MX).
func (t *Transport) mxHosts(ctx context.Context, domain string) ([]*host, relay.Reply) {
	answer, err := t.cfg.Resolver.LookupMX(ctx, domain)
	var dnsErr *DNSError
	switch {
	case err == nil:
	case errors.As(err, &dnsErr) && dnsErr.Trouble == NoData:
		return []*host{{name: domain, port: uint16(t.cfg.Port), domain: ifSecure(domain, dnsErr.Secure)}}, relay.Reply{}
	case errors.As(err, &dnsErr) && dnsErr.Trouble == NXDomain:
		return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 5, Subject: 1, Detail: 2},
			"the domain %s does not exist (NXDOMAIN)", domain)
	default: // a failed lookup never means "no MX"
		return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
			"cannot look up the MX hosts of %s: %v", domain, err)
	}
	records := slices.Clone(answer.Records)
	// RFC 7505: a null MX stands alone; beside other records it means nothing.
	records = slices.DeleteFunc(records, func(m MX) bool { return m.Host == "" })
	if len(records) == 0 {
		return nil, relay.Failure(relay.StageDNS, relay.Status{Class: 5, Subject: 1, Detail: 10},
			"the domain %s accepts no mail (null MX, RFC 7505)", domain)
	}
	rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
	slices.SortStableFunc(records, func(a, b MX) int { return int(a.Preference) - int(b.Preference) })
	var hosts []*host
	for _, m := range records {
		if len(hosts) == maxHosts {
			break
		}
		if slices.ContainsFunc(hosts, func(h *host) bool { return h.name == m.Host }) {
			continue
		}
		h := &host{name: m.Host, port: uint16(t.cfg.Port), rank: int(m.Preference), domain: ifSecure(domain, answer.Secure)}
		if _, err := netip.ParseAddr(m.Host); err == nil { // RFC 1035 §3.3.9: a name it must be
			h.err = &DNSError{Name: m.Host, Type: "A", Trouble: NXDomain, Detail: "an address where a name belongs"}
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
	if h.err != nil {
		return
	}
	if a, err := netip.ParseAddr(h.name); err == nil { // of `via`
		h.addrs = []netip.Addr{a}
		return
	}
	if h.name == "localhost" { // RFC 6761 §6.3: never asked of DNS
		h.addrs = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}
		return
	}
	if _, err := relay.NormalizeDomain(h.name); err != nil {
		h.err = &DNSError{Name: h.name, Type: "A", Trouble: NXDomain, Detail: "not a host name"}
		return
	}
	answer, err := t.cfg.Resolver.LookupAddrs(ctx, h.name, t.cfg.IP)
	h.addrs, h.err = answer.Records, err
	// Without DNSSEC nobody knows whose TLSA records these are (RFC 7672 §2.2).
	if err == nil && t.cfg.DANE && h.domain != "" && answer.Secure {
		h.dane = t.daneFor(ctx, h, answer)
	}
}

func ifSecure(domain string, secure bool) string {
	if secure {
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
			self = self || t.addresses.own(netip.AddrPortFrom(a.Unmap(), h.port))
		}
		if !self {
			continue
		}
		better := slices.DeleteFunc(slices.Clone(hosts), func(o *host) bool { return o.rank >= h.rank })
		if len(better) == 0 {
			return nil, relay.Failure(relay.StageRoute, relay.Status{Class: 5, Subject: 4, Detail: 6},
				"the best MX host of %s, %s, is this relay itself: the mail would loop", domain, h.name)
		}
		return better, relay.Reply{}
	}
	return hosts, relay.Reply{}
}

// add lists a host's addresses, or says why it has none.
func (p *plan) add(h *host, of string) {
	if h.err != nil {
		p.failures = append(p.failures, hostFailure(h, of))
		return
	}
	for i, a := range h.addrs {
		if i == maxAddrsPerHost {
			break
		}
		p.targets = append(p.targets, target{host: h.name, addr: netip.AddrPortFrom(a.Unmap(), h.port), implicit: h.implicit, rank: h.rank, dane: h.dane})
	}
}

// hostFailure is the verdict on a host without addresses. It is final only if
// all hosts of the domain end so.
func hostFailure(h *host, of string) relay.Reply {
	if Temporary(h.err) {
		return relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
			"cannot look up the address of %s: %v", h.name, h.err)
	}
	status := relay.Status{Class: 5, Subject: 4, Detail: 4} // RFC 3463: unable to route
	if h.name == of {
		return relay.Failure(relay.StageDNS, status, "the domain %s has neither an MX nor an address record", of)
	}
	if strings.HasPrefix(of, "route ") {
		// Our own configuration, or a provider's slip: not the fault of the mail.
		status.Class = 4
	}
	return relay.Failure(relay.StageDNS, status, "%s, a host of %s, has no address (%v)", h.name, of, h.err)
}
