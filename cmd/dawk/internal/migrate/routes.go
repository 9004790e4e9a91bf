package migrate

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx"
)

// hop is where a transport sends mail.
type hop struct {
	host, port string
	direct     bool   // in brackets: its address is looked up, never its MX
	dest       string // as it was written: maps about smart hosts have it for a key
}

// hops reads a relayhost or the nexthop of a transport: one or several of
// [host]:port, host:port, [host], inet:host:port.
func hops(value string) (all []hop) {
	for _, dest := range list(value) {
		h := hop{dest: dest, port: "25"}
		text := strings.TrimPrefix(dest, "inet:")
		if inside, after, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
			h.host, h.direct = strings.TrimPrefix(inside, "ipv6:"), true
			text = after
		} else if i := strings.LastIndexByte(text, ':'); i >= 0 {
			h.host, text = text[:i], text[i:]
		} else {
			h.host, text = text, ""
		}
		if port := strings.TrimPrefix(text, ":"); port != "" {
			h.port = portOf(port)
		}
		all = append(all, h)
	}
	return all
}

// via is the hop as [[route]] has it.
func (h hop) via(wrapped bool) string {
	host := h.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if wrapped {
		return "smtps://" + host + ":" + h.port
	}
	return host + ":" + h.port
}

func (h hop) loopback() bool {
	a, err := netip.ParseAddr(h.host)
	return h.host == "localhost" || err == nil && a.IsLoopback()
}

// rule is one line of a map that sends some mail another way.
type rule struct {
	to, from  string // as [[route]] has them; from "": any
	transport string
	nexthop   string
	sender    string // for maps of passwords: the key of a sender-dependent map
	first     bool   // of a regular expression, which Postfix tries before all domains
	where     string
}

// senders is `from` of the route; nil: any.
func (r rule) senders() []string {
	if r.from == "" || r.from == "*" {
		return nil
	}
	return []string{r.from}
}

// hops are those of a rule that are host and port; others are listed.
func (m *migration) hops(r rule) []hop {
	return slices.DeleteFunc(hops(r.nexthop), func(h hop) bool {
		_, err := mx.ParseHop(h.via(false), false)
		if err != nil && !strings.HasPrefix(r.nexthop, "unix:") {
			m.item(r.where, h.dest, err.Error())
		}
		return err != nil
	})
}

// routes makes the [[route]] sections, in the order in which Postfix asks its maps.
func (m *migration) routes() error {
	rules, err := m.transportRules()
	if err != nil {
		return err
	}
	senders, err := m.senderRules()
	if err != nil {
		return err
	}
	rules = append(rules, senders...)
	relayhost, where, _ := m.written("relayhost")
	logins, err := m.senderLogins(relayhost, senders)
	if err != nil {
		return err
	}
	rules = append(rules, logins...)
	policies, err := m.policyRules(relayhost)
	if err != nil {
		return err
	}
	rules = append(rules, policies...)
	transport, nexthop := m.defaultTransport()
	if nexthop == "" && transport == "smtp" {
		nexthop = relayhost
	} else {
		where = m.where("default_transport", where)
	}
	if nexthop != "" || transport != "smtp" && transport != "" {
		rules = append(rules, rule{to: "*", transport: transport, nexthop: nexthop, where: where})
	}
	for i, r := range rules {
		if i > 0 && rules[i-1].to == "*" && rules[i-1].from == "" {
			m.note("The routes end at %s, which takes all mail: %s was never asked.", rules[i-1].where, r.where)
			break
		}
		if err := m.route(r); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) defaultTransport() (transport, nexthop string) {
	transport, nexthop, _ = strings.Cut(m.get("default_transport"), ":")
	return transport, nexthop
}

// transportRules reads transport_maps, with the most specific lines first.
func (m *migration) transportRules() (rules []rule, err error) {
	value, where, _ := m.written("transport_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		key, ok := e.plain()
		if !ok {
			m.item(e.where, e.key+" "+e.value, "a [[route]] has no regular expressions; write its domains into `to`")
			continue
		}
		key = strings.TrimPrefix(key, "@")
		if strings.HasPrefix(key, ".") {
			key = "*" + key
		}
		transport, nexthop, _ := strings.Cut(e.value, ":")
		if transport == "" && nexthop == "" { // as if the line were not there
			if slices.ContainsFunc(entries, func(o entry) bool { return o.key == "*" || strings.HasPrefix(o.key, ".") }) {
				m.item(e.where, e.key+" "+e.value, "a [[route]] cannot pass on to the next but one; write one with the hosts of relayhost before the others")
			}
			continue
		}
		rules = append(rules, rule{to: key, transport: cmp.Or(transport, "smtp"), nexthop: nexthop, first: e.regexp, where: e.where})
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(b.specific(b.to), a.specific(a.to)) })
	return rules, nil
}

// specific orders patterns: a mailbox, a domain, what is below one, everything. Regular
// expressions are asked for the whole address, as mailboxes are (transport(5)).
func (r rule) specific(to string) int {
	switch {
	case r.first:
		return 1001
	case to == "*":
		return 0
	case strings.HasPrefix(to, "*."):
		return strings.Count(to, ".")
	case !strings.Contains(to, "@"):
		return 1000
	}
	return 1001
}

// senderRules reads sender_dependent_relayhost_maps, and the default transports.
func (m *migration) senderRules() (rules []rule, err error) {
	for _, name := range []string{"sender_dependent_default_transport_maps", "sender_dependent_relayhost_maps"} {
		value, where, _ := m.written(name)
		entries, err := m.lookups(value, where)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			key, ok := e.plain()
			switch {
			case !ok:
				m.item(e.where, e.key+" "+e.value, "a [[route]] has no regular expressions; write the senders into `from`")
				continue
			case strings.EqualFold(e.value, "dunno") || e.value == "":
				continue
			case key == "<>" || key == "*":
			case !strings.Contains(key, "@"):
				m.item(e.where, e.key+" "+e.value, "this key is neither a mailbox nor @domain; write the senders into `from`")
				continue
			}
			r := rule{to: "*", from: strings.TrimPrefix(key, "@"), transport: "smtp", nexthop: e.value, sender: key, first: e.regexp, where: e.where}
			if name == "sender_dependent_default_transport_maps" {
				r.transport, r.nexthop, _ = strings.Cut(e.value, ":")
			}
			rules = append(rules, r)
		}
	}
	slices.SortStableFunc(rules, func(a, b rule) int { return cmp.Compare(b.specific(b.from), a.specific(a.from)) })
	return rules, nil
}

// route makes a [[route]] of a rule.
func (m *migration) route(r rule) error {
	s, smtp := m.transport(r.transport)
	set := m.with(s)
	all := m.hops(r)
	if faults := (mx.Config{}).ValidateRoute(mx.Route{To: []string{r.to}, From: r.senders()}); len(faults) > 0 {
		m.item(r.where, cmp.Or(r.from, r.to), faults[0].Error())
		return nil
	}
	switch {
	case r.transport == "lmtp" && strings.HasPrefix(r.nexthop, "unix:"):
		return m.lmtpSocket(r)
	case !smtp:
		m.item(r.where, r.to+" "+r.transport+":"+r.nexthop, elsewhere(r.transport))
		if r.transport == "error" || r.transport == "retry" || r.transport == "discard" {
			m.routeSection(r, "not-sent").set("via", []string{"127.0.0.1:1"}, "nobody listens there: mail waits, and does not leave")
		}
		return nil
	case len(all) == 0 && r.nexthop != "":
		return nil // they are listed
	case len(all) == 0:
		level, where, err := m.tlsLevel(set, hop{dest: strings.TrimPrefix(r.to, "*")})
		if err != nil {
			return err
		}
		l := m.routeSection(r, r.to)
		l.set("tls", cmp.Or(level, "opportunistic"), cmp.Or(where, "no nexthop: by MX"))
		m.leaving(l, s, set, r)
		m.mxLimits(s, set, r.to)
		return nil
	}
	login, err := m.login(set, r, all)
	if err != nil {
		return err
	}
	if fallback, at, _ := set.written("smtp_fallback_relay"); fallback != "" && r.where == m.where("relayhost", "") {
		r.where += "; " + at
		all = append(all, hops(fallback)...)
	}
	if all, err = m.sameLogin(set, r, all, login); err != nil {
		return err
	}
	l := m.routeSection(r, cmp.Or(login.user, all[0].host))
	m.via(l, set, r, all)
	level, where, err := m.tlsLevel(set, all[0])
	if err != nil {
		return err
	}
	if login.user != "" && level != "verified" && !all[0].loopback() {
		level, where = "verified", "dawk gives passwords to hosts with a verified certificate only"
	}
	if level != "" {
		l.set("tls", level, where)
	}
	m.leaving(l, s, set, r)
	m.setLogin(l, set, login, all)
	m.limits(s, set, l)
	return nil
}

// via writes where a route leads.
func (m *migration) via(l *section, set settings, r rule, all []hop) {
	wrapped := set.yes("smtp_tls_wrappermode")
	var words []string
	for _, h := range all {
		if r.transport == "lmtp" {
			words = append(words, "lmtp://"+h.via(false))
		} else {
			words = append(words, h.via(wrapped))
		}
		if _, err := netip.ParseAddr(h.host); !h.direct && err != nil && r.transport != "lmtp" {
			m.item(r.where, h.dest, "without brackets Postfix sends to the MX hosts of this name; dawk connects to the host of this name itself: write the MX hosts into `via`, or check that the name is a host")
		}
	}
	l.set("via", words, r.where)
}

func (m *migration) lmtpSocket(r rule) error {
	path := strings.TrimPrefix(r.nexthop, "unix:")
	if !strings.HasPrefix(path, "/") {
		path = "/var/spool/postfix/" + path
	}
	m.routeSection(r, r.to).set("via", []string{"lmtp+unix:" + path}, r.where)
	return nil
}

// routeSection begins a [[route]] with a name that no other has.
func (m *migration) routeSection(r rule, name string) *section {
	l := m.section("[[route]]")
	name = strings.Map(func(c rune) rune {
		if c <= ' ' || c > '~' {
			return '-'
		}
		return c
	}, name[:min(len(name), 60)])
	if name == "*" {
		name = cmp.Or(strings.Join(r.senders(), ""), "all")
	}
	base := name
	for n := 2; m.names[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	m.names[name] = true
	l.set("name", name, "what commands call it")
	l.set("to", []string{r.to}, r.where)
	if from := r.senders(); from != nil {
		l.set("from", from, r.where)
	}
	return l
}

// elsewhere says what to do about mail that does not leave by SMTP.
func elsewhere(transport string) string {
	switch transport {
	case "error", "retry":
		return "dawk returns no mail by a rule: such mail waits, and comes back after max_age"
	case "discard":
		return "dawk throws no mail away: such mail waits, and comes back after max_age; a [[user]] with `redirect` sends all of its mail to one mailbox"
	case "local", "virtual":
		return "dawk has no mailboxes; write a [[route]] to the host that has them, as in via = [\"lmtp://127.0.0.1:24\"]"
	}
	return "dawk starts no programs; write a [[route]] to a host that takes this mail by SMTP or LMTP"
}
