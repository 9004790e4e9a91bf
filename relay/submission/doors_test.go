package submission_test

import (
	"bufio"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/submission"
)

func TestProxyHeaderCountsFromNamedProxiesOnly(t *testing.T) {
	office := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/64")}
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\x7f\x00\x00\x01\x04\x00\x02\x4b" // 192.0.2.7
	for _, c := range []struct {
		name, header, proxy, client string
		known                       bool
	}{
		{"version 1", "PROXY TCP4 192.0.2.7 127.0.0.1 1024 587\r\n", "127.0.0.1/32", "192.0.2.7", true},
		{"version 1, IPv6", "PROXY TCP6 2001:db8::7 ::1 1024 587\r\n", "127.0.0.1/32", "2001:db8::7", true},
		{"version 2", v2, "127.0.0.1/32", "192.0.2.7", true},
		{"a stranger behind the proxy", "PROXY TCP4 198.51.100.7 127.0.0.1 1024 587\r\n", "127.0.0.1/32", "198.51.100.7", false},
		{"the proxy itself", "PROXY UNKNOWN\r\n", "127.0.0.1/32", "127.0.0.1", false},
		{"no proxy of ours", "", "192.0.2.1/32", "127.0.0.1", false},
	} {
		f := start(t, options{listener: submission.Listener{TLS: "off", Auth: "optional", TrustedNetworks: office,
			Proxies: []netip.Prefix{netip.MustParsePrefix(c.proxy)}}})
		want := "550"
		if c.known {
			want = "250"
		}
		cl := f.dial()
		cl.send(c.header)
		f.more(cl, hello+"-> MAIL FROM:<a@example.org>\n<- 250\n-> RCPT TO:<b@example.com>\n<- "+want+"\n-> QUIT\n<- 221\n<- EOF")
		if e := f.seen.Wait(relay.EventConnected, 1); e[0].Client != c.client {
			t.Errorf("%s: the client is %s, want %s", c.name, e[0].Client, c.client)
		}
		f.stop()
	}
}

func TestProxyHeaderIsDemandedAndHoldsUpNobody(t *testing.T) {
	f := start(t, options{listener: submission.Listener{TLS: "off", Auth: "off", TrustedNetworks: trustLoopback,
		Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
	silent := f.dial()
	f.more(f.dial(), "=> \"PROXY UNKNOWN\\r\\n\"\n"+hello+"-> QUIT\n<- 221\n<- EOF")
	if err := silent.c.Close(); err != nil {
		t.Fatal(err)
	}
	f.more(f.dial(), "-> EHLO I forgot\n<- EOF")
	// Elsewhere the header is a bad command.
	g := start(t, options{listener: trusted()})
	g.more(g.dial(), "<- 220\n-> PROXY TCP4 192.0.2.7 127.0.0.1 1024 587\n<- 500 5.5.2\n-> QUIT\n<- 221")
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.Listen("unix", path) // what a dead process left
	check(t, err)
	old.(*net.UnixListener).SetUnlinkOnClose(false)
	check(t, old.Close())
	l := trusted()
	l.Address, l.SocketMode = "unix:"+path, "0600"
	f := start(t, options{listener: l})
	c, err := net.Dial("unix", path)
	check(t, err)
	t.Cleanup(func() { c.Close() })
	check(t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	f.more(&client{t: t, c: c, br: bufio.NewReader(c)}, hello+envel+data+"-> .\n<- 250\n-> QUIT\n<- 221\n<- EOF")
	if m := f.q.Messages()[0]; m.Client != "127.0.0.1" || m.Identity != "network:127.0.0.0/8" {
		t.Errorf("%+v", m.Message)
	}
}

// A printer of 2005: it has no name that is one, ends its lines as it likes,
// and knows no From field.
func TestDevice(t *testing.T) {
	l := trusted()
	l.Profile = "device"
	f := start(t, options{listener: l})
	for _, helo := range []string{"EHLO KM C4_50i (2nd floor)", "HELO", "EHLO dr\xfccker"} {
		c := f.dial()
		c.send(helo + "\r\n")
		f.more(c, "<- 220\n<- 250")
		f.more(c, envel+data+`
			=> "Subject: scan\n\nbody\n`+strings.Repeat("x", 1500)+`\r\n.\r\n"
			<- 250 2.0.0
			-> QUIT
			<- 221`)
	}
	for _, m := range f.q.Messages() {
		if !strings.Contains(m.Header(), "\r\nFrom: <a@example.org>") || strings.Contains(strings.ReplaceAll(m.Content, "\r\n", ""), "\n") {
			t.Errorf("%.300q", m.Content)
		}
	}
	if n := len(f.q.Messages()); n != 3 {
		t.Errorf("%d messages", n)
	}
	if e := f.seen.Of(relay.EventAccepted); e[0].Helo != "KM_C4_50i_(2nd_floor)" || e[1].Helo != "unknown" {
		t.Errorf("%q %q", e[0].Helo, e[1].Helo)
	}
}

// IPv6 clients come in like others; in the Received field they stand as
// RFC 5321 §4.1.3 wants it.
func TestIPv6(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6: %v", err)
	}
	check(t, probe.Close())
	l := trusted()
	l.Address, l.TrustedNetworks = "[::1]:0", []netip.Prefix{netip.MustParsePrefix("::1/128")}
	f := start(t, options{listener: l})
	f.play(hello + "-> EHLO [IPv6:2001:db8::1]\n<- 250\n" + envel + data + "-> .\n<- 250\n-> QUIT\n<- 221\n<- EOF")
	m := f.q.Messages()[0]
	if m.Client != "::1" || m.Identity != "network:::1/128" || !strings.HasPrefix(m.Content, "Received: from [IPv6:2001:db8::1] ([IPv6:::1])\r\n") {
		t.Errorf("%+v\n%s", m.Message, m.Header())
	}
}
