package migrate

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// login is our account at a smart host.
type login struct {
	user, password string
	where          string
}

// login looks for the account of a route, as Postfix does: by sender where that is
// asked for, by host, then by nexthop as it was written.
func (m *migration) login(set settings, r rule, all []hop) (l login, err error) {
	if !set.yes("smtp_sasl_auth_enable") {
		return l, nil
	}
	value, where, _ := set.written("smtp_sasl_password_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return l, err
	}
	keys := []string{all[0].host, all[0].dest, all[0].host + ":" + all[0].port, "[" + all[0].host + "]", "[" + all[0].host + "]:" + all[0].port, "*"}
	if r.sender != "" && set.yes("smtp_sender_dependent_authentication") {
		keys = slices.Insert(keys, 0, r.sender)
	}
	for _, key := range keys {
		for _, e := range entries {
			if !strings.EqualFold(e.key, key) || e.value == "" {
				continue
			}
			m.logins[e.where+e.key] = true
			l.where = e.where
			l.user, l.password, _ = strings.Cut(e.value, ":")
			return l, nil
		}
	}
	return l, nil
}

// sameLogin leaves out the hosts behind the first where our account is another one:
// all hosts of a route hear the same password.
func (m *migration) sameLogin(set settings, r rule, all []hop, first login) (kept []hop, err error) {
	for _, h := range all {
		l, err := m.login(set, r, []hop{h})
		if err != nil {
			return nil, err
		}
		if l.user != first.user || l.password != first.password {
			m.item(r.where, h.dest, "a [[route]] logs in to all its hosts in the same way, and this one has another account or none; it is left out")
			continue
		}
		kept = append(kept, h)
	}
	return kept, nil
}

// senderLogins makes routes for senders that have an account of their own at
// relayhost (smtp_sender_dependent_authentication).
func (m *migration) senderLogins(relayhost string, done []rule) (rules []rule, err error) {
	if relayhost == "" || !m.yes("smtp_sender_dependent_authentication") {
		return nil, nil
	}
	value, where, _ := m.written("smtp_sasl_password_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		known := slices.ContainsFunc(done, func(r rule) bool { return r.sender == e.key })
		if strings.Contains(e.key, "@") && !known {
			rules = append(rules, rule{to: "*", from: strings.TrimPrefix(e.key, "@"), transport: "smtp", nexthop: relayhost, sender: e.key, where: e.where})
		}
	}
	return rules, nil
}

// setLogin writes user and password of a route; the password goes to a file of its own.
func (m *migration) setLogin(l *section, set settings, a login, all []hop) {
	if cert, where, _ := set.written("smtp_tls_cert_file"); cert != "" {
		m.clientCertificate(l, set, cert, where)
	}
	if a.user == "" {
		return
	}
	mechanisms, where, _ := set.written("smtp_sasl_mechanism_filter")
	words := list(strings.ToLower(mechanisms))
	if slices.Contains(words, "xoauth2") || slices.Contains(words, "oauthbearer") {
		m.item(where, mechanisms, "tokens are renewed by dawk itself: write type, flow and client_id into the [[route]] (docs/microsoft365.md, docs/gmail.md), then run `dawk oauth login`")
		l.comment("user = " + literal(a.user) + ", with a token: see the list at the end")
		return
	}
	if strings.TrimSpace(a.password) == "" {
		m.item(a.where, a.user, "this account has no password, so the route does not log in; write user and password_file into the [[route]]")
		return
	}
	l.set("user", a.user, a.where)
	if len(words) == 1 && slices.Contains([]string{"plain", "login", "scram-sha-256"}, words[0]) {
		l.set("auth", words[0], where)
	}
	file := strings.Map(func(c rune) rune {
		if strings.ContainsRune("/\\ :[]", c) || c <= ' ' || c > '~' {
			return '-'
		}
		return c
	}, a.user) + ".secret"
	if old, taken := m.files[file]; taken && string(old) != a.password+"\n" {
		file = fmt.Sprintf("%d-%s", len(m.files), file)
	}
	m.files[file] = []byte(a.password + "\n")
	l.set("password_file", file, a.where)
	if strings.HasSuffix(all[0].host, ".office365.com") {
		m.note("Microsoft ends logins by password at %s: docs/microsoft365.md has the way with OAuth2.", all[0].host)
	}
}

func (m *migration) clientCertificate(l *section, set settings, cert, where string) {
	key, _, ok := set.written("smtp_tls_key_file")
	if !ok {
		key = cert
	}
	if !readable(cert) || !readable(key) {
		m.item(where, cert, "this certificate cannot be read here; write client_certificate and client_key into the [[route]] when it is in place")
		return
	}
	l.set("client_certificate", cert, where)
	l.set("client_key", key, where)
}

func readable(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// levels are Postfix's levels of TLS, and the least of dawk's that promises as much.
var levels = map[string]string{"none": "off", "may": "opportunistic", "encrypt": "required", "verify": "verified", "secure": "verified", "dane": "opportunistic", "dane-only": "verified", "fingerprint": "verified", "half-dane": "opportunistic"}

// level converts a level of TLS; what has no counterpart goes to the list.
func (m *migration) level(value, where string) string {
	switch value {
	case "dane-only":
		m.item(where, value, "dawk obeys TLSA records wherever there are some; without any, \"verified\" asks for a certificate instead of refusing")
	case "fingerprint":
		m.item(where, value, "dawk compares no fingerprints; \"verified\" checks the certificate's name, and delivery.ca_file may hold its authority")
	}
	if levels[value] == "" && value != "" {
		m.item(where, value, "this level of TLS is not known; see `tls` in docs/configuration.md")
	}
	return levels[value]
}

// globalLevel is the level of a transport without a policy; "": that of delivery.tls.
func (m *migration) globalLevel(set settings) (level, where string) {
	value, where, _ := set.written("smtp_tls_security_level")
	switch {
	case value != "":
		return m.level(value, where), where
	case set.yes("smtp_enforce_tls"):
		return "required", m.where("smtp_enforce_tls", "")
	case set.yes("smtp_use_tls"):
		return "opportunistic", m.where("smtp_use_tls", "")
	}
	return "", ""
}

// tlsLevel is the level for a destination: that of smtp_tls_policy_maps, or the
// transport's own where it differs from delivery.tls.
func (m *migration) tlsLevel(set settings, h hop) (level, where string, err error) {
	value, where, _ := set.written("smtp_tls_policy_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return "", "", err
	}
	for _, key := range []string{h.dest, h.host, "[" + h.host + "]", "[" + h.host + "]:" + h.port} {
		for _, e := range entries {
			if key != "" && strings.EqualFold(e.key, key) {
				return m.policy(e), e.where, nil
			}
		}
	}
	switch level, where = m.globalLevel(set); {
	case level == m.deliveryTLS:
		return "", "", nil
	case level == "":
		return "opportunistic", "smtp_tls_security_level has its default", nil
	}
	return level, where, nil
}

// policy is the level of one line of a policy map. Its attributes have no
// counterpart but match, where it asks for the name that dawk checks.
func (m *migration) policy(e entry) string {
	words := list(e.value)
	if len(words) == 0 {
		return ""
	}
	for _, attribute := range words[1:] {
		if a := strings.ToLower(attribute); a != "match=nexthop" && a != "match=hostname" && !strings.HasPrefix(a, "ciphers=") && !strings.HasPrefix(a, "protocols=") && a != "servername=hostname" {
			m.item(e.where, e.key+" "+attribute, "dawk has no such attribute: \"verified\" checks the name of the host, and with MTA-STS or DANE what these say")
		}
	}
	return m.level(strings.ToLower(words[0]), e.where)
}

// policyRules are routes by MX for the domains of smtp_tls_policy_maps. With a
// relayhost Postfix would never ask the map for them.
func (m *migration) policyRules(relayhost string) (rules []rule, err error) {
	if relayhost != "" {
		return nil, nil
	}
	value, where, _ := m.written("smtp_tls_policy_maps")
	entries, err := m.lookups(value, where)
	for _, e := range entries {
		key, ok := e.plain()
		switch {
		case strings.HasPrefix(key, "["): // of a smart host
		case !ok || key == "*" || strings.Contains(key, ":"):
			m.item(e.where, e.key+" "+e.value, "a [[route]] names domains; write one with `to` and `tls`")
		default:
			if strings.HasPrefix(key, ".") {
				key = "*" + key
			}
			rules = append(rules, rule{to: key, transport: "smtp", where: e.where})
		}
	}
	return rules, err
}

// unusedLogins reads the maps of accounts and of TLS once more, also where no route
// asks for them, and lists the accounts that no route has.
func (m *migration) unusedLogins() error {
	value, where, _ := m.written("smtp_tls_policy_maps")
	if _, err := m.lookups(value, where); err != nil {
		return err
	}
	value, where, _ = m.written("smtp_sasl_password_maps")
	entries, err := m.lookups(value, where)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !m.logins[e.where+e.key] && e.value != "" {
			m.item(e.where, e.key, "no route leads to this host, or smtp_sasl_auth_enable is not set; the account is left out")
		}
	}
	return nil
}
