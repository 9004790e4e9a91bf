package spf_test

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"dawk/mx/dns"
	"dawk/mx/mxtest"
	"dawk/mx/spf"
)

// TestCheck: a record is evaluated by way of our resolver, for the sender that RFC
// 7208 §4.3 names, and what is wrong with it is told in words for administrators.
func TestCheck(t *testing.T) {
	d, err := mxtest.NewZone(`
good.test.    TXT "v=spf1 mx a:six.test include:other.test exists:%{l}.ok.test -all"
good.test.    MX 10 mx.good.test.
mx.good.test. A 192.0.2.1
six.test.     AAAA 2001:db8::1
other.test.   TXT "v=spf1 ip4:192.0.2.2 -all"
postmaster.ok.test. A 127.0.0.2
strict.test.  TXT "v=spf1 ip4:192.0.2.9 -all"
two.test.     TXT "v=spf1 -all"
two.test.     TXT "v=spf1 +all"
loop.test.    TXT "v=spf1 include:loop.test -all"
empty.test.   TXT "v=spf1 include:none.test -all"
mask.test.    TXT "v=spf1 ip4:192.0.2.0/99 -all"
down.test.    TXT "v=spf1 include:broken.test -all"
`)
	if err != nil {
		t.Fatal(err)
	}
	d.Fault("broken.test", "", mxtest.ServFail)
	r, err := dns.NewResolver(dns.Config{Servers: []string{"127.0.0.1"}, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go d.ServePipe(theirs, network)
		return ours, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		domain, addr string
		want         spf.Result
		words        string
	}{
		{"good.test", "192.0.2.1", spf.Pass, ""},
		{"good.test", "2001:db8::1", spf.Pass, ""},
		{"good.test", "192.0.2.2", spf.Pass, ""},
		{"good.test", "192.0.2.77", spf.Pass, ""}, // by the sender's local part
		{"strict.test", "192.0.2.1", "fail", ""},
		{"none.test", "192.0.2.1", spf.None, ""},
		{"two.test", "192.0.2.1", spf.PermError, "there is more than one"},
		{"loop.test", "192.0.2.1", spf.PermError, "it needs more than 10 lookups"},
		{"empty.test", "192.0.2.1", spf.PermError, "a domain that it names has none"},
		{"mask.test", "192.0.2.1", spf.PermError, "a network of a wrong size"},
		{"down.test", "192.0.2.1", spf.TempError, ""},
	} {
		got, err := spf.Check(t.Context(), r, "relay.example.org", c.domain, netip.MustParseAddr(c.addr))
		if got != c.want || c.words != "" && (err == nil || spf.Words(err) != c.words) {
			t.Errorf("%s, %s: %s, %v; want %s %q", c.domain, c.addr, got, err, c.want, c.words)
		}
	}
}
