package dns

import (
	"testing"

	"github.com/miekg/dns"
)

// An answer without records may hold aliases, the DNAME that made one, and what
// vouches for them.
func TestUnfit(t *testing.T) {
	const (
		cname = "a.old.test. 60 IN CNAME a.new.test."
		dname = "old.test. 60 IN DNAME new.test."
		sig   = "old.test. 60 IN RRSIG DNAME 8 2 60 20300101000000 20200101000000 1 old.test. AAAA"
	)
	chain := []string{"a.old.test", "a.new.test"}
	for _, c := range []struct {
		name   string
		answer []string
		chain  []string
		unfit  bool
	}{
		{"nothing", nil, chain[:1], false},
		{"an alias", []string{cname}, chain, false},
		{"an alias that a DNAME makes", []string{dname, sig, cname}, chain, false},
		{"a DNAME without its alias", []string{dname}, chain[:1], true},
		{"a DNAME of another zone", []string{cname, "x.test. 60 IN DNAME new.test."}, chain, true},
		{"an alias of another name", []string{"b.test. 60 IN CNAME c.test."}, chain[:1], true},
		{"another type", []string{"a.old.test. 60 IN TXT x"}, chain[:1], true},
		{"another type at the end", []string{cname, "a.new.test. 60 IN TXT x"}, chain, true},
	} {
		var answer []dns.RR
		for _, line := range c.answer {
			rr, err := dns.NewRR(line)
			if err != nil {
				t.Fatal(err)
			}
			answer = append(answer, rr)
		}
		if got := unfit(answer, c.chain); got != c.unfit {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
