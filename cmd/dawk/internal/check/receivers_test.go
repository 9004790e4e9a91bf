package check

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

func TestDMARCTreeWalk(t *testing.T) {
	for _, c := range []struct{ name, domain, zone, where string }{
		{"its own", "mail.example.org", "_dmarc.mail.example.org. TXT \"v=DMARC1; p=reject\"\n_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n", "_dmarc.mail.example.org"},
		{"above it", "a.b.mail.example.org", "_dmarc.example.org. TXT \"v=DMARC1; p=none\"\n", "_dmarc.example.org"},
		{"the last seven labels of many", "1.2.3.4.5.6.7.8.example.org", "_dmarc.3.4.5.6.7.8.example.org. TXT \"v=DMARC1; p=none\"\n_dmarc.4.5.6.7.8.example.org. TXT \"v=DMARC1; p=reject\"\n", "_dmarc.4.5.6.7.8.example.org"},
		{"another text", "example.org", "_dmarc.example.org. TXT \"v=DMARC12; p=none\"\n", ""},
		{"none", "example.org", "", ""},
	} {
		server, err := mxtest.NewDNS(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		r, err := dns.NewResolver(dns.Config{Servers: []string{server.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		if where, _, err := dmarcRecord(context.Background(), r, c.domain); err != nil || where != c.where {
			t.Errorf("%s: %q, %v, want %q", c.name, where, err, c.where)
		}
		server.Close()
	}
}

func TestBlockLists(t *testing.T) {
	server, err := mxtest.NewDNS("relay.example.org. A 198.51.100.25\n25.100.51.198.list.example. A 127.0.0.2\n25.100.51.198.deaf.example. A 127.255.255.254\n")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	cfg := defaults()
	cfg.Hostname, cfg.DNS.Servers = "relay.example.org", []string{server.Addr()}
	cfg.Check.Lists = []string{"list.example", "deaf.example", "clean.example"}
	got := (&checker{cfg: cfg}).lists(context.Background())
	want := []struct {
		level string
		text  string
	}{{LevelWarning, "198.51.100.25 is on the block list list.example (127.0.0.2)"}, {levelOK, "deaf.example gives no answer"}, {levelOK, "none of our addresses is on clean.example"}}
	if len(got) != len(want) {
		t.Fatalf("%q", lines(got))
	}
	for i, w := range want {
		if got[i].Level != w.level || !strings.Contains(got[i].Message, w.text) {
			t.Errorf("%+v", got[i])
		}
	}
	if r := reversed(netip.MustParseAddr("2001:db8::1")); r != "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2" {
		t.Error(r)
	}
}
