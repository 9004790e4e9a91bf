package migrate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// postfix is as much of Postfix as decides whether a client without a login relays: an
// evaluation of its own, client by client, of what the migration reads as a whole.
type postfix struct {
	mynetworks []string            // words, in order
	tables     map[string][]string // lines of cidr and hash maps
	lists      map[string][]string // restrictions by list
}

// runs says whether smtpd serves at all: without an end of relaying it refuses to.
func (p postfix) runs() bool {
	return slices.ContainsFunc(slices.Concat(p.lists["smtpd_relay_restrictions"], p.lists["smtpd_recipient_restrictions"]), func(w string) bool {
		return w == "reject" || w == "defer" || w == "reject_unauth_destination"
	})
}

// relays says whether Postfix takes mail to a foreign domain from this client.
func (p postfix) relays(client netip.Addr) bool {
	return !slices.ContainsFunc(restrictionLists, func(name string) bool { return p.list(p.lists[name], client) == "reject" })
}

func (p postfix) list(words []string, client netip.Addr) string {
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "permit_mynetworks":
			if p.inMynetworks(client) {
				return "permit"
			}
		case "permit":
			return "permit"
		case "reject", "defer", "reject_unauth_destination":
			return "reject"
		case "check_client_access":
			i++
			switch value, found := p.lookup(words[i], client); {
			case found && value == "OK":
				return "permit"
			case found && value == "REJECT":
				return "reject"
			}
		}
	}
	return "dunno"
}

func (p postfix) inMynetworks(client netip.Addr) bool {
	for _, w := range p.mynetworks {
		text, excepted := strings.CutPrefix(w, "!")
		matched := false
		if strings.Contains(text, ":/") {
			_, matched = p.lookup(text, client)
		} else {
			matched = netip.MustParsePrefix(text).Contains(client)
		}
		if matched {
			return !excepted
		}
	}
	return false
}

// lookup is cidr_table(5), and access(5) for the octets of an address.
func (p postfix) lookup(spec string, client netip.Addr) (value string, found bool) {
	kind, path, _ := strings.Cut(spec, ":")
	lines := p.tables[path]
	if kind == "cidr" {
		skip := 0
		for _, l := range lines {
			pattern, value, _ := strings.Cut(l, " ")
			switch {
			case pattern == "if" && (skip > 0 || !matches(value, client)):
				skip++
			case pattern == "if":
			case pattern == "endif":
				skip = max(skip-1, 0)
			case skip == 0 && matches(pattern, client):
				return value, true
			}
		}
		return "", false
	}
	for key := client.String(); ; {
		for _, l := range lines {
			if k, v, _ := strings.Cut(l, " "); k == key {
				return v, true
			}
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return "", false
		}
		key = key[:i]
	}
}

func matches(pattern string, client netip.Addr) bool {
	text, negated := strings.CutPrefix(pattern, "!")
	return netip.MustParsePrefix(text).Contains(client) != negated
}

// drawPostfix draws a configuration of networks that overlap.
func drawPostfix(t *rapid.T) postfix {
	p := postfix{tables: map[string][]string{}, lists: map[string][]string{}}
	network := rapid.SampledFrom([]string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "192.168.0.0/16", "192.168.7.0/24", "0.0.0.0/0"})
	not := rapid.SampledFrom([]string{"", "", "", "!"})
	action := rapid.SampledFrom([]string{"OK", "REJECT", "DUNNO"})
	for i := range 2 {
		var lines []string
		depth := 0
		for range rapid.IntRange(0, 4).Draw(t, "lines") {
			switch rapid.IntRange(0, 5).Draw(t, "line") {
			case 0:
				lines = append(lines, "if "+not.Draw(t, "not")+network.Draw(t, "network"))
				depth++
			case 1:
				if depth > 0 {
					lines = append(lines, "endif")
					depth--
				}
			default:
				lines = append(lines, not.Draw(t, "not")+network.Draw(t, "network")+" "+action.Draw(t, "action"))
			}
		}
		p.tables[fmt.Sprintf("/etc/postfix/cidr%d", i)] = append(lines, slices.Repeat([]string{"endif"}, depth)...)
	}
	for range rapid.IntRange(0, 3).Draw(t, "keys") {
		p.tables["/etc/postfix/hash"] = append(p.tables["/etc/postfix/hash"], rapid.SampledFrom([]string{"10", "10.1", "10.1.2", "10.1.2.3", "192.168"}).Draw(t, "key")+" "+action.Draw(t, "action"))
	}
	tables := rapid.SampledFrom([]string{"cidr:/etc/postfix/cidr0", "cidr:/etc/postfix/cidr1", "hash:/etc/postfix/hash"})
	for range rapid.IntRange(1, 4).Draw(t, "words") {
		word := network.Draw(t, "network")
		if rapid.IntRange(0, 3).Draw(t, "table") == 0 {
			word = tables.Draw(t, "table")
		}
		p.mynetworks = append(p.mynetworks, not.Draw(t, "not")+word)
	}
	word := rapid.SampledFrom([]string{"permit_mynetworks", "permit_mynetworks", "permit_mynetworks", "permit_mynetworks", "permit", "reject", "defer", "reject_unauth_destination", "reject_unknown_sender_domain", "check_client_access"})
	for _, name := range restrictionLists {
		for range max(0, rapid.IntRange(-4, 4).Draw(t, name)) {
			w := word.Draw(t, "word")
			p.lists[name] = append(p.lists[name], w)
			if w == "check_client_access" {
				p.lists[name] = append(p.lists[name], tables.Draw(t, "table"))
			}
		}
	}
	return p
}

var trustedLine = regexp.MustCompile(`(?m)^trusted_networks = (\[[^\]]*\])`)

// Whoever the result lets relay, Postfix did: whatever stands in mynetworks, in access
// maps and in the restriction lists. This machine is not asked: it may send anyway.
func TestNobodyMayRelayWhoMightNot(t *testing.T) {
	trusted, dir := 0, t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		p := drawPostfix(t)
		if !p.runs() {
			return
		}
		main := "compatibility_level = 3.6\nmyhostname = relay.example.org\nmynetworks = " + strings.Join(p.mynetworks, " ") + "\n"
		for _, name := range restrictionLists {
			main += name + " = " + strings.Join(p.lists[name], ", ") + "\n"
		}
		files := map[string]string{"main.cf": main, "master.cf": master}
		for path, lines := range p.tables {
			files[strings.TrimPrefix(path, "/etc/postfix/")] = strings.Join(lines, "\n") + "\n"
		}
		if files["hash"] == "" {
			files["hash"] = "\n"
		}
		if err := fill(dir, files); err != nil {
			t.Fatal(err)
		}
		m := newMigration(dir)
		if err := m.convert(); err != nil {
			return // nothing is written
		}
		for _, f := range trustedLine.FindAllStringSubmatch(string(m.files["dawk.toml"]), -1) {
			var networks []netip.Prefix
			if err := json.Unmarshal([]byte(f[1]), &networks); err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"10.0.0.1", "10.1.0.1", "10.1.2.1", "10.1.2.3", "10.200.0.1", "192.168.0.1", "192.168.7.1", "203.0.113.1"} {
				client := netip.MustParseAddr(text)
				if !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(client) }) {
					continue
				}
				trusted++
				if !p.relays(client) {
					t.Errorf("%s may relay, and could not with\n%s\n%v", text, main, p.tables)
				}
			}
		}
	})
	if trusted == 0 {
		t.Error("no client was trusted: nothing is shown")
	}
}
