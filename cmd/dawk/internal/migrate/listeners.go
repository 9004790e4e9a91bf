package migrate

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// ports are the names that master.cf and nexthops use (services(5)).
var ports = map[string]string{"smtp": "25", "submission": "587", "submissions": "465", "smtps": "465", "urd": "465", "ssmtp": "465", "lmtp": "24"}

func portOf(name string) string {
	if p := ports[name]; p != "" {
		return p
	}
	if p, err := net.LookupPort("tcp", name); err == nil {
		return strconv.Itoa(p)
	}
	return name
}

// listeners makes a [[listener]] of each service that takes mail from programs and
// people.
func (m *migration) listeners() error {
	taken := map[string]bool{}
	made := 0
	for _, s := range m.smtpServices() {
		set := m.with(s)
		if _, filtered := s.over["content_filter"]; filtered && strings.HasPrefix(s.name, "127.0.0.1:") {
			m.item(s.where, s.name+" inet smtpd", "the way back from a content filter, which dawk does not have")
			continue
		}
		r, err := m.relaying(set)
		if err != nil {
			return err
		}
		nets, from, err := m.networks(set)
		if err != nil {
			return err
		}
		if nets = trusted(nets, r); len(nets) == 0 && !r.login {
			m.item(s.where, s.name+" inet "+s.command, "nobody may relay there: it takes mail for domains of its own, which dawk does not do")
			continue
		}
		for _, address := range m.addresses(s) {
			if other := clash(taken, address); other != "" {
				m.item(s.where, address, "the listener at "+other+" has this port already; give one of them another")
				continue
			}
			taken[address] = true
			made++
			m.listener(s, set, address, nets, from, r.login)
		}
	}
	if made == 0 {
		m.note("No service of master.cf takes mail that dawk could take: it listens on 127.0.0.1:2525, for this machine alone.")
	}
	return nil
}

// clash is an address in taken that no listener can have beside this one; "": none.
func clash(taken map[string]bool, address string) string {
	host, port, _ := net.SplitHostPort(address)
	for other := range taken {
		h, p, _ := net.SplitHostPort(other)
		if p == port && (h == host || h == "::" || host == "::" || h == "0.0.0.0" && !strings.Contains(host, ":") || host == "0.0.0.0" && !strings.Contains(h, ":")) {
			return other
		}
	}
	return ""
}

// trusted are the networks that need no login at a service.
func trusted(nets []netip.Prefix, r relaying) []netip.Prefix {
	nets = excluding(nets, r.refused)
	if !r.networks { // this machine may send anyway, by sendmail
		nets = slices.DeleteFunc(nets, func(n netip.Prefix) bool { return !n.Addr().IsLoopback() || !r.maybe })
	}
	return nets
}

func (m *migration) listener(s service, set settings, address string, nets []netip.Prefix, from string, login bool) {
	l := m.section("[[listener]]")
	l.set("address", address, s.where+": "+s.name)
	level, where, _ := set.written("smtpd_tls_security_level")
	switch {
	case level != "":
	case set.yes("smtpd_enforce_tls"):
		level, where = "encrypt", "smtpd_enforce_tls"
	case set.yes("smtpd_use_tls"):
		level, where = "may", "smtpd_use_tls"
	default:
		level, where = "none", "smtpd_tls_security_level has its default"
	}
	switch {
	case set.yes("smtpd_tls_wrappermode"):
		l.set("tls", "implicit", s.where+": smtpd_tls_wrappermode")
	case level == "none":
		l.set("tls", "off", where)
	default:
		m.tls = true
		l.set("tls", "starttls", where)
	}
	m.tls = m.tls || set.yes("smtpd_tls_wrappermode")
	if login {
		m.users = true
		l.set("auth", "required", "smtpd_sasl_auth_enable and permit_sasl_authenticated")
	} else {
		l.set("auth", "off", "no permit_sasl_authenticated with smtpd_sasl_auth_enable")
	}
	if len(nets) > 0 {
		words := make([]string, len(nets))
		for i, n := range nets {
			words[i] = n.String()
		}
		l.set("trusted_networks", words, from)
	}
	wrapped := set.yes("smtpd_tls_wrappermode")
	if level == "encrypt" && !wrapped {
		l.set("require_tls", true, where)
	}
	if only, where, _ := set.written("smtpd_tls_auth_only"); login && !wrapped && level != "encrypt" && !strings.EqualFold(only, "yes") {
		l.set("auth_without_tls", true, where+", no; better false, if all clients speak TLS")
	}
}

// addresses are those that a service listens on.
func (m *migration) addresses(s service) (all []string) {
	host, port, ok := strings.Cut(s.name, ":")
	if i := strings.LastIndexByte(s.name, ':'); i >= 0 {
		host, port = s.name[:i], s.name[i+1:]
	}
	if !ok {
		host, port = "", s.name
	}
	port = portOf(port)
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		m.item(s.where, port, "no port is called so on this machine; write a [[listener]] with its number")
		return nil
	}
	hosts := []string{strings.Trim(host, "[]")}
	if host == "" {
		hosts = list(m.get("inet_interfaces"))
	}
	four, six := m.families()
	add := func(host string) { all = append(all, host+":"+port) }
	for _, h := range hosts {
		h = strings.ToLower(strings.Trim(h, "[]"))
		a, err := netip.ParseAddr(h)
		switch {
		case h == "all" && four && six:
			add("[::]")
		case h == "all" && six:
			add("[::]")
		case h == "all":
			add("0.0.0.0")
		case h == "loopback-only" || h == "localhost":
			if four {
				add("127.0.0.1")
			}
			if six {
				add("[::1]")
			}
		case err == nil && a.Is4() && four:
			add(a.String())
		case err == nil && a.Is6() && six:
			add("[" + a.String() + "]")
		case err != nil:
			m.item(m.where("inet_interfaces", s.where), h, fmt.Sprintf("dawk listens on IP addresses; write a [[listener]] with the address of this name and port %s", port))
		}
	}
	return all
}

// families are the versions of IP that inet_protocols allows.
func (s settings) families() (four, six bool) {
	for _, p := range list(strings.ToLower(s.get("inet_protocols"))) {
		four = four || p == "all" || p == "ipv4"
		six = six || p == "all" || p == "ipv6"
	}
	return four, six
}
