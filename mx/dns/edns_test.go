package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"

	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

// TestDroppedEDNS: a server that drops queries with EDNS0 is asked without, and
// from then on at once, so that not every question costs a time-out.
func TestDroppedEDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, trusted := range []bool{false, true} {
			d := newZone(t, records)
			d.Fault("", "", mxtest.DropsEDNS)
			r := piped(t, dns.Config{Trusted: &trusted}, d)
			if a, err := r.LookupMX(context.Background(), "m.test"); err != nil || len(a.Records) != 1 || d.Queries("m.test", "") != 2 {
				t.Errorf("trusted %v: %d queries, %+v, %v", trusted, d.Queries("m.test", ""), a, err)
			}
			if _, err := r.LookupTXT(context.Background(), "texts.test"); err != nil || d.Queries("texts.test", "") != 1 {
				t.Errorf("trusted %v, the next question: %d queries, %v", trusted, d.Queries("texts.test", ""), err)
			}
		}
	})
}

// TestSpeaksEDNS: a server that takes EDNS0 is not asked without for what it does
// to single questions.
func TestSpeaksEDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		trusted := false
		d := newZone(t, records)
		r := piped(t, dns.Config{Trusted: &trusted}, d)
		for _, step := range []struct {
			name  string
			fault mxtest.Fault
		}{{"a.test", ""}, {"four.test", mxtest.DropsEDNS}, {"m.test", mxtest.NoEDNS}} {
			d.Fault(step.name, "", step.fault)
			r.LookupAddrs(context.Background(), step.name, "4") //nolint:errcheck // m.test has none
		}
		d.Fault("texts.test", "", mxtest.NoEDNS)
		r.LookupTXT(context.Background(), "texts.test") //nolint:errcheck // counted below
		if n := d.Queries("texts.test", ""); n != 2 {
			t.Errorf("%d queries: it is taken for a server without EDNS0", n)
		}
	})
}

// TestSlowServerKeepsTheADBit: a resolver that sets AD in answers with EDNS0 only,
// and is too slow for the first question, must not bring an answer about that is
// believed to be unsigned.
func TestSlowServerKeepsTheADBit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newZone(t, records)
		d.Authentic(true)
		d.Fault("", "", mxtest.BareAD)
		lost := 0
		r := piped(t, dns.Config{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			if lost++; lost == 1 {
				ours, theirs := net.Pipe()
				t.Cleanup(func() { theirs.Close() })
				go theirs.Read(make([]byte, 1024)) //nolint:errcheck // the question is lost
				return ours, nil
			}
			return pipeDNS(d)(ctx, network, addr)
		}}, d)
		for _, name := range []string{"a.test", "four.test"} {
			if a, err := r.LookupAddrs(context.Background(), name, "4"); err != nil || !a.Secure {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
		}
	})
}

// TestAnswersInDoubt: a trusted server that takes EDNS0, and gives one answer only
// without and without the AD bit, leaves in doubt whether that is signed: DANE
// would be lost. What it says of other names is not.
func TestAnswersInDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, fault := range []mxtest.Fault{mxtest.DropsEDNS, mxtest.FailsEDNS, mxtest.NoEDNS} {
			d := newZone(t, records)
			d.Authentic(true)
			for _, name := range []string{"m.test", "a.test", "none.test"} {
				d.Fault(name, "", fault)
				d.Unsigned(name, "")
			}
			r := piped(t, dns.Config{}, d)
			if a, err := r.LookupMX(context.Background(), "m.test"); err != nil || a.Secure || !a.Doubt {
				t.Errorf("%s: %+v, %v", fault, a, err)
			}
			if a, err := r.LookupAddrs(context.Background(), "a.test", ""); err != nil || a.Secure || !a.Doubt {
				t.Errorf("%s: %+v, %v", fault, a, err)
			}
			var none *dns.Error
			if _, err := r.LookupMX(context.Background(), "none.test"); !errors.As(err, &none) || dns.Temporary(err) || !none.Doubt {
				t.Errorf("%s: %v", fault, err)
			}
			if a, err := r.LookupAddrs(context.Background(), "four.test", "4"); err != nil || !a.Secure || a.Doubt {
				t.Errorf("%s, another name: %+v, %v", fault, a, err)
			}
		}
	})
}

// TestALookupIsBounded: aliases that each take the servers as long as they may cost
// no more than one lookup may take.
func TestALookupIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, asked := time.Now(), 0
		r, err := dns.NewResolver(dns.Config{Servers: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			if asked++; asked%4 != 0 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			ours, theirs := net.Pipe()
			go func() {
				defer theirs.Close()
				var query, reply mdns.Msg
				packet := make([]byte, 1024)
				n, err := theirs.Read(packet)
				if err != nil || query.Unpack(packet[:n]) != nil {
					return
				}
				reply.SetReply(&query)
				alias, _ := mdns.NewRR(fmt.Sprintf("%s CNAME next-%d.test.", query.Question[0].Name, asked))
				reply.Answer, reply.RecursionAvailable = []mdns.RR{alias}, true
				packet, _ = reply.Pack()
				theirs.Write(packet) //nolint:errcheck // the reader may have given up
			}()
			return ours, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if a, err := r.LookupAddrs(context.Background(), "a.test", "4"); !dns.Temporary(err) {
			t.Errorf("%+v, %v", a, err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("a lookup took %v", took)
		}
	})
}

// TestFailsEDNS: a server that fails queries with EDNS0, and does not speak it, is
// asked without.
func TestFailsEDNS(t *testing.T) {
	d := startDNS(t, records)
	d.Fault("", "", mxtest.FailsEDNS)
	if a, err := startResolver(t, d).LookupMX(context.Background(), "m.test"); err != nil || len(a.Records) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestCutWithoutTCP: an answer that is cut, and cannot be had whole, is none;
// another server is asked.
func TestCutWithoutTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cut, good := newZone(t, records), newZone(t, records)
		cut.Fault("", "", mxtest.Cut)
		for _, servers := range [][]*mxtest.DNS{{cut}, {cut, good}} {
			r := piped(t, dns.Config{}, servers...)
			a, err := r.LookupMX(context.Background(), "m.test")
			if len(servers) == 1 && !dns.Temporary(err) || len(servers) == 2 && len(a.Records) != 1 {
				t.Errorf("%d servers: %+v, %v", len(servers), a, err)
			}
		}
	})
}

// TestSilentBesideFailing: the server that drops EDNS0 has its second chance
// also where another one has failed.
func TestSilentBesideFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		drops, fails := newZone(t, records), newZone(t, records)
		drops.Fault("", "", mxtest.DropsEDNS)
		fails.Fault("", "", mxtest.ServFail)
		r := piped(t, dns.Config{}, fails, drops)
		if a, err := r.LookupMX(context.Background(), "m.test"); err != nil || len(a.Records) != 1 {
			t.Errorf("%+v, %v", a, err)
		}
	})
}

// TestChains: aliases are followed as far as resolvers follow them, also where a
// server leaves the rest of the chain to its client.
func TestChains(t *testing.T) {
	var zone strings.Builder
	for i := range 20 {
		fmt.Fprintf(&zone, "c%d.test. CNAME c%d.test.\n", i, i+1)
	}
	zone.WriteString("c20.test. A 192.0.2.20\n")
	for _, c := range []struct {
		name  string
		fault mxtest.Fault
		ok    bool
	}{{"c12.test", "", true}, {"c5.test", "", true}, {"c0.test", "", false}, {"c17.test", mxtest.OpenAlias, true}, {"c10.test", mxtest.OpenAlias, false}} {
		d := startDNS(t, zone.String())
		d.Authentic(true)
		d.Fault("", "", c.fault)
		a, err := startResolver(t, d).LookupAddrs(context.Background(), c.name, "4")
		if c.ok && (err != nil || a.Name != "c20.test" || !a.Secure) || !c.ok && !dns.Temporary(err) {
			t.Errorf("%s %s: %+v, %v", c.name, c.fault, a, err)
		}
	}
	// A link that is not signed makes the whole chain insecure.
	d := startDNS(t, zone.String())
	d.Authentic(true)
	d.Unsigned("c18.test", "CNAME")
	d.Fault("", "", mxtest.OpenAlias)
	if a, err := startResolver(t, d).LookupAddrs(context.Background(), "c17.test", "4"); err != nil || a.Secure {
		t.Errorf("%+v, %v", a, err)
	}
}
