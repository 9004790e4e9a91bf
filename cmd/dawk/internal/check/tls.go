package check

import (
	"context"

	"dawk/mx/dns"
)

// signedDomain has had DNSSEC for long: a server that validates says so of it.
const signedDomain = "ietf.org"

// dane says whether TLSA records can count at all. That they cannot is no
// fault: mail goes as it does without them.
func (c *checker) dane(ctx context.Context) []Finding {
	if !c.cfg.Delivery.DANE || !c.byMX() {
		return nil
	}
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	off := func(why string) []Finding {
		f := good("dane", "not in effect: %s", why)
		f.Advice = "for DANE run a resolver that validates DNSSEC (unbound) on this machine, with [dns] servers = [\"127.0.0.1\"]"
		return []Finding{f}
	}
	if !r.Trusted() {
		return off("the DNS servers are not on this machine, and dns.trusted is not set")
	}
	answer, err := r.LookupMX(ctx, signedDomain)
	switch {
	case err != nil:
		return off("DNS gave no answer about " + signedDomain)
	case !answer.Secure:
		return off("the DNS servers do not validate DNSSEC")
	}
	return []Finding{good("dane", "in effect: the DNS servers validate DNSSEC")}
}
