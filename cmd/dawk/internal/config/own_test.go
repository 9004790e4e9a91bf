package config

import (
	"net/netip"
	"slices"
	"testing"
)

// A listener written without a host, or by a name, is as much our own as one
// with an address: mail for it would go round in a circle.
func TestOwnAddresses(t *testing.T) {
	for address, want := range map[string][]string{
		"192.0.2.1:25":      {"192.0.2.1:25"},
		"[2001:db8::1]:587": {"[2001:db8::1]:587"},
		"0.0.0.0:25":        {"0.0.0.0:25"},
		":25":               {"0.0.0.0:25", "[::]:25"},
		"localhost:2525":    {"127.0.0.1:2525", "[::1]:2525"},
	} {
		var addrs []netip.AddrPort
		for _, w := range want {
			addrs = append(addrs, netip.MustParseAddrPort(w))
		}
		c := &Config{Listeners: []ListenerConfig{{Address: address}}}
		if got := c.OwnAddresses(); !slices.Equal(got, addrs) {
			t.Errorf("%s: %v, want %v", address, got, addrs)
		}
	}
}
