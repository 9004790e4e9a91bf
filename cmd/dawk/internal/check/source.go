package check

import (
	"context"
	"net"
	"net/netip"
	"slices"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx/dial"
	"dawk/mx/dns"
)

// sources looks at the faces that mail goes out with: whether this machine has
// the addresses, and whether their names agree with what is said in EHLO.
func (c *checker) sources(ctx context.Context) []Finding {
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	var all []Finding
	for i := range c.cfg.Sources {
		s := c.cfg.Sources[i].Source()
		if !c.used(s.Name) {
			all = append(all, warn("source", "name it in [delivery] source or in a [[route]], or remove it", "%s is used nowhere", s.Name))
		}
		if s.EHLO == "" {
			s.EHLO = c.cfg.Hostname
		}
		for _, a := range []netip.Addr{s.Addr4, s.Addr6} {
			if a.IsValid() {
				all = append(all, c.sourceAddress(ctx, r, s, a))
			}
		}
	}
	return append(all, c.ipv6(ctx, r)...)
}

// used says whether any mail leaves from a source.
func (c *checker) used(name string) bool {
	if slices.Contains(c.cfg.Delivery.Source, name) {
		return true
	}
	return slices.ContainsFunc(c.cfg.Routes, func(r config.RouteConfig) bool { return slices.Contains(r.Source, name) })
}

func (c *checker) sourceAddress(ctx context.Context, r *dns.Resolver, s dial.Source, a netip.Addr) Finding {
	// The system knows best what it may send from: addresses that it merely
	// routes to itself count, too.
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, 0)))
	if err != nil {
		return bad("source", "give this machine the address, or correct [[source]] addresses", "%s: %s is not an address of this machine; mail that should leave from it waits", s.Name, a)
	}
	l.Close()
	if why := unroutable(a); why != "" {
		return warn("source", "compare by hand: the PTR record of the public address must be "+s.EHLO,
			"%s: %s is %s; what receivers see instead cannot be known from here", s.Name, a, why)
	}
	return c.reverse(ctx, r, "source", s.Name+": ", a, s.EHLO)
}

// reverse looks whether an address that mail leaves from is called what is
// said in EHLO, and that name leads back (RFC 1912 §2.1).
func (c *checker) reverse(ctx context.Context, r *dns.Resolver, check, prefix string, a netip.Addr, ehlo string) Finding {
	advice := "ask whoever gives you the address to set its PTR record to " + ehlo
	ptr, err := r.LookupPTR(ctx, a)
	switch {
	case dns.Temporary(err):
		return warn(check, "try again when DNS answers", "%sthe name of %s could not be tested: %v", prefix, a, err)
	case err != nil:
		return warn(check, advice, "%s%s has no name (PTR); many receivers refuse mail from there", prefix, a)
	case !slices.ContainsFunc(ptr.Records, func(n string) bool { return sameName(n, ehlo) }):
		return warn(check, advice+", or ehlo to that name", "%s%s is called %s (PTR), and says EHLO %s; many receivers refuse such mail", prefix, a, names(ptr.Records), ehlo)
	}
	addrs, err := r.LookupAddrs(ctx, ehlo, "both")
	switch {
	case dns.Temporary(err):
		return warn(check, "try again when DNS answers", "%sthe address of %s could not be tested: %v", prefix, ehlo, err)
	case err != nil || !slices.Contains(addrs.Records, a):
		return warn(check, "add an A or AAAA record for it", "%s%s is called %s (PTR), but that name does not lead back to it; many receivers refuse such mail", prefix, a, ehlo)
	}
	return good(check, "%s%s is %s, and %[3]s is %[2]s", prefix, a, ehlo)
}

// ipv6 looks at the address that the system would send from over IPv6: large
// providers refuse mail from one without a name, and take it over IPv4.
func (c *checker) ipv6(ctx context.Context, r *dns.Resolver) []Finding {
	if c.cfg.Delivery.IP == "4" || len(c.cfg.Delivery.Source) > 0 || !c.byMX() || c.outbound6 == nil {
		return nil
	}
	a := c.outbound6()
	if !a.IsValid() || unroutable(a) != "" {
		return nil
	}
	f := c.reverse(ctx, r, "ipv6", "", a, c.cfg.Hostname)
	if f.Level == LevelWarning {
		f.Advice += `; until then set [delivery] ip = "4"`
	}
	return []Finding{f}
}

// outbound6 is the address that the system would choose towards the world over
// IPv6; zero when there is no way. Nothing is sent: connecting a UDP socket
// only asks the routing table.
func outbound6() netip.Addr {
	nc, err := net.Dial("udp6", "[2001:db8::1]:25")
	if err != nil {
		return netip.Addr{}
	}
	defer nc.Close()
	a, err := netip.ParseAddrPort(nc.LocalAddr().String())
	if err != nil || a.Addr().IsLinkLocalUnicast() || a.Addr().IsLoopback() {
		return netip.Addr{}
	}
	return a.Addr()
}
