package check

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"dawk/mx/mxtest"
)

// Mail over IPv6 from an address that has no name is refused by large
// providers: check says so, and what to do.
func TestCheckIPv6(t *testing.T) {
	const ptr = "5.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. PTR "
	for _, c := range []struct {
		name, zone, ip, want string
		level                string
	}{
		{"no name", "", "both", "2001:db8::25 has no name (PTR)", LevelWarning},
		{"another name", ptr + "host-25.isp.test.\n", "both", "is called host-25.isp.test (PTR)", LevelWarning},
		{"does not lead back", ptr + "relay.test.\nrelay.test. AAAA 2001:db8::26\n", "6", "does not lead back to it", LevelWarning},
		{"agrees", ptr + "relay.test.\nrelay.test. AAAA 2001:db8::25\n", "both", "relay.test is 2001:db8::25", levelOK},
		{"not used", "", "4", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dns, err := mxtest.NewDNS(c.zone)
			if err != nil {
				t.Fatal(err)
			}
			defer dns.Close()
			cfg := defaults()
			cfg.Hostname, cfg.DNS.Servers, cfg.Delivery.IP = "relay.test", []string{dns.Addr()}, c.ip
			address := netip.MustParseAddr("2001:db8::25")
			got := (&checker{cfg: cfg, outbound6: func() netip.Addr { return address }}).sources(context.Background())
			if c.want == "" {
				if len(got) > 0 {
					t.Errorf("%q", lines(got))
				}
				return
			}
			if len(got) != 1 || got[0].Level != c.level || !strings.Contains(got[0].Message, c.want) {
				t.Fatalf("%q", lines(got))
			}
			if c.level == LevelWarning && !strings.Contains(got[0].Advice, `ip = "4"`) {
				t.Errorf("advice: %q", got[0].Advice)
			}
		})
	}
}
