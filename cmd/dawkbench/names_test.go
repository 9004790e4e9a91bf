package main

import (
	"testing"

	"github.com/miekg/dns"
)

func TestEveryDomainHasItsOwnHost(t *testing.T) {
	n, err := newNameServer()
	if err != nil {
		t.Fatal(err)
	}
	defer n.close()
	ask := func(name string, typ uint16) *dns.Msg {
		r, err := dns.Exchange(new(dns.Msg).SetQuestion(name, typ), n.addr)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for _, domain := range []string{"d1.test.", "d2.test."} {
		mx, ok := ask(domain, dns.TypeMX).Answer[0].(*dns.MX)
		if !ok || mx.Mx != "mx."+domain {
			t.Fatalf("MX of %s: %v", domain, mx)
		}
		if a, ok := ask(mx.Mx, dns.TypeA).Answer[0].(*dns.A); !ok || !a.A.IsLoopback() {
			t.Errorf("A of %s: %v", mx.Mx, a)
		}
	}
	if r := ask("mx.d1.test.", dns.TypeAAAA); len(r.Answer) != 0 || len(r.Ns) != 1 {
		t.Errorf("AAAA: %v", r)
	}
}

func TestOnlyDawkIsGivenNamesAndDepth(t *testing.T) {
	for _, w := range []work{{ByMX: true}, {Depth: 5}} {
		c := comparison{work: w, dawks: []string{"/bin/sh"}, postfix: "/bin/sh"}
		if all, err := c.contenders(); err == nil {
			t.Errorf("%+v has %d contenders", w, len(all))
		}
		c.postfix = ""
		if all, err := c.contenders(); err != nil || len(all) != 1 {
			t.Errorf("%+v: %v %v", w, all, err)
		}
	}
}
