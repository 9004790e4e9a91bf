package dial

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// AddressPolicy decides which addresses may be dialled for names that strangers control: MX hosts,
// address literals, policy hosts. It looks at the address being dialled, never at a name, so DNS
// cannot get around it.
type AddressPolicy struct {
	Allow []netip.Prefix   // exceptions; not for our own listeners
	Own   []netip.AddrPort // our listeners; an unspecified address stands for all interfaces
}

// RefusedError says why an address is not dialled.
type RefusedError struct {
	Addr netip.Addr
	Kind string // "a loopback address" …
	Self bool   // it is a listener of our own
}

func (e *RefusedError) Error() string {
	if e.Self {
		return fmt.Sprintf("%s is our own listener: the mail would loop", e.Addr)
	}
	return fmt.Sprintf("%s is %s, to which mail by MX is refused", e.Addr, e.Kind)
}

// Remedy says how to allow mail to that address.
func (e *RefusedError) Remedy() string {
	if e.Self {
		return ""
	}
	return "if mail is to go there, put its network into delivery.allow_networks"
}

// refused are the networks of this machine and of its site. Documentation ranges are not among
// them: nothing can be reached there.
var refused = []struct {
	prefix netip.Prefix
	kind   string
}{
	{netip.MustParsePrefix("127.0.0.0/8"), "a loopback address"},
	{netip.MustParsePrefix("::1/128"), "a loopback address"},
	{netip.MustParsePrefix("0.0.0.0/8"), "an unspecified address"}, // Linux takes all of 0/8 for itself on connect
	{netip.MustParsePrefix("::/128"), "an unspecified address"},
	{netip.MustParsePrefix("10.0.0.0/8"), "a private address"}, // RFC 1918
	{netip.MustParsePrefix("172.16.0.0/12"), "a private address"},
	{netip.MustParsePrefix("192.168.0.0/16"), "a private address"},
	{netip.MustParsePrefix("fc00::/7"), "a private address"},      // RFC 4193
	{netip.MustParsePrefix("fec0::/10"), "a private address"},     // RFC 3879, deprecated
	{netip.MustParsePrefix("100.64.0.0/10"), "a carrier address"}, // RFC 6598
	{netip.MustParsePrefix("169.254.0.0/16"), "a link-local address"},
	{netip.MustParsePrefix("fe80::/10"), "a link-local address"},
	{netip.MustParsePrefix("224.0.0.0/4"), "a multicast address"},
	{netip.MustParsePrefix("ff00::/8"), "a multicast address"},
	{netip.MustParsePrefix("255.255.255.255/32"), "a broadcast address"},
	{netip.MustParsePrefix("240.0.0.0/4"), "a reserved address"},                   // RFC 1112 §4
	{netip.MustParsePrefix("198.18.0.0/15"), "an address for benchmarks"},          // RFC 2544: some sites use it as a private one
	{netip.MustParsePrefix("2002::/16"), "a 6to4 address"},                         // RFC 3056: a router here would unwrap it
	{netip.MustParsePrefix("2001::/32"), "a Teredo address"},                       // RFC 4380
	{netip.MustParsePrefix("64:ff9b:1::/48"), "an address of a local translator"},  // RFC 8215: the site chooses where the IPv4 address is in it
	{netip.MustParsePrefix("::ffff:0:0:0/96"), "an address of a local translator"}, // RFC 2765
}

var (
	nat64    = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052: a translator would unwrap the IPv4 address
	v4compat = netip.MustParsePrefix("::/96")        // RFC 4291 §2.5.5.1, deprecated
)

// Check is nil or a *RefusedError.
func (p AddressPolicy) Check(a netip.AddrPort) error {
	addr := a.Addr().Unmap()
	if p.IsOwn(netip.AddrPortFrom(addr, a.Port())) {
		return &RefusedError{Addr: addr, Self: true}
	}
	if slices.ContainsFunc(p.Allow, func(n netip.Prefix) bool { return unmapPrefix(n).Contains(addr) }) {
		return nil
	}
	inner := addr
	if nat64.Contains(addr) || v4compat.Contains(addr) && addr != netip.IPv6Loopback() {
		b := addr.As16()
		inner = netip.AddrFrom4([4]byte(b[12:]))
	}
	for _, r := range refused {
		if r.prefix.Contains(inner) || r.prefix.Contains(addr) {
			return &RefusedError{Addr: addr, Kind: r.kind}
		}
	}
	return nil
}

// IsOwn says whether a is one of our listeners.
func (p AddressPolicy) IsOwn(a netip.AddrPort) bool {
	anyInterface := false
	for _, o := range p.Own {
		if o.Port() != a.Port() {
			continue
		}
		if o.Addr().Unmap() == a.Addr() {
			return true
		}
		anyInterface = anyInterface || o.Addr().IsUnspecified()
	}
	if !anyInterface {
		return false
	}
	if a.Addr().IsLoopback() || a.Addr().IsUnspecified() {
		return true
	}
	// The addresses are read each time, since they may change while we run; this is only needed if our
	// listeners use the port of MX hosts.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(addrs, func(i net.Addr) bool {
		n, ok := i.(*net.IPNet)
		if !ok {
			return false
		}
		ip, ok := netip.AddrFromSlice(n.IP)
		return ok && ip.Unmap() == a.Addr()
	})
}

func unmapPrefix(p netip.Prefix) netip.Prefix {
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p
}
