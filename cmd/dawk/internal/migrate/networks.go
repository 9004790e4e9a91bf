package migrate

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/submission"
)

// networks are those of mynetworks: what is trusted without its exceptions, and
// never more than that. Exceptions hold wherever they stand in the list.
func (m *migration) networks(s settings) (found []netip.Prefix, where string, err error) {
	value, where, written := s.written("mynetworks")
	if !written {
		if style := s.get("mynetworks_style"); style != "host" && !m.onlyThisMachine() {
			m.item("mynetworks", "mynetworks_style = "+style, "the networks of the machine's interfaces are not known here, so only the machine itself is trusted; write the networks that may send into trusted_networks")
		}
		return loopback(), "mynetworks_style", nil
	}
	var except []netip.Prefix
	if err := m.collect(value, where, &found, &except); err != nil {
		return nil, where, err
	}
	return excluding(m.acceptable(found, where), except), where, nil // in this order: parts of the internet are no better
}

// excluding is what of all is in none of the networks in except.
func excluding(all, except []netip.Prefix) []netip.Prefix {
	for _, x := range except {
		var rest []netip.Prefix
		for _, n := range all {
			rest = append(rest, without(n, x)...)
		}
		all = rest
	}
	return all
}

// onlyThisMachine says whether nobody else can connect.
func (m *migration) onlyThisMachine() bool {
	return !slices.ContainsFunc(list(m.get("inet_interfaces")), func(h string) bool {
		a, err := netip.ParseAddr(strings.Trim(h, "[]"))
		return h != "loopback-only" && h != "localhost" && (err != nil || !a.IsLoopback())
	})
}

func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// collect reads a list of networks: addresses, /files and maps.
func (m *migration) collect(value, where string, found, except *[]netip.Prefix) error {
	for _, word := range list(value) {
		if err := m.collectWord(word, where, found, except); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) collectWord(word, where string, found, except *[]netip.Prefix) error {
	if m.depth++; m.depth > maxDepth {
		return fmt.Errorf("%s: %q leads to itself; remove the line that names its own file, and try again", where, relay.Clip(word))
	}
	defer func() { m.depth-- }()
	text, excepted := strings.CutPrefix(word, "!")
	switch {
	case strings.HasPrefix(text, "/"):
		data, err := m.read(text)
		if err != nil {
			return m.unreadable(text, where, err)
		}
		for _, l := range logicalLines(data) {
			key, _, _ := textEntry(l.text)
			if excepted {
				key = "!" + key
			}
			if err := m.collectWord(key, fmt.Sprintf("%s:%d", filepath.Base(text), l.line), found, except); err != nil {
				return err
			}
		}
		return nil
	case strings.Contains(text, ":/"):
		return m.collectMap(text, where, excepted, found, except)
	}
	n, err := network(text)
	switch {
	case err != nil && excepted:
		return fmt.Errorf("%s: the exception %q cannot be read, so nobody can be trusted; write it as a network, and try again", where, relay.Clip(word))
	case err != nil:
		m.item(where, word, "this is not a network, so it is left out; write it into trusted_networks as an address or a network")
	case excepted:
		*except = append(*except, n)
	default:
		if !slices.Contains(*found, n) {
			*found = append(*found, n)
		}
	}
	return nil
}

// collectMap reads a map of mynetworks. Postfix trusts whatever is found there; nobody
// who writes REJECT means it.
func (m *migration) collectMap(spec, where string, excepted bool, found, except *[]netip.Prefix) error {
	all, err := m.lookup(spec, where)
	if err != nil {
		return err
	}
	for _, e := range all {
		n, err := accessNetwork(e.key)
		switch out := refuses(e.value) || excepted; {
		case err != nil && out:
			return fmt.Errorf("%s: the exception %q cannot be read, so nobody can be trusted; write it as a network, and try again", e.where, relay.Clip(e.key))
		case err != nil:
			m.item(e.where, e.key, "this is not a network, so it is left out; write it into trusted_networks as an address or a network")
		case out:
			*except = append(*except, n)
		case !slices.Contains(*found, n):
			*found = append(*found, n)
		}
	}
	return nil
}

// network reads 192.0.2.0/24, 192.0.2.1, [2001:db8::]/32 and [::1].
func network(text string) (netip.Prefix, error) {
	text = strings.NewReplacer("[", "", "]", "").Replace(text)
	if !strings.Contains(text, "/") {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		return a.Unmap().Prefix(a.Unmap().BitLen())
	}
	n, err := netip.ParsePrefix(text)
	if err == nil && n.Addr().Is4In6() && n.Bits() >= 96 { // IPv4 networks in IPv6 form, as Debian writes loopback
		n = netip.PrefixFrom(n.Addr().Unmap(), n.Bits()-96)
	}
	if err == nil && n != n.Masked() {
		err = fmt.Errorf("%s has bits behind its mask", text)
	}
	return n, err
}

// without is n but for x, as few networks as that takes.
func without(n, x netip.Prefix) []netip.Prefix {
	switch {
	case !n.Overlaps(x):
		return []netip.Prefix{n}
	case x.Bits() <= n.Bits():
		return nil
	}
	low := netip.PrefixFrom(n.Addr(), n.Bits()+1)
	b := n.Addr().AsSlice()
	b[n.Bits()/8] |= 0x80 >> (n.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	return append(without(low, x), without(netip.PrefixFrom(a, n.Bits()+1), x)...)
}

// acceptable leaves out the networks that dawk would not trust: they make an open relay.
func (m *migration) acceptable(all []netip.Prefix, where string) (kept []netip.Prefix) {
	for _, n := range all {
		l := submission.Listener{Address: "127.0.0.1:25", TLS: "off", Auth: "off", MinTLS: "1.2", ReceivedClient: "hidden", TrustedNetworks: []netip.Prefix{n}}
		faults := l.Validate()
		if len(faults) == 0 {
			kept = append(kept, n)
			continue
		}
		m.item(where, n.String(), "dawk does not trust it, because "+faults[0].Error()+"; name the networks that may send")
	}
	return kept
}
