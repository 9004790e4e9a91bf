package mx_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
)

// TestDANEIsNotLost: each way in which a host's TLSA records could be passed
// over. They name another certificate, so mail that arrives has lost them.
func TestDANEIsNotLost(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	const alias = "b.test. MX 10 mx.b.test.\nmx.b.test. CNAME real.b.test.\nreal.b.test. A 127.0.0.1\n"
	for _, c := range []struct {
		name  string
		zone  string
		at    string // whose records they are; "": mx.b.test
		setup func(w *world)
		cfg   func(*mxtest.Config)
		lost  bool // rightly: nothing signed says that they are the host's
	}{
		{name: "the host itself", zone: zone},
		{name: "the host offers no STARTTLS", zone: zone, cfg: func(c *mxtest.Config) { c.Certificate = nil }},
		{name: "a signed alias into an unsigned zone, with records at the alias", zone: alias,
			setup: func(w *world) { w.dns.Unsigned("real.b.test", "") }},
		{name: "the same, and the host offers no STARTTLS", zone: alias, cfg: func(c *mxtest.Config) { c.Certificate = nil },
			setup: func(w *world) { w.dns.Unsigned("real.b.test", "") }},
		{name: "the same, and the alias cannot be looked up", zone: alias,
			setup: func(w *world) {
				w.dns.Unsigned("real.b.test", "")
				w.dns.Fault("mx.b.test", "CNAME", mxtest.ServFail)
			}},
		{name: "an unsigned alias", zone: alias, lost: true, setup: func(w *world) { w.dns.Unsigned("mx.b.test", "CNAME"); w.dns.Unsigned("real.b.test", "") }},
		{name: "a signed alias into an unsigned zone, with records in that zone", zone: alias, at: "real.b.test", lost: true,
			setup: func(w *world) { w.dns.Unsigned("real.b.test", "") }},
		{name: "a signed alias of a signed host, with records at the alias", zone: alias},
		{name: "A signed with AAAA unsigned", zone: zone + "mx.b.test. AAAA ::1\n", setup: func(w *world) { w.dns.Unsigned("mx.b.test", "AAAA") }},
		{name: "A unsigned with AAAA signed", zone: zone + "mx.b.test. AAAA ::1\n", setup: func(w *world) { w.dns.Unsigned("mx.b.test", "A") }},
		{name: "A signed with AAAA that fails", zone: zone, setup: func(w *world) { w.dns.Fault("mx.b.test", "AAAA", mxtest.ServFail) }},
		{name: "the name server refuses EDNS", zone: zone, setup: func(w *world) { w.dns.Fault("", "", mxtest.NoEDNS) }},
		{name: "NXDOMAIN that holds the TLSA records", zone: zone, setup: tlsaFault(mxtest.NXAnswer)},
		{name: "TLSA records of another owner", zone: zone, setup: tlsaFault(mxtest.OtherOwner)},
		{name: "records of another type in place of TLSA", zone: zone, setup: tlsaFault(mxtest.OtherType)},
		{name: "a DNAME without its alias in place of TLSA", zone: zone, setup: tlsaFault(mxtest.BareDNAME)},
		{name: "TLS breaks at the first try", zone: zone, setup: func(w *world) { w.script("tls", "reset", 1) }},
		{name: "TLS breaks at each try", zone: zone, setup: func(w *world) { w.script("tls", "reset", 0) }},
		{name: "STARTTLS is refused", zone: zone, setup: func(w *world) { w.script("starttls", "454 4.7.0 not now", 0) }},
		{name: "STARTTLS is refused for ever", zone: zone, setup: func(w *world) { w.script("starttls", "502 5.5.1 what?", 0) }},
		{name: "an alert after the handshake", zone: zone, cfg: func(c *mxtest.Config) {
			c.TLS = func(c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
			}
		}},
		{name: "a ClientHello that is too long", zone: zone, cfg: func(c *mxtest.Config) { c.MaxHello = 1400 }},
		{name: "RSA key exchange only", zone: zone, cfg: func(c *mxtest.Config) {
			c.Certificate = rsaCertificate(t, "mx.b.test")
			c.TLS = func(c *tls.Config) {
				c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := cfg
			if c.cfg != nil {
				c.cfg(&server)
			}
			w := newWorld(t, server, func(c *mx.Config) { c.DANE, c.RootCAs = true, ca.Pool() })
			at := "mx.b.test"
			if c.at != "" {
				at = c.at
			}
			if err := w.dns.Set(c.zone + fmt.Sprintf("_%d._tcp.%s. %s", w.srv.Port(), at, tlsa(t, 3, 1, 1, der(ca)))); err != nil {
				t.Fatal(err)
			}
			w.dns.Authentic(true)
			if c.setup != nil {
				c.setup(w)
			}
			for range 2 { // what the first attempt taught changes nothing
				res := w.deliver(task(t, letter, "x@b.test"))
				if c.lost != res.Replies[0].Positive() || !c.lost && (res.TLSPolicy != "dane" || said(w.srv, "MAIL")) {
					t.Errorf("%+v", res)
				}
			}
		})
	}
}

func tlsaFault(f mxtest.Fault) func(*world) {
	return func(w *world) { w.dns.Fault(fmt.Sprintf("_%d._tcp.mx.b.test", w.srv.Port()), "TLSA", f) }
}

// TestDANEByAnAliasDelivers: where the certificate is the right one, mail goes
// by records at an alias and at a host with one signed family.
func TestDANEByAnAliasDelivers(t *testing.T) {
	cfg, _ := certified(t, "elsewhere.test")
	for name, zone := range map[string]string{
		"alias":  "b.test. MX 10 mx.b.test.\nmx.b.test. CNAME real.c.test.\nreal.c.test. A 127.0.0.1\n",
		"family": zone + "mx.b.test. AAAA ::1\n",
	} {
		w := newWorld(t, cfg, func(c *mx.Config) { c.DANE = true })
		if err := w.dns.Set(zone + fmt.Sprintf("_%d._tcp.mx.b.test. %s", w.srv.Port(), tlsa(t, 3, 1, 1, cfg.Certificate.Certificate[0]))); err != nil {
			t.Fatal(err)
		}
		w.dns.Authentic(true)
		w.dns.Unsigned("c.test", "")
		w.dns.Unsigned("mx.b.test", "AAAA")
		if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() || res.TLSPolicy != "dane" || res.TLSLevel != "verified" {
			t.Errorf("%s: %+v", name, res)
		}
	}
}

// TestDANEInDoubt: where a trusted name server takes EDNS for other names only, and
// so nobody knows what is signed, TLSA records that are there are not passed over,
// and mail for hosts without goes out.
func TestDANEInDoubt(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	records := "_PORT._tcp.mx.b.test. " + tlsa(t, 3, 1, 1, der(ca)) // of another certificate
	for _, c := range []struct {
		name, records string
		silent        []string // names whose questions with EDNS are dropped
		sent          bool
	}{
		{"the MX records", records, []string{"b.test"}, false},
		{"the addresses", records, []string{"mx.b.test"}, false},
		{"the TLSA records", records, []string{"_PORT._tcp.mx.b.test"}, false},
		{"all of them", records, []string{"b.test", "mx.b.test", "_PORT._tcp.mx.b.test"}, false},
		{"all of them, and there is no TLSA record", "", []string{"b.test", "mx.b.test", "_PORT._tcp.mx.b.test"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := mxtest.NewZone(zone)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, cfg, func(m *mx.Config) {
				r, err := dns.NewResolver(dns.Config{Servers: []string{"127.0.0.1"}, Dial: func(_ context.Context, network, _ string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go d.ServePipe(theirs, network)
					return ours, nil
				}})
				if err != nil {
					t.Fatal(err)
				}
				m.Resolver, m.DANE, m.RootCAs = r, true, ca.Pool()
			})
			port := strconv.Itoa(w.srv.Port())
			if err := d.Set(zone + strings.ReplaceAll(c.records, "PORT", port)); err != nil {
				t.Fatal(err)
			}
			d.Authentic(true)
			for _, name := range c.silent {
				d.Fault(strings.ReplaceAll(name, "PORT", port), "", mxtest.DropsEDNS)
			}
			for range 2 {
				if res := w.deliver(task(t, letter, "x@b.test")); c.sent != res.Replies[0].Positive() || !c.sent && (!deferred(res) || said(w.srv, "MAIL")) {
					t.Errorf("%+v", res)
				}
			}
		})
	}
}
