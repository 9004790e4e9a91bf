package check

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx/dns"
)

// spfZone is DNS for the checks of SPF: "TXT name", "A name", "MX name" and
// "PTR address".
type spfZone map[string][]string

func (z spfZone) get(typ, name string) ([]string, error) {
	switch records, ok := z[typ+" "+name]; {
	case !ok:
		return nil, &dns.Error{Name: name, Type: typ, Trouble: dns.NXDomain}
	case len(records) == 0:
		return nil, &dns.Error{Name: name, Type: typ, Trouble: dns.ServFail}
	default:
		return records, nil
	}
}

func (z spfZone) LookupTXT(_ context.Context, name string) (dns.Answer[string], error) {
	records, err := z.get("TXT", name)
	return dns.Answer[string]{Records: records}, err
}

func (z spfZone) LookupAddrs(_ context.Context, host, _ string) (a dns.Answer[netip.Addr], err error) {
	records, err := z.get("A", host)
	for _, r := range records {
		a.Records = append(a.Records, netip.MustParseAddr(r))
	}
	return a, err
}

func (z spfZone) LookupMX(_ context.Context, domain string) (a dns.Answer[dns.MX], err error) {
	records, err := z.get("MX", domain)
	for _, r := range records {
		a.Records = append(a.Records, dns.MX{Host: r})
	}
	return a, err
}

func (z spfZone) LookupPTR(_ context.Context, addr netip.Addr) (dns.Answer[string], error) {
	records, err := z.get("PTR", addr.String())
	return dns.Answer[string]{Records: records}, err
}

// RFC 7208, as far as an administrator's record goes.
func TestSPF(t *testing.T) {
	zone := spfZone{
		"TXT other.test":  {"v=spf1 ip4:192.0.2.25 ~all"},
		"TXT strict.test": {"v=spf1 -all"},
		"TXT loop.test":   {"v=spf1 include:loop.test -all"},
		"TXT none.test":   {"v=spf10 +all", "verification=1"},
		"TXT lost.test":   {},
		"A lost.test":     {},
		"A relay.test":    {"192.0.2.25", "2001:db8::25"},
		"A a.test":        {"192.0.2.77"},
		"MX a.test":       {"relay.test"},
		"PTR 192.0.2.25":  {"relay.test"},

		"A 192.0.2.25.in-addr.known.test": {"127.0.0.2"},
		"A relay.test.known.test":         {"127.0.0.2"},
	}
	for record, want := range map[string]string{
		"v=spf1 ip4:192.0.2.25 -all":              "✔ the record of a.test allows 192.0.2.25",
		"V=SPF1 ip4:192.0.2.0/24":                 "✔ the record of a.test allows",
		"v=spf1 a -all":                           "! the record of a.test does not allow 192.0.2.25 (fail)",
		"v=spf1 a/24 -all":                        "✔ the record of a.test allows",
		"v=spf1 a:relay.test ~all":                "✔ the record of a.test allows",
		"v=spf1 mx -all":                          "✔ the record of a.test allows",
		"v=spf1 mx//64 ?all":                      "✔ the record of a.test allows",
		"v=spf1 ip6:2001:db8::/32 ~all":           "! the record of a.test does not allow 192.0.2.25 (softfail)",
		"v=spf1":                                  "! the record of a.test does not allow 192.0.2.25 (neutral)",
		"v=spf1 -ip4:192.0.2.25 +all":             "! the record of a.test does not allow 192.0.2.25 (fail)",
		"v=spf1 include:other.test -all":          "✔ the record of a.test allows",
		"v=spf1 include:strict.test ?all":         "! the record of a.test does not allow 192.0.2.25 (neutral)",
		"v=spf1 exp=why.%{d} redirect=other.test": "✔ the record of a.test allows",
		"v=spf1 redirect=strict.test":             "! the record of a.test does not allow 192.0.2.25 (fail)",
		"v=spf1 include:none.test -all":           "! a.test: its SPF record is not valid: a domain that it names has none",
		"v=spf1 include:loop.test -all":           "! a.test: its SPF record is not valid: it needs more than 10 lookups",
		"v=spf1 include:lost.test -all":           "! the SPF record of a.test could not be followed",
		"v=spf1 ip4:none -all":                    "! a.test: its SPF record is not valid: ip4 or ip6 without an address",
		"v=spf1 a/99 -all":                        "! a.test: its SPF record is not valid: a network of a wrong size",
		"v=spf1 ipv4:192.0.2.25":                  "! a.test: its SPF record is not valid: it holds an unknown term",
		"v=spf1 exists:%{i}.%{v}.known.test -all": "✔ the record of a.test allows",
		"v=spf1 exists:%{h}.known.test -all":      "✔ the record of a.test allows",
		"v=spf1 exists:%{i}.x.test -all":          "! the record of a.test does not allow 192.0.2.25 (fail)",
		"v=spf1 exists:%{z}.x.test -all":          "! a.test: its SPF record is not valid: invalid macro",
		"v=spf1 ptr:relay.test -all":              "✔ the record of a.test allows",
		"v=spf1 ptr -all":                         "! the record of a.test does not allow 192.0.2.25 (fail)",
		"v=spf1 a:0.test a:1.test mx:2.test +all": "! a.test: its SPF record is not valid: more than 2 of its lookups find nothing",
		"v=spf1 a:lost.test -all":                 "! the SPF record of a.test could not be followed: DNS: SERVFAIL",
		"v=spf1 ip4:192.0.2.25 -all\nv=spf1 +all": "! a.test: its SPF record is not valid: there is more than one",
		"something else":                          "! a.test has no SPF record",
	} {
		zone["TXT a.test"] = strings.Split(record, "\n")
		got, ok := spfOf(t.Context(), zone, "relay.test", "a.test", []netip.Addr{netip.MustParseAddr("192.0.2.25")})
		if !ok {
			got = []Finding{spfMissing("a.test", nil)}
		}
		if len(got) != 1 {
			t.Errorf("%s: %v", record, got)
			continue
		}
		line := map[string]string{levelOK: "✔ ", LevelWarning: "! "}[got[0].Level] + got[0].Message
		if !strings.HasPrefix(line, want) {
			t.Errorf("%s: %q, want %q", record, line, want)
		}
	}
	zone["TXT a.test"] = []string{"v=spf1 a:relay.test -all"}
	if got, _ := spfOf(t.Context(), zone, "relay.test", "a.test", []netip.Addr{netip.MustParseAddr("2001:db8::25"), netip.MustParseAddr("2001:db8::26")}); len(got) != 2 ||
		got[0].Level != levelOK || got[1].Level != LevelWarning || got[1].Advice != "put ip6:2001:db8::26 into the record of a.test" {
		t.Errorf("%+v", got)
	}
	if got, _ := spfOf(t.Context(), zone, "relay.test", "a.test", nil); len(got) != 1 || got[0].Level != levelOK || !strings.HasPrefix(got[0].Message, "a.test has an SPF record") {
		t.Errorf("without an address of ours: %+v", got)
	}
}

// Where our address is not known, no record is advised that would forbid all mail.
func TestSPFAdviceWithoutAddress(t *testing.T) {
	for _, addrs := range [][]netip.Addr{nil, {}} {
		if f := spfMissing("a.test", addrs); strings.Contains(f.Advice, "v=spf1") || !strings.Contains(f.Advice, "the address which receivers see") {
			t.Errorf("%q", f.Advice)
		}
	}
	if f := spfMissing("a.test", []netip.Addr{netip.MustParseAddr("192.0.2.1")}); !strings.Contains(f.Advice, `"v=spf1 ip4:192.0.2.1 -all"`) {
		t.Errorf("%q", f.Advice)
	}
}

// Mail by MX leaves from the sources that are set: they count in place of our
// hostname, behind NAT by the name that they say in EHLO.
func TestSPFCountsSources(t *testing.T) {
	zone := spfZone{"A relay.test": {"192.0.2.25"}, "A nat.test": {"192.0.2.77"}}
	cfg := defaults()
	cfg.Hostname = "relay.test"
	cfg.Sources = []config.SourceConfig{{Name: "pub", Addresses: []string{"198.51.100.1", "2001:db8::1"}}, {Name: "nat", Addresses: []string{"10.0.0.1"}, EHLO: "nat.test"},
		{Name: "other", Addresses: []string{"198.51.100.9"}}}
	for _, x := range []struct {
		use  []string
		want string
	}{
		{nil, "[192.0.2.25]"},
		{[]string{"pub"}, "[198.51.100.1 2001:db8::1]"},
		{[]string{"nat", "pub"}, "[192.0.2.77 198.51.100.1 2001:db8::1]"},
	} {
		cfg.Delivery.Source = x.use
		if got := fmt.Sprint((&checker{cfg: cfg}).OwnAddresses(t.Context(), zone)); got != x.want {
			t.Errorf("%v: %s, want %s", x.use, got, x.want)
		}
	}
}

// Port 25 is needed where bounces go by MX, though all other mail goes by routes.
func TestPort25IsNeededForNotices(t *testing.T) {
	cfg := defaults()
	cfg.Hostname, cfg.DNS.Servers = "relay.test", []string{"127.0.0.1:1"}
	cfg.Routes = []config.RouteConfig{{Name: "office", To: []string{"*"}, Via: []string{"127.0.0.1:25"}, TLS: "off"}}
	for _, x := range []struct {
		way  string
		want bool
	}{{"mx", true}, {"office", false}, {"", false}} {
		cfg.Bounce.NoticeRoute = x.way
		if got := (&checker{cfg: cfg}).noticesByMX(); got != x.want {
			t.Errorf("notice_route = %q: by MX %v", x.way, got)
		}
	}
}
