package migrate

import (
	"net/netip"
	"slices"
	"strings"
)

// leave is how the mail of a transport leaves: by which version of IP, from which
// addresses of this machine, and with which name. What is empty is not said.
type leave struct {
	ip, ipWhere     string
	addresses       []string
	where           string
	ehlo, ehloWhere string
}

const noEHLO = "dawk says `hostname` in EHLO; another name goes with an address in a [[source]]"

// leave reads it from the settings of a transport.
func (m *migration) leave(set settings) (l leave) {
	_, l.ipWhere, _ = set.written("inet_protocols")
	switch four, six := set.families(); {
	case four && !six:
		l.ip = "4"
	case six && !four:
		l.ip = "6"
	}
	for _, name := range []string{"smtp_bind_address", "smtp_bind_address6"} {
		v, at, _ := set.written(name)
		if a, err := netip.ParseAddr(strings.Trim(v, "[]")); err == nil && !a.IsUnspecified() {
			l.addresses = append(l.addresses, a.String())
			l.where = at
		}
	}
	helo, at, _ := set.written("smtp_helo_name")
	if helo == "" {
		helo, at, _ = set.written("myhostname")
	}
	if helo != m.get("myhostname") {
		l.ehlo, l.ehloWhere = helo, at
	}
	return l
}

// source writes a [[source]] once, and gives its name.
func (m *migration) source(name string, from leave) string {
	for _, s := range m.sections {
		if s.header == "[[source]]" && strings.HasPrefix(s.keys[0], "name = "+literal(name)+" ") {
			return name
		}
	}
	l := m.section("[[source]]")
	l.set("name", name, "what `source` calls it")
	l.set("addresses", from.addresses, from.where)
	if from.ehlo != "" {
		l.set("ehlo", from.ehlo, from.ehloWhere)
	}
	return name
}

// leaving writes into a route what its transport does another way than [delivery].
func (m *migration) leaving(l *section, s service, set settings, r rule) {
	own, all := m.leave(set), m.leaves
	switch {
	case own.ip == all.ip:
	case own.ip == "":
		l.set("ip", "both", own.ipWhere)
	default:
		l.set("ip", own.ip, own.ipWhere)
	}
	switch same := slices.Equal(own.addresses, all.addresses); {
	case same && own.ehlo == all.ehlo:
	case len(own.addresses) > 0:
		l.set("source", []string{m.source(s.name, own)}, own.where)
	case !same:
		m.item(r.where, s.name, "this transport has no address of its own, and its mail leaves from those of [delivery]; write a [[source]] with the address that it should have")
	default:
		m.item(own.ehloWhere, own.ehlo, noEHLO)
	}
}
