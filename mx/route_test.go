package mx_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/dial"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// dialled records the addresses dialled and refuses all of them.
type dialled struct {
	mu    sync.Mutex
	addrs []string
}

func (d *dialled) dial(_ context.Context, _, addr string) (net.Conn, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addrs = append(d.addrs, addr)
	return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
}

func (d *dialled) String() string { return strings.Join(d.addrs, " ") }

// TestRouting: which addresses are dialled in which order, and the verdict
// when none of them answers.
func TestRouting(t *testing.T) {
	many := ""
	for i := range 200 {
		many += fmt.Sprintf("many.test. MX %d mx%d.many.test.\nmx%d.many.test. A 192.0.2.%d\n", i, i, i, i%250+1)
	}
	d := newDNS(t, `
mx.test.        MX 20 mx2.mx.test.
mx.test.        MX 10 mx1.mx.test.
mx1.mx.test.    A 192.0.2.1
mx2.mx.test.    A 192.0.2.2
implicit.test.  A 192.0.2.3
alias.test.     CNAME implicit.test.
cnamemx.test.   MX 10 alias.test.
null.test.      MX 0 .
nullplus.test.  MX 0 .
nullplus.test.  MX 10 mx1.mx.test.
nothing.test.   TXT "no mail here"
dangling.test.  MX 10 gone.dangling.test.
half.test.      MX 10 gone.half.test.
half.test.      MX 20 mx1.mx.test.
mxfail.test.    A 192.0.2.9
addrfail.test.  MX 10 broken.addrfail.test.
mixed.test.     MX 10 gone.mixed.test.
mixed.test.     MX 10 broken.addrfail.test.
ipmx.test.      MX 10 192.0.2.1.
self.test.      MX 10 relay.example.org.
self.test.      MX 20 mx1.mx.test.
backup.test.    MX 10 mx1.mx.test.
backup.test.    MX 20 relay.example.org.
backup.test.    MX 30 mx2.mx.test.
equal.test.     MX 10 mx1.mx.test.
equal.test.     MX 10 relay.example.org.
relay.example.org. A 192.0.2.77
misfit1.test.   A 192.0.2.78
misfit2.test.   A 192.0.2.78
misfit3.test.   MX 10 mx1.mx.test.
misfit3.test.   A 192.0.2.78
misfit4.test.   MX 10 mx1.mx.test.
misfit4.test.   A 192.0.2.78
v6.test.        AAAA 2001:db8::1
dual.test.      AAAA 2001:db8::2
dual.test.      A 192.0.2.4
twice.test.     MX 10 mx1.mx.test.
twice.test.     MX 20 MX1.mx.test.
fat.test.       MX 10 fat.mx.test.
fat.mx.test.    A 192.0.2.11
fat.mx.test.    A 192.0.2.12
fat.mx.test.    A 192.0.2.13
fat.mx.test.    A 192.0.2.14
fat.mx.test.    A 192.0.2.15
fat.mx.test.    A 192.0.2.16
`+many)
	d.Fault("mxfail.test", "MX", mxtest.ServFail)
	d.Fault("broken.addrfail.test", "", mxtest.ServFail)
	d.Fault("lame.test", "", mxtest.Referral)
	d.Fault("misfit1.test", "MX", mxtest.OtherType)
	d.Fault("misfit2.test", "MX", mxtest.BareDNAME)
	d.Fault("misfit3.test", "MX", mxtest.OtherOwner)
	d.Fault("misfit4.test", "", mxtest.NXAnswer)
	resolver := newResolver(t, d)
	for _, c := range []struct {
		domain string
		dial   string // in this order
		status string
		word   string // in the text
	}{
		{"mx.test", "192.0.2.1:25 192.0.2.2:25", "4.4.1", "mx1.mx.test [192.0.2.1]:25: connection refused"},
		{"implicit.test", "192.0.2.3:25", "4.4.1", "connection refused"},
		{"alias.test", "192.0.2.3:25", "4.4.1", "alias.test"},
		{"cnamemx.test", "192.0.2.3:25", "4.4.1", "alias.test"},
		{"null.test", "", "5.1.10", "null MX"},
		{"nullplus.test", "192.0.2.1:25", "4.4.1", ""},
		{"nothing.test", "", "5.4.4", "neither an MX nor an address"},
		{"missing.test", "", "5.1.2", "does not exist"},
		{"dangling.test", "", "5.4.4", "gone.dangling.test"},
		{"half.test", "192.0.2.1:25", "4.4.1", "gone.half.test"},
		{"mxfail.test", "", "4.4.3", "SERVFAIL"},
		{"addrfail.test", "", "4.4.3", "broken.addrfail.test"},
		{"mixed.test", "", "4.4.3", "SERVFAIL"},
		{"lame.test", "", "4.4.3", "refers to other servers"},
		{"misfit1.test", "", "4.4.3", "do not fit"},
		{"misfit2.test", "", "4.4.3", "do not fit"},
		{"misfit3.test", "", "4.4.3", "do not fit"},
		{"misfit4.test", "", "4.4.3", "do not fit"},
		{"ipmx.test", "", "5.4.4", "192.0.2.1"},
		{"self.test", "", "5.4.6", "this relay itself"},
		{"backup.test", "192.0.2.1:25", "4.4.1", ""},
		{"equal.test", "", "5.4.6", "loop"},
		{"v6.test", "[2001:db8::1]:25", "4.4.1", ""},
		{"dual.test", "[2001:db8::2]:25 192.0.2.4:25", "4.4.1", ""},
		{"twice.test", "192.0.2.1:25", "4.4.1", ""},
		{"[192.0.2.5]", "192.0.2.5:25", "4.4.1", ""},
		{"[IPv6:2001:db8::5]", "[2001:db8::5]:25", "4.4.1", ""},
		{"many.test", "192.0.2.1:25 192.0.2.2:25 192.0.2.3:25 192.0.2.4:25 192.0.2.5:25 192.0.2.6:25 192.0.2.7:25 192.0.2.8:25 192.0.2.9:25 192.0.2.10:25", "4.4.1", ""},
	} {
		t.Run(c.domain, func(t *testing.T) {
			var seen dialled
			w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: resolver, Dial: seen.dial})}
			res := w.deliver(task(t, letter, "x@"+c.domain))
			r := res.Replies[0]
			if seen.String() != c.dial {
				t.Errorf("dialled %q, want %q", seen.String(), c.dial)
			}
			if r.Code != 0 || r.Status.String() != c.status || !strings.Contains(r.Text, c.word) {
				t.Errorf("reply %+v, want %s with %q", r, c.status, c.word)
			}
			if r.Permanent() != strings.HasPrefix(c.status, "5") {
				t.Errorf("permanent: %v", r.Permanent())
			}
		})
	}
	t.Run("at most four addresses of a host", func(t *testing.T) {
		var seen dialled
		w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: resolver, Dial: seen.dial})}
		w.deliver(task(t, letter, "x@fat.test"))
		if len(seen.addrs) != 4 {
			t.Errorf("dialled %v", seen.addrs)
		}
	})
}

// TestEqualPreference: hosts of one preference share the work.
func TestEqualPreference(t *testing.T) {
	d := newDNS(t, "eq.test. MX 10 a.eq.test.\neq.test. MX 10 b.eq.test.\na.eq.test. A 192.0.2.1\nb.eq.test. A 192.0.2.2\n")
	first := map[string]int{}
	for range 60 { // the chance that one of two never comes first is 2^-59
		var seen dialled
		w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, d), Dial: seen.dial})}
		w.deliver(task(t, letter, "x@eq.test"))
		if len(seen.addrs) != 2 {
			t.Fatalf("dialled %v", seen.addrs)
		}
		first[seen.addrs[0]]++
	}
	if len(first) != 2 {
		t.Errorf("always the same first: %v", first)
	}
}

// TestRefusedAddresses goes through the dialler, for MX hosts and literals.
func TestRefusedAddresses(t *testing.T) {
	for _, c := range []struct {
		addr   string
		status string
	}{
		{"127.0.0.1", "5.4.4"}, {"127.255.1.2", "5.4.4"}, {"::1", "5.4.4"}, {"10.1.2.3", "5.4.4"}, {"172.31.255.255", "5.4.4"},
		{"192.168.0.1", "5.4.4"}, {"169.254.169.254", "5.4.4"}, {"100.64.0.1", "5.4.4"}, {"0.0.0.0", "5.4.4"}, {"0.1.2.3", "5.4.4"},
		{"::", "5.4.4"}, {"224.0.0.1", "5.4.4"}, {"ff02::1", "5.4.4"}, {"fe80::1", "5.4.4"}, {"fd00::1", "5.4.4"}, {"255.255.255.255", "5.4.4"},
		{"::ffff:127.0.0.1", "5.4.4"}, {"::ffff:10.0.0.1", "5.4.4"}, {"64:ff9b::7f00:1", "5.4.4"}, {"::7f00:1", "5.4.4"},
		{"2002:7f00:1::1", "5.4.4"}, {"2002:c000:201::1", "5.4.4"}, {"2001:0:c000:201::1", "5.4.4"}, {"64:ff9b:1::7f00:1", "5.4.4"},
		{"::ffff:0:7f00:1", "5.4.4"}, {"240.0.0.1", "5.4.4"}, {"198.18.0.1", "5.4.4"}, {"198.19.255.255", "5.4.4"}, {"198.20.0.1", "4.4.1"},
		{"64:ff9b::c612:1", "5.4.4"}, {"::ffff:198.18.0.1", "5.4.4"},
		{"192.0.2.1", "4.4.1"}, {"2001:db8::1", "4.4.1"}, {"198.51.100.7", "4.4.1"}, {"172.32.0.1", "4.4.1"}, {"100.128.0.1", "4.4.1"},
		{"64:ff9b::c000:201", "4.4.1"},
		{"10.9.0.1", "4.4.1"},     // allowed below
		{"198.51.100.1", "5.4.6"}, // our own listener, though allowed
	} {
		a := netip.MustParseAddr(c.addr)
		typ, literal := "A", "["+c.addr+"]"
		if a.Is6() {
			typ, literal = "AAAA", "[IPv6:"+c.addr+"]"
		}
		d := newDNS(t, "evil.test. MX 10 mx.evil.test.\nmx.evil.test. "+typ+" "+c.addr+"\n")
		for _, to := range []string{"x@evil.test", "x@" + literal} {
			var seen dialled
			w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, d), Dial: seen.dial,
				AllowNetworks: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16"), netip.MustParsePrefix("198.51.100.0/24")},
				Own:           []netip.AddrPort{netip.MustParseAddrPort("198.51.100.1:25")}})}
			r := w.deliver(task(t, letter, to)).Replies[0]
			if strings.Contains(to, "[") && c.status == "5.4.6" && r.Status.String() == c.status {
				continue
			}
			if r.Status.String() != c.status {
				t.Errorf("%s to %s: %+v", to, c.addr, r)
			}
			if wantDial := c.status == "4.4.1"; wantDial != (len(seen.addrs) > 0) {
				t.Errorf("%s to %s: dialled %v", to, c.addr, seen.addrs)
			}
			if c.status == "5.4.4" && (!strings.Contains(r.Remedy, "allow_networks") || strings.Contains(r.Text, "allow_networks") || !strings.Contains(r.Text, a.Unmap().String())) {
				t.Errorf("%s: the text does not name the address, or the remedy the key: %+v", to, r)
			}
		}
	}
}

// TestOneGoodAddress: a refused address among others costs nothing.
func TestOneGoodAddress(t *testing.T) {
	d := newDNS(t, "mix.test. MX 10 lo.mix.test.\nmix.test. MX 20 mx.mix.test.\nlo.mix.test. A 127.0.0.1\nmx.mix.test. A 192.0.2.1\n")
	var seen dialled
	w := &world{t: t, tr: newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, d), Dial: seen.dial})}
	r := w.deliver(task(t, letter, "x@mix.test")).Replies[0]
	if seen.String() != "192.0.2.1:25" || r.Status.String() != "4.4.1" || r.Permanent() {
		t.Errorf("dialled %v: %+v", seen.addrs, r)
	}
}

// TestFamilyOfARoute: a route without via may set nothing but the family of
// addresses, for the domains of a provider that refuses one.
func TestFamilyOfARoute(t *testing.T) {
	d := newDNS(t, "two.test. MX 10 mx.two.test.\nmx.two.test. A 192.0.2.1\nmx.two.test. AAAA 2001:db8::1\n"+
		"bare.test. A 192.0.2.2\nbare.test. AAAA 2001:db8::2\n")
	for _, c := range []struct{ ip, to, dialled string }{
		{"4", "x@two.test", "192.0.2.1:25"},
		{"6", "x@two.test", "[2001:db8::1]:25"},
		{"4", "x@bare.test", "192.0.2.2:25"},
		{"4", "x@[192.0.2.3]", "192.0.2.3:25"},
		{"4", "x@[IPv6:2001:db8::3]", ""},
	} {
		var seen dialled
		tr := newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, d), Dial: seen.dial,
			AllowNetworks: []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}, Routes: []mx.Route{{To: []string{"*"}, IP: c.ip}}})
		tk := task(t, letter, c.to)
		r := (&world{t: t, tr: tr}).deliver(tk).Replies[0]
		if seen.String() != c.dialled || r.Permanent() != (c.dialled == "") || r.Permanent() && !strings.Contains(r.Text, `ip = "4"`) {
			t.Errorf("%s %s: dialled %v: %+v", c.ip, c.to, seen.addrs, r)
		}
	}
}

// TestOwnListenerOnAnyInterface: 0.0.0.0:port is every address we have.
func TestOwnListenerOnAnyInterface(t *testing.T) {
	p := dial.AddressPolicy{Allow: loopback, Own: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:25")}}
	if err := p.Check(netip.MustParseAddrPort("127.0.0.1:25")); err == nil {
		t.Error("our own listener on a loopback address was not seen")
	}
	if err := p.Check(netip.MustParseAddrPort("127.0.0.1:26")); err != nil {
		t.Errorf("another port: %v", err)
	}
	if err := p.Check(netip.MustParseAddrPort("[::ffff:127.0.0.1]:25")); err == nil {
		t.Error("our own listener in IPv6 clothes was not seen")
	}
	if err := (dial.AddressPolicy{}).Check(netip.MustParseAddrPort("[::ffff:169.254.169.254]:80")); err == nil {
		t.Error("a link-local address in IPv6 clothes was not seen")
	}
	if err := p.Check(netip.MustParseAddrPort("192.0.2.1:25")); err != nil {
		t.Errorf("another host: %v", err)
	}
}

func hop(t testing.TB, s string, login bool) mx.Hop {
	t.Helper()
	h, err := mx.ParseHop(s, login)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestParseHop(t *testing.T) {
	for _, c := range []struct {
		in    string
		login bool
		want  string
	}{
		{"smtp.example.net", false, "smtp.example.net:25"},
		{"smtp.example.net", true, "smtp.example.net:587"},
		{"SMTP.example.net:2525", true, "smtp.example.net:2525"},
		{"smtps://smtp.example.net", true, "smtps://smtp.example.net:465"},
		{"smtps://smtp.example.net:4465", false, "smtps://smtp.example.net:4465"},
		{"192.0.2.1", false, "192.0.2.1:25"},
		{"[2001:db8::1]:26", false, "[2001:db8::1]:26"},
		{"2001:db8::1", false, "[2001:db8::1]:25"},
		{"büro.example", false, "xn--bro-hoa.example:25"},
		{"lmtp://mail.example.net", true, "lmtp://mail.example.net:24"},
		{"lmtp://[2001:db8::1]:2400", false, "lmtp://[2001:db8::1]:2400"},
		{"lmtp+unix:/run/dovecot/lmtp", false, "lmtp+unix:/run/dovecot/lmtp"},
		{"smtp+unix:/run//filter.sock", true, "smtp+unix:/run/filter.sock"},
	} {
		if got := hop(t, c.in, c.login).String(); got != c.want {
			t.Errorf("%q: %q", c.in, got)
		}
	}
	for _, bad := range []string{"", ":25", "host:0", "host:99999", "host:x", "a b", "smtp://x", "host:25:26", "-x",
		"lmtp://", "lmtp://host:0", "lmtp+unix:", "lmtp+unix:run/lmtp", "lmtp+unix:/run/a\nb", "unix:/run/lmtp",
		"smtp+unix:/" + strings.Repeat("x", 107)} {
		if h, err := mx.ParseHop(bad, false); err == nil {
			t.Errorf("%q was read as %v", bad, h)
		}
	}
}

func TestDestination(t *testing.T) {
	via := []mx.Hop{hop(t, "smtp.example.net", false)}
	tr := newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, newDNS(t, "")), Routes: []mx.Route{
		{Name: "vip", To: []string{"boss@b.test"}, Via: via},
		{Name: "sub", To: []string{"*.b.test"}, Via: via},
		{Name: "tls", To: []string{"tls.test"}, TLS: tlspolicy.LevelVerified}, // by MX
		{Name: "null", From: []string{"<>"}, To: []string{"c.test"}, Via: via},
		{Name: "from", From: []string{"news.example.org"}, Via: via},
		{Name: "app", Identity: []string{"app-*"}, To: []string{"*"}, Via: via},
		{Name: "idn", To: []string{"bücher.test"}, Via: via},
	}})
	for _, c := range []struct{ from, identity, to, want string }{
		{"a@example.org", "", "Boss@b.test", "route:vip"},
		{"a@example.org", "", "x@b.test", "b.test"},
		{"a@example.org", "", "x@y.b.test", "route:sub"},
		{"a@example.org", "", "x@tls.test", "tls.test"},
		{"", "", "x@c.test", "route:null"},
		{"a@example.org", "", "x@c.test", "c.test"},
		{"a@news.example.org", "", "x@c.test", "route:from"},
		{"a@example.org", "app-billing", "x@c.test", "route:app"},
		{"a@example.org", "app", "x@c.test", "c.test"},
		{"a@example.org", "", "x@xn--bcher-kva.test", "route:idn"},
		{"a@example.org", "", "postmaster", "relay.example.org"},
	} {
		m := &relay.Message{Identity: c.identity}
		m.From = path(t, c.from)
		if got := tr.Destination(m, path(t, c.to)); got != c.want {
			t.Errorf("%s (%s) to %s: %s, want %s", c.from, c.identity, c.to, got, c.want)
		}
	}
}

func TestValidate(t *testing.T) {
	via := []mx.Hop{hop(t, "smtp.example.net", true)}
	for name, c := range map[string]struct {
		change func(*mx.Config)
		want   string
	}{
		"no hostname":   {func(c *mx.Config) { c.Hostname = "" }, "hostname"},
		"ip of a route": {func(c *mx.Config) { c.Routes = []mx.Route{{IP: "5"}} }, "ip"},
		"two of a name": {func(c *mx.Config) { c.Routes = []mx.Route{{Name: "a"}, {Name: "a"}} }, "another route has this name"},
		"password unverified": {func(c *mx.Config) {
			c.Routes = []mx.Route{{User: "u", Password: "p", Via: via}}
		}, `tls = "verified"`},
		"password without user": {func(c *mx.Config) { c.Routes = []mx.Route{{Password: "p", Via: via}} }, "no `user`"},
		"login by MX":           {func(c *mx.Config) { c.Routes = []mx.Route{{User: "u", TLS: tlspolicy.LevelVerified}} }, "needs `via`"},
		"bad pattern":           {func(c *mx.Config) { c.Routes = []mx.Route{{To: []string{"a b"}}} }, `"a b"`},
		"smtps and off": {func(c *mx.Config) {
			c.Routes = []mx.Route{{TLS: tlspolicy.LevelOff, Via: []mx.Hop{hop(t, "smtps://smtp.example.net", false)}}}
		}, `tls = "off"`},
	} {
		cfg := mx.Config{Hostname: "relay.example.org"}
		c.change(&cfg)
		if err := cfg.Validate().Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok := mx.Config{Hostname: "relay.example.org", Routes: []mx.Route{
		{User: "u", Password: "p", TLS: tlspolicy.LevelVerified, Via: via},
		{User: "v", Password: "p", Via: []mx.Hop{hop(t, "127.0.0.1:2525", true)}},
	}}
	if err := ok.Validate().Err(); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
	if _, err := tlspolicy.ParseLevel("none"); err == nil {
		t.Error(`tls = "none" was accepted`)
	}
}

// TestVia: hosts of a route in the order written, exempt from refusal, and the
// next after one that does not answer.
func TestVia(t *testing.T) {
	srv := newServer(t, mxtest.Config{})
	down := newServer(t, mxtest.Config{})
	down.Close()
	w := &world{t: t, srv: srv, tr: newTransport(t, mx.Config{Hostname: "relay.example.org",
		Resolver: newResolver(t, newDNS(t, "hub.test. A 127.0.0.1\nhub.test. MX 10 wrong.test.\n")),
		Routes: []mx.Route{{Name: "hub", To: []string{"*"}, Via: []mx.Hop{
			hop(t, down.Addr(), false), hop(t, fmt.Sprint("hub.test:", srv.Port()), false)}}}})}
	res := w.deliver(task(t, letter, "x@b.test", "y@c.test"))
	if !res.Replies[0].Positive() || !res.Replies[1].Positive() || res.Route != "hub" || res.Host != "hub.test" {
		t.Errorf("%+v", res)
	}
	if m := srv.Messages(); len(m) != 1 || len(m[0].Recipients) != 2 {
		t.Errorf("one message for both domains: %+v", m)
	}
}

// TestPartedRoutes: recipients whose routes parted since acceptance still all
// get there.
func TestPartedRoutes(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if err := w.dns.Add("c.test. A 127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	tk := task(t, letter, "x@b.test", "y@c.test", "z@b.test")
	tk.Destination = "route:gone"
	res := w.deliver(tk)
	for i, r := range res.Replies {
		if !r.Positive() {
			t.Errorf("%d: %v", i, r)
		}
	}
	if m := w.srv.Messages(); len(m) != 2 {
		t.Errorf("%d messages", len(m))
	}
}

// TestStopped: an attempt that is told to stop defers, at once.
func TestStopped(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("mail", "stall", 0)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	stop, done := context.WithCancel(ctx)
	go func() {
		w.srv.WaitCommand(ctx, "MAIL", 1)
		done()
	}()
	r := w.tr.Deliver(stop, task(t, letter, "x@b.test")).Replies[0]
	if r.Permanent() || !strings.Contains(r.Text, "stopped") {
		t.Errorf("%+v", r)
	}
}
