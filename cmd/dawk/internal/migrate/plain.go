package migrate

import (
	"cmp"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// plainKey is a parameter that one key of ours stands for.
type plainKey struct {
	name, section, key string
	unit               string // of a time that has none; "": the value is a number
	least              int    // smaller numbers have no counterpart
}

var plain = []plainKey{
	{"message_size_limit", "[limits]", "max_message_size", "", 64 << 10},
	{"smtpd_recipient_limit", "[limits]", "max_recipients", "", 1},
	{"smtpd_client_connection_count_limit", "[limits]", "max_connections_per_ip", "", 0},
	{"smtpd_timeout", "[limits]", "command_timeout", "s", 0},
	{"maximal_queue_lifetime", "[queue]", "max_age", "d", 0},
	{"queue_minfree", "[queue]", "min_free", "", 1},
	{"default_destination_concurrency_limit", "[delivery]", "connections_per_provider", "", 1},
	{"smtp_destination_concurrency_limit", "[delivery]", "connections_per_provider", "", 1},
	{"smtp_connect_timeout", "[delivery.timeouts]", "connect", "s", 0},
	{"smtp_helo_timeout", "[delivery.timeouts]", "greeting", "s", 0},
	{"smtp_mail_timeout", "[delivery.timeouts]", "command", "s", 0},
	{"smtp_data_init_timeout", "[delivery.timeouts]", "data", "s", 0},
	{"smtp_data_xfer_timeout", "[delivery.timeouts]", "block", "s", 0},
	{"smtp_data_done_timeout", "[delivery.timeouts]", "final_dot", "s", 0},
}

// plainKeys converts the parameters that need no thought, and those of the queue.
func (m *migration) plainKeys() error {
	if v, where, ok := m.written("myhostname"); ok {
		m.domain(m.section(""), "hostname", v, where)
	}
	for _, k := range plain {
		value, where, ok := m.written(k.name)
		if !ok || value == "" {
			continue
		}
		l := m.section(k.section)
		if k.unit != "" {
			d, known := duration(value, k.unit)
			if !known || d <= 0 {
				m.item(where, value, fmt.Sprintf("%s needs a time longer than 0; it keeps its default", k.key))
				continue
			}
			l.set(k.key, relay.Duration(d).String(), where)
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < k.least {
			m.item(where, value, fmt.Sprintf("%s needs a number of at least %d; it keeps its default", k.key, k.least))
			continue
		}
		l.set(k.key, n, where)
	}
	m.queueTimes()
	return nil
}

// domain sets a key that must be a name in DNS.
func (m *migration) domain(l *section, key, value, where string) {
	if _, err := relay.NormalizeDomain(value); err != nil {
		m.item(where, value, "this is not the name of a host; write "+key+" by hand")
		return
	}
	l.set(key, value, where)
}

func (m *migration) queueTimes() {
	if v, where, ok := m.written("delay_warning_time"); ok {
		d, known := duration(v, "h")
		age, _ := duration(m.get("maximal_queue_lifetime"), "d")
		switch {
		case !known:
			m.item(where, v, "this is no time; write delay_notice in [queue]")
		case d == 0:
			m.section("[queue]").set("delay_notice", "0", where)
		case age > 0 && d >= age:
			m.item(where, v, "delay_notice must be shorter than max_age; it keeps its default")
		default:
			m.section("[queue]").set("delay_notice", relay.Duration(d).String(), where)
		}
	}
	first, from, ok1 := m.written("minimal_backoff_time")
	last, to, ok2 := m.written("maximal_backoff_time")
	if !ok1 && !ok2 {
		return
	}
	least, _ := duration(first, "s")
	most, _ := duration(last, "s")
	if !ok1 {
		least, from = 300*time.Second, from+", 300s"
	}
	if !ok2 {
		most, to = 4000*time.Second, to+", 4000s"
	}
	if least <= 0 || most < least {
		m.item(from, first, "retry needs times longer than 0; it keeps its default")
		return
	}
	var steps []string
	for d := least; d < most && len(steps) < 12; d *= 2 { // Postfix waits as long as a message is old
		steps = append(steps, relay.Duration(d).String())
	}
	m.section("[queue]").set("retry", append(steps, relay.Duration(most).String()), from+"; "+to)
}

// duration reads a time of Postfix: 300s, 4h, 5d, 1w, or a number of units.
func duration(value, unit string) (time.Duration, bool) {
	value = strings.TrimSpace(value)
	if n := len(value); n > 0 && strings.IndexByte("smhdw", value[n-1]) >= 0 {
		value, unit = value[:n-1], value[n-1:]
	}
	n, err := strconv.Atoi(value)
	units := map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour, "w": 7 * 24 * time.Hour}
	if err != nil || n < 0 || n > 1_000_000 {
		return 0, false
	}
	return time.Duration(n) * units[unit], true
}

// certificates converts the pair that smtpd shows.
func (m *migration) certificates() error {
	var cert, key, where, keyWhere string
	if chain, at, _ := m.written("smtpd_tls_chain_files"); chain != "" {
		files := list(chain) // the key of each chain stands before its certificates, in the same file or in one before
		cert, where, keyWhere = cmp.Or(firstPEM(files, "CERTIFICATE"), files[0]), at, at
		key = cmp.Or(firstPEM(files, "PRIVATE KEY"), files[0])
	} else {
		cert, where, _ = m.written("smtpd_tls_cert_file")
		var ok bool
		key, keyWhere, ok = m.written("smtpd_tls_key_file")
		if !ok || key == "" {
			key, keyWhere = cert, where
		}
	}
	switch {
	case cert == "" || cert == "none" || !m.tls:
	case strings.Contains(cert, "ssl-cert-snakeoil"):
		m.note("%s is not a certificate that anybody trusts; dawk makes one of its own like that.", cert)
	case !readable(cert) || !readable(key):
		m.item(where, cert, "this pair cannot be read here; dawk makes a certificate of its own until [tls] names one")
	default:
		l := m.section("[tls]")
		l.set("certificate", cert, where)
		l.set("key", key, keyWhere)
	}
	for _, name := range []string{"smtpd_tls_mandatory_protocols", "smtpd_tls_protocols"} {
		if v, where, ok := m.written(name); ok && strings.Contains(strings.ToLower(v), ">=tlsv1.3") {
			for _, s := range m.sections {
				if s.header == "[[listener]]" && !slices.ContainsFunc(s.keys, func(k string) bool { return strings.HasPrefix(k, `tls = "off"`) }) {
					s.set("min_tls", "1.3", where)
				}
			}
		}
	}
	return nil
}

// firstPEM is the first of the files that has a block of this kind; "": none can be read.
func firstPEM(files []string, kind string) string {
	i := slices.IndexFunc(files, func(path string) bool {
		data, err := os.ReadFile(path)
		for err == nil {
			var block *pem.Block
			if block, data = pem.Decode(data); block == nil {
				break
			}
			if strings.HasSuffix(block.Type, kind) {
				return true
			}
		}
		return false
	})
	if i < 0 {
		return ""
	}
	return files[i]
}

// delivery converts how mail leaves.
func (m *migration) delivery() error {
	l := m.section("[delivery]")
	by, _ := m.transport("smtp")
	set := m.with(by)
	level, where := m.globalLevel(set)
	m.deliveryTLS = level
	if level != "" {
		l.set("tls", level, where)
	}
	m.leaves = m.leave(set)
	if m.leaves.ip != "" {
		l.set("ip", m.leaves.ip, m.leaves.ipWhere)
	}
	if v, where, ok := m.written("smtp_address_preference"); ok && v != "any" {
		m.item(where, v, "dawk tries both families; ip = \"4\" or \"6\" in [delivery] uses one alone")
	}
	if ca, where, ok := m.written("smtp_tls_CAfile"); ok && ca != "" && !systemRoots[ca] {
		if readable(ca) {
			l.set("ca_file", ca, where)
		} else {
			m.item(where, ca, "this file cannot be read here; write ca_file in [delivery] when it is in place")
		}
	}
	if dir, where, ok := m.written("smtp_tls_CApath"); ok && dir != "" && dir != "/etc/ssl/certs" {
		m.item(where, dir, "dawk reads one PEM file: put the certificates of this folder into one, and name it as ca_file in [delivery]")
	}
	if v, where, _ := m.written("smtp_fallback_relay"); v != "" && m.get("relayhost") == "" {
		m.item(where, v, "dawk has no second way for mail that goes by MX; write a [[route]] for what must go there")
	}
	switch {
	case len(m.leaves.addresses) > 0:
		l.set("source", []string{m.source("postfix", m.leaves)}, m.leaves.where)
	case m.leaves.ehlo != "":
		m.item(m.leaves.ehloWhere, m.leaves.ehlo, noEHLO)
	}
	return nil
}

// systemRoots are the bundles of authorities that Go knows by itself.
var systemRoots = map[string]bool{"/etc/ssl/certs/ca-certificates.crt": true, "/etc/pki/tls/certs/ca-bundle.crt": true, "/etc/ssl/cert.pem": true, "/etc/ssl/ca-bundle.pem": true}
