package migrate

import (
	"net/netip"
	"slices"
	"strings"
)

// restrictionLists are those that decide about a client, in Postfix's order.
var restrictionLists = []string{"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions", "smtpd_relay_restrictions", "smtpd_recipient_restrictions"}

// deciding says whether a restriction with a map or a server can turn away a client
// that a later permit would let in. What looks only at recipients or at logins cannot.
func deciding(word string) bool {
	return strings.HasPrefix(word, "check_") && !strings.HasPrefix(word, "check_recipient_") && word != "check_sasl_access" && word != "check_etrn_access"
}

// aboutClients are the restrictions without a map that turn away clients which a later
// permit would let in: by their name in DNS, or because they speak without TLS.
var aboutClients = map[string]bool{
	"reject_unknown_client_hostname": true, "reject_unknown_client": true, "reject_unknown_reverse_client_hostname": true,
	"reject_unknown_forward_client_hostname": true, "reject_plaintext_session": true,
}

// relaying says who may relay by the restrictions of a service.
type relaying struct {
	networks bool           // those of mynetworks
	maybe    bool           // they may but for checks that are not understood
	login    bool           // whoever has logged in
	refused  []netip.Prefix // of the networks
}

// relaying reads the restriction lists as smtpd does: in each the first that
// matches decides, and all lists must let a client pass. It never says yes where
// something that is not understood stands before the permit.
func (m *migration) relaying(s settings) (r relaying, err error) {
	r = relaying{networks: true, maybe: true, login: true}
	var some passes // of the two lists that can let somebody relay
	for _, name := range restrictionLists {
		_, where, _ := s.written(name)
		value := s.get(name)
		p := passes{open: true}
		if err := m.walk(&p, list(value), where, &r); err != nil {
			return r, err
		}
		r.networks = r.networks && (p.networks || p.open && !p.unsure)
		r.maybe = r.maybe && (p.maybe || p.open)
		r.login = r.login && (p.login || p.open)
		if name == "smtpd_relay_restrictions" || name == "smtpd_recipient_restrictions" {
			some = passes{networks: some.networks || p.networks, maybe: some.maybe || p.maybe, login: some.login || p.login}
		}
	}
	if s.yes("smtpd_tls_req_ccert") {
		r.networks = false // some may have no certificate
		m.item(m.where("smtpd_tls_req_ccert", "master.cf: smtpd_tls_req_ccert"), "yes", mayRefuse)
	}
	r.networks = r.networks && some.networks
	r.maybe = r.maybe && some.maybe
	r.login = r.login && some.login && s.yes("smtpd_sasl_auth_enable")
	return r, nil
}

// passes says whom a list lets through.
type passes struct {
	networks, maybe, login bool
	open                   bool // its end was reached: whoever it did not name passes
	unsure                 bool // something before decides that is not understood
}

func (m *migration) walk(p *passes, words []string, where string, r *relaying) error {
	for i := 0; i < len(words); i++ {
		switch word := strings.ToLower(words[i]); {
		case word == "permit_mynetworks":
			p.networks, p.maybe = p.networks || !p.unsure, true
		case word == "permit_sasl_authenticated":
			p.login = true // users are made by hand: nobody gets in who was not let in
		case word == "permit":
			p.networks, p.maybe, p.login, p.open = p.networks || !p.unsure, true, true, false
			return nil
		case word == "reject" || word == "defer" || word == "reject_unauth_destination" || word == "defer_unauth_destination":
			p.open = false
			return nil
		case word == "permit_tls_clientcerts" || word == "permit_tls_all_clientcerts":
			m.item(where, word, "dawk logs in users by certificates: client_ca in the [[listener]] and certificates in users.toml")
		case deciding(word) && i+1 < len(words):
			i++
			ok, err := m.access(word, words[i], where, p.networks, r)
			if err != nil {
				return err
			}
			p.unsure = p.unsure || !ok && !p.networks
		case aboutClients[word]:
			if !p.networks {
				p.unsure = true
				m.item(where, word, mayRefuse)
			}
		case strings.HasPrefix(word, "check_") && i+1 < len(words):
			i++
			m.item(where, word+" "+words[i], noAccess)
		case strings.HasSuffix(word, "_sender_login_mismatch"):
			m.item(where, word, "whom somebody may send as is `senders`: of each [[user]], and of a [[listener]] for whoever needs no login")
		case strings.HasPrefix(word, "reject_rbl") || strings.HasPrefix(word, "reject_rhsbl") || strings.HasPrefix(word, "permit_dnswl"):
			i++ // about strangers, whom dawk does not serve
		case strings.HasPrefix(word, "reject_") || strings.HasPrefix(word, "permit_") || word == "warn_if_reject" || word == "sleep":
		case m.has(word): // a restriction class
			value, _, _ := m.written(word)
			if err := m.walk(p, list(value), where, r); err != nil {
				return err
			}
		}
	}
	return nil
}

// access reads a map that refuses clients, unless it comes too late for those of
// mynetworks. Networks that it refuses are not trusted; ok is false where it may
// refuse others.
func (m *migration) access(word, spec, where string, late bool, r *relaying) (ok bool, err error) {
	kind, _, _ := strings.Cut(spec, ":")
	if late {
		m.item(where, word+" "+spec, noAccess)
		return true, nil
	}
	if word == "check_client_access" && !strings.Contains(databases, " "+kind+" ") && kind != "proxy" && kind != "regexp" && kind != "pcre" {
		all, err := m.lookup(spec, where)
		if err != nil {
			return false, err
		}
		ok = true
		for _, e := range all {
			n, err := accessNetwork(e.key)
			switch {
			case err == nil && refuses(e.value):
				r.refused = append(r.refused, n)
			case refuses(e.value), !letsPass(e.value):
				ok = false
			case !strings.EqualFold(e.value, "dunno"):
				m.item(e.where, e.key+" "+e.value, "dawk has no access maps; if this client may send, write it into trusted_networks")
			}
		}
		if ok {
			return true, nil
		}
	}
	m.item(where, word+" "+spec, mayRefuse)
	return false, nil
}

const mayRefuse = "it may refuse clients of mynetworks, so these are not trusted but for the machine itself; write those that may send into trusted_networks"

const noAccess = "dawk has no access maps; it serves only senders that you know"

// accessNetwork reads the key of an access map: 192.0.2 is 192.0.2.0/24 there.
func accessNetwork(key string) (netip.Prefix, error) {
	if n := strings.Count(key, "."); !strings.ContainsAny(key, "/:") && n < 3 {
		if _, err := netip.ParseAddr(key + strings.Repeat(".0", 3-n)); err == nil {
			return network(key + strings.Repeat(".0", 3-n) + "/" + [...]string{"8", "16", "24"}[n])
		}
	}
	return network(key)
}

// letsPass says whether the action of an access map turns nobody away, now or by
// restrictions that it names (access(5)).
func letsPass(action string) bool {
	word, _, _ := strings.Cut(strings.ToLower(action), " ")
	return slices.Contains([]string{"ok", "permit", "dunno", "warn", "info", "prepend", "bcc", "redirect", "filter", "defer_if_reject", "permit_mynetworks"}, word) ||
		word != "" && strings.Trim(word, "0123456789") == ""
}

// refuses says whether the action of an access map turns a client away.
func refuses(action string) bool {
	word, _, _ := strings.Cut(strings.ToLower(action), " ")
	return word == "reject" || word == "defer" || word == "defer_if_permit" || word == "discard" || word == "hold" ||
		len(word) == 3 && (word[0] == '4' || word[0] == '5')
}
