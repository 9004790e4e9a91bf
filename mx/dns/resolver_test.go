package dns_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

const records = `
a.test.       A 192.0.2.1
a.test.       AAAA 2001:db8::1
four.test.    A 192.0.2.4
www.test.     CNAME a.test.
loop1.test.   CNAME loop2.test.
loop2.test.   CNAME loop1.test.
lost.test.    CNAME gone.test.
bare.test.    CNAME texts.test.
texts.test.   TXT "v=spf1 " "-all"
m.test.       MX 10 Mx.A.test.
1.2.0.192.in-addr.arpa. PTR host.test.
`

func startDNS(t testing.TB, records string) *mxtest.DNS {
	t.Helper()
	d, err := mxtest.NewDNS(records)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func startResolver(t testing.TB, d *mxtest.DNS) *dns.Resolver {
	t.Helper()
	r, err := dns.NewResolver(dns.Config{Servers: []string{d.Addr()}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func trouble(err error) dns.Trouble {
	var e *dns.Error
	if errors.As(err, &e) {
		return e.Trouble
	}
	return ""
}

func TestLookups(t *testing.T) {
	d := startDNS(t, records)
	r := startResolver(t, d)
	ctx := context.Background()
	if a, err := r.LookupMX(ctx, "M.test."); err != nil || len(a.Records) != 1 || a.Records[0] != (dns.MX{Host: "mx.a.test", Preference: 10}) {
		t.Errorf("MX: %+v, %v", a, err)
	}
	for ip, want := range map[string]string{"4": "192.0.2.1", "6": "2001:db8::1", "both": "2001:db8::1 192.0.2.1", "": "2001:db8::1 192.0.2.1"} {
		a, err := r.LookupAddrs(ctx, "www.test", ip)
		var got []string
		for _, each := range a.Records {
			got = append(got, each.String())
		}
		if strings.Join(got, " ") != want || err != nil || a.Name != "a.test" {
			t.Errorf("addresses %q: %+v, %v", ip, a, err)
		}
	}
	if a, err := r.LookupPTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1")); err != nil || len(a.Records) != 1 || a.Records[0] != "host.test" {
		t.Errorf("PTR: %+v, %v", a, err)
	}
	if a, err := r.LookupTXT(ctx, "texts.test"); err != nil || len(a.Records) != 1 || a.Records[0] != "v=spf1 -all" {
		t.Errorf("TXT: %+v, %v", a, err)
	}
	if a, err := r.LookupAddrs(ctx, "four.test", "both"); err != nil || len(a.Records) != 1 {
		t.Errorf("one family: %+v, %v", a, err)
	}
}

func TestTroubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newZone(t, records)
		for name, f := range map[string]mxtest.Fault{"sf.test": mxtest.ServFail, "refused.test": mxtest.Refused, "silent.test": mxtest.Silent,
			"referral.test": mxtest.Referral, "empty.test": mxtest.EmptyReply, "lame.test": mxtest.Lame, "opt.test": mxtest.StrayOPT} {
			d.Fault(name, "", f)
		}
		r := piped(t, dns.Config{}, d)
		for name, want := range map[string]dns.Trouble{
			"nowhere.test": dns.NXDomain, "a.test": dns.NoData, "lost.test": dns.NXDomain, "bare.test": dns.NoData, "loop1.test": dns.ServFail,
			"sf.test": dns.ServFail, "refused.test": dns.ServFail, "referral.test": dns.ServFail, "silent.test": dns.Timeout,
			"empty.test": dns.NoData, "lame.test": dns.ServFail, "opt.test": dns.ServFail, "": dns.NXDomain, strings.Repeat("x", 64) + ".test": dns.NXDomain,
		} {
			_, err := r.LookupMX(context.Background(), name)
			if trouble(err) != want {
				t.Errorf("%q: %v, want %s", name, err, want)
			}
			if dns.Temporary(err) != (want == dns.ServFail || want == dns.Timeout) {
				t.Errorf("%q: temporary %v", name, dns.Temporary(err))
			}
		}
		d.Fault("a.test", "AAAA", mxtest.ServFail)
		if a, err := r.LookupAddrs(context.Background(), "a.test", "both"); err != nil || len(a.Records) != 1 {
			t.Errorf("one family failed: %+v, %v", a, err)
		}
		d.Fault("x.test", "AAAA", mxtest.ServFail) // A: NXDOMAIN, by a server that contradicts itself
		if _, err := r.LookupAddrs(context.Background(), "x.test", "both"); trouble(err) != dns.ServFail {
			t.Errorf("one family may still have addresses: %v", err)
		}
	})
}

// TestMisfit: an answer that no correct resolver gives is no word that there is
// nothing. Another server is asked.
func TestMisfit(t *testing.T) {
	for _, f := range []mxtest.Fault{mxtest.NXAnswer, mxtest.OtherOwner, mxtest.OtherType, mxtest.BareDNAME} {
		bad, good := startDNS(t, records), startDNS(t, records)
		bad.Fault("", "", f)
		ctx := context.Background()
		r := startResolver(t, bad)
		if _, err := r.LookupMX(ctx, "m.test"); trouble(err) != dns.ServFail {
			t.Errorf("MX, %s: %v", f, err)
		}
		if _, err := r.LookupAddrs(ctx, "www.test", ""); trouble(err) != dns.ServFail {
			t.Errorf("addresses, %s: %v", f, err)
		}
		two, err := dns.NewResolver(dns.Config{Servers: []string{bad.Addr(), good.Addr()}})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := two.LookupMX(ctx, "m.test"); err != nil || len(a.Records) != 1 {
			t.Errorf("another server, %s: %+v, %v", f, a, err)
		}
	}
}

// TestForged: packets that answer another question are passed over, not taken.
func TestForged(t *testing.T) {
	for _, f := range []mxtest.Fault{mxtest.WrongID, mxtest.WrongName, mxtest.Extra, mxtest.NoEDNS, mxtest.Truncate} {
		d := startDNS(t, records)
		d.Fault("a.test", "", f)
		a, err := startResolver(t, d).LookupAddrs(context.Background(), "a.test", "4")
		if err != nil || len(a.Records) != 1 || a.Records[0] != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s: %+v, %v", f, a, err)
		}
	}
}

// TestBigAnswer comes over TCP.
func TestBigAnswer(t *testing.T) {
	d := startDNS(t, strings.Repeat(`big.test. TXT "`+strings.Repeat("x", 200)+"\"\n", 1)+many("big.test.", 60))
	a, err := startResolver(t, d).LookupTXT(context.Background(), "big.test")
	if err != nil || len(a.Records) != 61 {
		t.Errorf("%d records, %v", len(a.Records), err)
	}
}

func many(name string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(name + ` TXT "` + strings.Repeat("y", 150) + string(rune('A'+i%26)) + strings.Repeat("z", i) + "\"\n")
	}
	return b.String()
}

// TestFailover: a dead server costs its time-out once.
func TestFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dead, broken, good := newZone(t, ""), newZone(t, ""), newZone(t, records+"b.test. A 192.0.2.2\n")
		dead.Fault("", "", mxtest.Silent)
		broken.Fault("", "", mxtest.ServFail)
		r := piped(t, dns.Config{}, dead, broken, good)
		for _, name := range []string{"a.test", "b.test"} {
			if a, err := r.LookupAddrs(context.Background(), name, "4"); err != nil || len(a.Records) != 1 {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
		}
		if n := dead.Queries("", ""); n != 1 {
			t.Errorf("the dead server was asked %d times", n)
		}
	})
}

func TestAuthenticData(t *testing.T) {
	d := startDNS(t, records)
	d.Authentic(true)
	yes, no := true, false
	for _, c := range []struct {
		trusted *bool
		want    bool
	}{{nil, true}, {&yes, true}, {&no, false}} { // nil: a server on loopback
		r, err := dns.NewResolver(dns.Config{Servers: []string{d.Addr()}, Trusted: c.trusted})
		if err != nil {
			t.Fatal(err)
		}
		a, err := r.LookupMX(context.Background(), "m.test")
		if err != nil || a.Secure != c.want {
			t.Errorf("%+v, %v", a, err)
		}
	}
	r, err := dns.NewResolver(dns.Config{Servers: []string{"127.0.0.1", "192.0.2.53:53"}})
	if err != nil || r.Trusted() {
		t.Errorf("a server elsewhere is trusted by default: %v", err)
	}
	d.Authentic(false)
	if a, err := startResolver(t, d).LookupMX(context.Background(), "m.test"); err != nil || a.Secure {
		t.Errorf("without AD: %+v, %v", a, err)
	}
	if _, err := dns.NewResolver(dns.Config{Servers: []string{"not an address"}}); err == nil {
		t.Error("a server that is none was accepted")
	}
}

// silent is a connection on which a server that says nothing is waited for.
type silent struct{ net.Conn }

func (silent) Close() error { return nil }

// newZone is a server without sockets, for piped: under fake time no slow machine
// makes it miss a time-out.
func newZone(t testing.TB, records string) *mxtest.DNS {
	t.Helper()
	d, err := mxtest.NewZone(records)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// piped is a resolver that asks servers over pipes, in a bubble, in this order.
func piped(t testing.TB, cfg dns.Config, servers ...*mxtest.DNS) *dns.Resolver {
	t.Helper()
	at := make(map[string]*mxtest.DNS)
	for i, d := range servers {
		addr := fmt.Sprintf("127.0.0.%d:53", i+1) // loopback: they are trusted
		cfg.Servers, at[addr] = append(cfg.Servers, addr), d
	}
	if cfg.Dial == nil {
		cfg.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			return pipeDNS(at[addr])(ctx, network, addr)
		}
	}
	r, err := dns.NewResolver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pipeDNS answers queries over pipes: under fake time there are no sockets.
func pipeDNS(d *mxtest.DNS) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, network, _ string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go d.ServePipe(silent{theirs}, network)
		return ours, nil
	}
}

// TestCache: by TTL without a floor, negative answers by their SOA, failures
// five seconds.
func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := mxtest.NewZone(`
$ORIGIN test.
test.  100 SOA ns hostmaster 1 2 3 4 60
long   300 A 192.0.2.1
short  2   A 192.0.2.2
zero   0   A 192.0.2.3
chain  7   CNAME long
nosoa.example. 300 A 192.0.2.4
`)
		if err != nil {
			t.Fatal(err)
		}
		d.Fault("fail.test", "", mxtest.ServFail)
		d.Fault("empty.example", "", mxtest.EmptyReply)
		r, err := dns.NewResolver(dns.Config{Servers: []string{"192.0.2.53"}, Dial: pipeDNS(d)})
		if err != nil {
			t.Fatal(err)
		}
		for name, lasts := range map[string]time.Duration{"long.test": 300 * time.Second, "short.test": 2 * time.Second, "zero.test": 0,
			"chain.test": 7 * time.Second, "none.test": 60 * time.Second, "fail.test": 5 * time.Second, "empty.example": 5 * time.Second} {
			ask := func() int {
				r.LookupAddrs(context.Background(), name, "4") //nolint:errcheck // only the questions count
				return d.Queries(name, "A")
			}
			first := ask()
			if again := ask(); (again == first) != (lasts > 0) {
				t.Errorf("%s: asked again at once: %v", name, again != first)
			}
			if lasts == 0 {
				continue
			}
			time.Sleep(lasts - time.Second)
			if n := ask(); n != first {
				t.Errorf("%s: forgotten too early", name)
			}
			time.Sleep(time.Second)
			if n := ask(); n == first {
				t.Errorf("%s: remembered too long", name)
			}
		}
	})
}

// TestSingleflight: one question on the wire for many that ask, and who gives
// up does not take the answer from the others.
func TestSingleflight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := mxtest.NewZone(records)
		if err != nil {
			t.Fatal(err)
		}
		slow := func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(time.Second)
			return pipeDNS(d)(ctx, network, addr)
		}
		r, err := dns.NewResolver(dns.Config{Servers: []string{"192.0.2.53"}, Dial: slow})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				ctx := context.Background()
				if i == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
					defer cancel()
				} else {
					time.Sleep(100 * time.Millisecond)
				}
				_, err := r.LookupMX(ctx, "m.test")
				if (err != nil) != (i == 0) {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if n := d.Queries("m.test", "MX"); n != 1 {
			t.Errorf("%d questions", n)
		}
	})
}

// TestCacheBound: the cache stays within its size.
func TestCacheBound(t *testing.T) {
	d := startDNS(t, "*.test. 300 A 192.0.2.1\none.test. 300 A 192.0.2.1\ntwo.test. 300 A 192.0.2.1\nthree.test. 300 A 192.0.2.1\n")
	r, err := dns.NewResolver(dns.Config{Servers: []string{d.Addr()}, Size: 2})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one.test", "two.test", "one.test", "three.test", "one.test", "two.test"} {
		if _, err := r.LookupAddrs(context.Background(), name, "4"); err != nil {
			t.Fatal(err)
		}
	}
	if d.Queries("one.test", "") != 1 || d.Queries("two.test", "") != 2 {
		t.Errorf("one %d, two %d", d.Queries("one.test", ""), d.Queries("two.test", ""))
	}
}

// TestResolvConf: servers come from resolv.conf and follow it.
func TestResolvConf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(content string, age time.Duration) {
		t.Helper()
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now().Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	write("search example.org\nnameserver 127.0.0.1\n", time.Hour)
	synctest.Test(t, func(t *testing.T) {
		r, err := dns.NewResolver(dns.Config{File: file})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			content string
			want    string
			trusted bool
		}{
			{"", "127.0.0.1:53", true},
			{"nameserver 192.0.2.53\nnameserver 2001:db8::53\n", "192.0.2.53:53 [2001:db8::53]:53", false},
			{"# none\n", "127.0.0.1:53", true},
		} {
			if c.content != "" {
				write(c.content, time.Duration(len(c.content))*time.Minute)
			}
			time.Sleep(6 * time.Second)
			if got := strings.Join(r.Servers(), " "); got != c.want || r.Trusted() != c.trusted {
				t.Errorf("%q: %s, trusted %v", c.content, got, r.Trusted())
			}
		}
	})
	for content, want := range map[string]string{
		"nameserver 192.0.2.1#53\nnameserver 192.0.2.53\n":    "192.0.2.53:53",
		"nameserver dns.example.org\nnameserver 2001:db8::53": "[2001:db8::53]:53",
		"nameserver 192.0.2.1#53\n":                           "127.0.0.1:53",
	} {
		write(content, time.Hour)
		var told strings.Builder
		r, err := dns.NewResolver(dns.Config{File: file, Log: slog.New(slog.NewTextHandler(&told, nil))})
		if err != nil || strings.Join(r.Servers(), " ") != want || strings.Count(told.String(), "is skipped") != 1 {
			t.Errorf("%q: %v, %s", content, err, told.String())
		}
	}
	if r, err := dns.NewResolver(dns.Config{File: file + ".missing"}); err != nil || len(r.Servers()) != 1 {
		t.Errorf("without the file: %v", err)
	}
}
