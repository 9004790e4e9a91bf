package mx_test

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/dns"
	"dawk/mx/mxtest"
	"dawk/relay/tlsrpt"
)

// tlsa is a TLSA record for a certificate in DER.
func tlsa(t testing.TB, usage, selector, matching int, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	data := c.Raw
	if selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return fmt.Sprintf("TLSA %d %d %d %s", usage, selector, matching, hex.EncodeToString(data))
}

func der(ca *mxtest.CA) []byte {
	block, _ := pem.Decode(ca.PEM())
	return block.Bytes
}

// reports collects TLSReports.
type reports struct {
	mu  sync.Mutex
	all []tlsrpt.Session
}

func (r *reports) add(t tlsrpt.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, t)
}

func (r *reports) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s []string
	for _, t := range r.all {
		s = append(s, t.Type+" "+t.Domain+" "+t.Result)
	}
	return strings.Join(s, ", ")
}

// said says whether the server heard a verb.
func said(s *mxtest.Server, verb string) bool {
	return slices.ContainsFunc(s.Commands(), func(c string) bool { return strings.Contains(c, verb) })
}

// TestDANE: what the records of a host make of an opportunistic delivery.
// Whatever goes wrong with them, mail never goes in the clear or to another.
func TestDANE(t *testing.T) {
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	leaf := certificate(t, ca, time.Hour, "mx.b.test")
	expired := certificate(t, ca, -time.Minute, "other.test")
	chained := func(c *tls.Certificate) *tls.Certificate {
		return &tls.Certificate{Certificate: append(slices.Clone(c.Certificate), der(ca)), PrivateKey: c.PrivateKey}
	}
	own := func(u, s, m int) string { return tlsa(t, u, s, m, leaf.Certificate[0]) }
	const good, clear, lax, deferred = "dane", "clear", "tls", "deferred"
	for _, c := range []struct {
		name     string
		cert     *tls.Certificate // nil: no STARTTLS
		records  []string
		insecure bool
		fault    mxtest.Fault
		want     string
		report   string
	}{
		{"3 1 1", leaf, []string{own(3, 1, 1)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 0 2", leaf, []string{own(3, 0, 2)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 1 0", leaf, []string{own(3, 1, 0)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 0 0", leaf, []string{own(3, 0, 0)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 1 2 beside a 3 1 1 that is wrong", leaf, []string{tlsa(t, 3, 1, 1, der(ca)), own(3, 1, 2)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 1 1 beside a 3 1 2 that is wrong", leaf, []string{tlsa(t, 3, 1, 2, der(ca)), own(3, 1, 1)}, false, "", deferred, "tlsa mx.b.test validation-failure"},
		{"3 1 1 beside a 3 0 2 that is wrong", leaf, []string{tlsa(t, 3, 0, 2, der(ca)), own(3, 1, 1)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 1 0 beside a 3 1 2 that is wrong", leaf, []string{tlsa(t, 3, 1, 2, der(ca)), own(3, 1, 0)}, false, "", good, "tlsa mx.b.test successful"},
		{"3 1 1 beside a 3 1 2 that is none", leaf, []string{"TLSA 3 1 2 abcdef", own(3, 1, 1)}, false, "", good, "tlsa mx.b.test successful"},
		{"one of two", leaf, []string{tlsa(t, 3, 1, 1, der(ca)), own(3, 1, 1)}, false, "", good, "tlsa mx.b.test successful"},
		{"3: neither name nor date count", expired, []string{tlsa(t, 3, 1, 1, expired.Certificate[0])}, false, "", good, "tlsa mx.b.test successful"},
		{"2 0 1", chained(leaf), []string{tlsa(t, 2, 0, 1, der(ca))}, false, "", good, "tlsa mx.b.test successful"},
		{"2 1 2", chained(leaf), []string{tlsa(t, 2, 1, 2, der(ca))}, false, "", good, "tlsa mx.b.test successful"},
		{"2 0 0 without the authority in the chain", leaf, []string{tlsa(t, 2, 0, 0, der(ca))}, false, "", good, "tlsa mx.b.test successful"},
		{"2: the next hop's name", chained(certificate(t, ca, time.Hour, "b.test")), []string{tlsa(t, 2, 0, 1, der(ca))}, false, "", good, "tlsa mx.b.test successful"},
		{"2: the name counts", chained(certificate(t, ca, time.Hour, "other.test")), []string{tlsa(t, 2, 0, 1, der(ca))}, false, "", deferred, "tlsa mx.b.test certificate-host-mismatch"},
		{"2: the date counts", chained(certificate(t, ca, -time.Minute, "mx.b.test")), []string{tlsa(t, 2, 0, 1, der(ca))}, false, "", deferred, "tlsa mx.b.test certificate-expired"},
		{"2: another authority", chained(leaf), []string{tlsa(t, 2, 0, 1, der(stranger))}, false, "", deferred, "tlsa mx.b.test validation-failure"},
		{"2: an authority that did not sign", &tls.Certificate{Certificate: [][]byte{leaf.Certificate[0], der(stranger)}, PrivateKey: leaf.PrivateKey},
			[]string{tlsa(t, 2, 0, 1, der(stranger))}, false, "", deferred, "tlsa mx.b.test certificate-not-trusted"},
		{"mismatch", leaf, []string{tlsa(t, 3, 1, 1, der(ca))}, false, "", deferred, "tlsa mx.b.test validation-failure"},
		{"no STARTTLS", nil, []string{own(3, 1, 1)}, false, "", deferred, "tlsa mx.b.test starttls-not-supported"},
		{"unusable usage", leaf, []string{own(1, 1, 1), own(0, 0, 1)}, false, "", lax, "tlsa mx.b.test successful"},
		{"unusable matching", leaf, []string{"TLSA 3 1 3 abcdef", "TLSA 3 1 1 abcdef", "TLSA 2 0 0 abcdef"}, false, "", lax, "tlsa mx.b.test successful"},
		{"unusable, no STARTTLS", nil, []string{own(1, 1, 1)}, false, "", deferred, "tlsa mx.b.test starttls-not-supported"},
		{"usable beside unusable", leaf, []string{own(1, 1, 1), tlsa(t, 3, 1, 1, der(ca))}, false, "", deferred, "tlsa mx.b.test validation-failure"},
		{"no records", leaf, nil, false, "", lax, "no-policy-found b.test successful"},
		{"no records, no STARTTLS", nil, nil, false, "", clear, "no-policy-found b.test starttls-not-supported"},
		{"SERVFAIL", leaf, []string{own(3, 1, 1)}, false, mxtest.ServFail, deferred, "tlsa mx.b.test dnssec-invalid"},
		{"SERVFAIL, no STARTTLS", nil, nil, false, mxtest.ServFail, deferred, "tlsa mx.b.test dnssec-invalid"},
		{"not DNSSEC", nil, []string{own(3, 1, 1)}, true, "", clear, "no-policy-found b.test starttls-not-supported"},
		{"not DNSSEC, SERVFAIL", nil, nil, true, mxtest.ServFail, clear, "no-policy-found b.test starttls-not-supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var seen reports
			w := newWorld(t, mxtest.Config{Certificate: c.cert}, func(cfg *mx.Config) { cfg.DANE, cfg.OnTLS = true, seen.add })
			w.dns.Authentic(!c.insecure)
			name := fmt.Sprintf("_%d._tcp.mx.b.test", w.srv.Port())
			for _, r := range c.records {
				if err := w.dns.Add(name + ". " + r); err != nil {
					t.Fatal(err)
				}
			}
			w.dns.Fault(name, "TLSA", c.fault)
			res := w.deliver(task(t, letter, "x@b.test"))
			r, got := res.Replies[0], clear
			switch {
			case !r.Positive() && !r.Permanent():
				got = deferred
			case res.TLS != "" && res.TLSPolicy == "dane" && !strings.HasPrefix(c.name, "unusable"):
				got = good
			case res.TLS != "":
				got = lax
			}
			if got != c.want || seen.String() != c.report {
				t.Errorf("%s, want %s; reported %s\n%+v", got, c.want, &seen, res)
			}
			for _, r := range seen.all {
				if want := map[bool]string{true: "127.0.0.1"}[r.Result != "dnssec-invalid"]; r.Local != want {
					t.Errorf("our address is %q, want %q", r.Local, want)
				}
				if strings.Contains(r.Detail, w.dns.Addr()) {
					t.Errorf("the report tells strangers of our resolver: %s", r.Detail)
				}
			}
			if got == deferred && said(w.srv, "MAIL") {
				t.Error("MAIL was said all the same")
			}
			if got == deferred && res.TLSPolicy != "dane" {
				t.Errorf("the policy is said to be %q", res.TLSPolicy)
			}
		})
	}
}

// The records count for the host alone: the next one may take the mail. And a
// message that renounces TLS policies is not held up by them.
func TestDANEHosts(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	w := newWorld(t, cfg, func(c *mx.Config) { c.DANE = true })
	w.dns.Authentic(true)
	name := fmt.Sprintf("_%d._tcp.mx.b.test. ", w.srv.Port())
	if err := w.dns.Add(name + tlsa(t, 3, 1, 1, der(ca))); err != nil {
		t.Fatal(err)
	}
	tk := task(t, letter, "x@b.test")
	if r := w.deliver(tk).Replies[0]; r.Positive() {
		t.Fatalf("%+v", r)
	}
	tk.Message.TLSOptional = true // RFC 8689 §5
	if res := w.deliver(tk); !res.Replies[0].Positive() || res.TLSPolicy != "" {
		t.Errorf("TLS-Required: No: %+v", res)
	}
	// An idle connection made without the records serves nobody who has them.
	tk = task(t, letter, "x@b.test")
	if r := w.deliver(tk).Replies[0]; r.Positive() {
		t.Errorf("by an idle connection: %+v", r)
	}
	if err := w.dns.Add("b.test. MX 20 mx2.b.test.\nmx2.b.test. A 127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if res := w.deliver(tk); !res.Replies[0].Positive() || res.Host != "mx2.b.test" {
		t.Errorf("second host: %+v", res)
	}
}

// An MX name that is an alias: the records stand at the name it stands for
// (RFC 7672 §2.2.2).
func TestDANEAlias(t *testing.T) {
	leaf, _ := certified(t, "elsewhere.test")
	w := newWorld(t, leaf, func(c *mx.Config) { c.DANE = true })
	w.dns.Authentic(true)
	if err := w.dns.Set(fmt.Sprintf("b.test. MX 10 mx.b.test.\nmx.b.test. CNAME real.b.test.\nreal.b.test. A 127.0.0.1\n_%d._tcp.real.b.test. %s",
		w.srv.Port(), tlsa(t, 3, 1, 1, leaf.Certificate.Certificate[0]))); err != nil {
		t.Fatal(err)
	}
	if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() || res.TLSPolicy != "dane" {
		t.Errorf("%+v", res)
	}
}

// REQUIRETLS is content with DANE in place of PKIX.
func TestRequireTLSByDANE(t *testing.T) {
	cfg, _ := certified(t, "other.test")
	cfg.Extensions = append(slices.Clone(mxtest.DefaultExtensions), "REQUIRETLS")
	w := newWorld(t, cfg, func(c *mx.Config) { c.DANE, c.RootCAs = true, x509.NewCertPool() })
	w.dns.Authentic(true)
	tk := task(t, letter, "x@b.test")
	tk.Message.RequireTLS = true
	if r := w.deliver(tk).Replies[0]; r.Positive() || r.Permanent() {
		t.Errorf("without records: %+v", r)
	}
	if err := w.dns.Add(fmt.Sprintf("_%d._tcp.mx.b.test. ", w.srv.Port()) + tlsa(t, 3, 1, 1, cfg.Certificate.Certificate[0])); err != nil {
		t.Fatal(err)
	}
	if res := w.deliver(tk); !res.Replies[0].Positive() || res.TLSPolicy != "requiretls" {
		t.Errorf("with records: %+v", res)
	}
}

// doubt is a resolver whose answers of one type are not secure.
type doubt struct {
	*dns.Resolver
	typ string
}

func (d doubt) LookupMX(ctx context.Context, name string) (dns.Answer[dns.MX], error) {
	a, err := d.Resolver.LookupMX(ctx, name)
	a.Secure = a.Secure && d.typ != "MX"
	return a, err
}

func (d doubt) LookupAddrs(ctx context.Context, host, ip string) (dns.Answer[netip.Addr], error) {
	a, err := d.Resolver.LookupAddrs(ctx, host, ip)
	a.Secure = a.Secure && d.typ != "A"
	return a, err
}

func (d doubt) LookupTLSA(ctx context.Context, host string, port uint16) (dns.Answer[dns.TLSA], error) {
	a, err := d.Resolver.LookupTLSA(ctx, host, port)
	a.Secure = a.Secure && d.typ != "TLSA"
	return a, err
}

// Each link of the chain must be secure, or the records mean nothing.
func TestDANENeedsTheWholeChain(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	for typ, want := range map[string]string{"MX": "", "A": "", "TLSA": "", "none": "dane"} {
		w := newWorld(t, cfg, nil)
		w.dns.Authentic(true)
		if err := w.dns.Add(fmt.Sprintf("_%d._tcp.mx.b.test. ", w.srv.Port()) + tlsa(t, 3, 1, 1, der(ca))); err != nil {
			t.Fatal(err)
		}
		w.tr = newTransport(t, mx.Config{Hostname: "relay.example.org", Port: w.srv.Port(), AllowNetworks: loopback, DANE: true,
			Resolver: doubt{newResolver(t, w.dns), typ}})
		res := w.deliver(task(t, letter, "x@b.test"))
		if res.TLSPolicy != want || res.Replies[0].Positive() != (want == "") {
			t.Errorf("%s not secure: %+v", typ, res)
		}
		if asked := w.dns.Queries("", "TLSA") > 0; asked != (typ == "TLSA" || typ == "none") {
			t.Errorf("%s not secure: asked for TLSA: %v", typ, asked)
		}
	}
}

// A connection that other records let through is not used again.
func TestDANERecordsChange(t *testing.T) {
	cfg, ca := certified(t, "mx.b.test")
	w := newWorld(t, cfg, func(c *mx.Config) { c.DANE = true })
	w.dns.Authentic(true)
	name := fmt.Sprintf("_%d._tcp.mx.b.test. ", w.srv.Port())
	for i, c := range []struct {
		record   string
		sessions int
		ok       bool
	}{
		{tlsa(t, 3, 1, 1, cfg.Certificate.Certificate[0]), 1, true},
		{tlsa(t, 3, 1, 1, cfg.Certificate.Certificate[0]), 1, true},
		{tlsa(t, 3, 1, 1, der(ca)), 2, false},
	} {
		if err := w.dns.Set(zone + name + c.record); err != nil {
			t.Fatal(err)
		}
		if r := w.deliver(task(t, letter, "x@b.test")).Replies[0]; r.Positive() != c.ok || w.srv.Sessions() != c.sessions {
			t.Errorf("%d: %+v, %d sessions", i, r, w.srv.Sessions())
		}
	}
}
