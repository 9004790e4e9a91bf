package check

import (
	"context"
	"crypto/rsa"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"
	"golang.org/x/sys/unix"

	"dawk/mx/dns"
	"dawk/relay/dkim"
)

// What large receivers ask for today, and refuse mail for the want of: 5.7.515
// (Microsoft: SPF, DKIM and DMARC must pass), 5.7.26 (Google: neither SPF nor DKIM
// passes for the domain in From), 5.7.1 (policy, reputation, block lists).

// dmarc looks at the policy of each domain that mail is from, and whether a signature
// of ours could satisfy it.
func (c *checker) dmarc(ctx context.Context) (all []Finding) {
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil {
		return nil // told by dns
	}
	for _, domain := range c.senderDomains() {
		all = append(all, c.dmarcOf(ctx, r, domain))
	}
	if len(all) == 0 {
		all = append(all, good("dmarc", "no domain to look at: neither [[dkim]] nor the senders of a user say which domains mail is from"))
	}
	return all
}

func (c *checker) dmarcOf(ctx context.Context, r *dns.Resolver, domain string) Finding {
	publish := fmt.Sprintf(`publish _dmarc.%s TXT "v=DMARC1; p=none; rua=mailto:postmaster@%[1]s"`, domain)
	where, record, err := dmarcRecord(ctx, r, domain)
	switch {
	case dns.Temporary(err):
		return warn("dmarc", "try again when DNS answers", "the DMARC record of %s could not be read: %v", domain, err)
	case err != nil:
		return warn("dmarc", "leave one record: receivers ignore several", "%v", err)
	case record == "":
		return warn("dmarc", publish, "%s has no DMARC record; Google, Microsoft and Yahoo refuse much mail from there (5.7.26, 5.7.515)", domain)
	}
	aligned := slices.ContainsFunc(c.cfg.DKIMKeys(), func(k dkim.Key) bool { return organisation(k.Domain) == organisation(domain) })
	f := good("dmarc", "%s has the policy of %s: %s", domain, where, record)
	if !aligned && c.byMX() {
		f.Message += "; no key of ours signs for it, so SPF alone can satisfy it"
		f.Advice = "make a key with `dawk dkim new " + domain + "`: forwarded mail passes by its signature only"
	}
	return f
}

// dmarcRecord is the record that holds for a domain, and where it is, found by the
// tree walk of RFC 9989 §4.10: the domain itself, then each domain above it. Of a
// name with more than eight labels the walk goes on with the last seven.
func dmarcRecord(ctx context.Context, r *dns.Resolver, domain string) (where, record string, err error) {
	labels := strings.Split(domain, ".")
	for first := true; len(labels) > 0; first = false {
		name := "_dmarc." + strings.Join(labels, ".")
		answer, err := r.LookupTXT(ctx, name)
		if err != nil && dns.Temporary(err) {
			return "", "", err
		}
		found := slices.DeleteFunc(slices.Clone(answer.Records), func(s string) bool { return !isDMARC(s) })
		switch {
		case len(found) > 1 && first:
			return "", "", fmt.Errorf("%s has %d DMARC records", name, len(found))
		case len(found) == 1:
			return name, found[0], nil
		}
		if labels = labels[1:]; first && len(labels) > 7 {
			labels = labels[len(labels)-7:]
		}
	}
	return "", "", nil
}

// isDMARC says whether a TXT record is a DMARC record (RFC 9989 §4.7): its first tag
// is the version.
func isDMARC(text string) bool {
	tag, _, _ := strings.Cut(text, ";")
	name, value, ok := strings.Cut(tag, "=")
	return ok && strings.TrimSpace(name) == "v" && strings.TrimSpace(value) == "DMARC1"
}

func organisation(domain string) string {
	if o, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return o
	}
	return domain
}

// keyStrength finds keys that large receivers think too short.
func (c *checker) keyStrength(context.Context) (all []Finding) {
	for _, k := range c.cfg.DKIMKeys() {
		key, err := dkim.LoadKey(k.File)
		if err != nil {
			continue // told by dkim
		}
		if short, ok := key.Public().(*rsa.PublicKey); ok && short.N.BitLen() < 2048 {
			all = append(all, warn("dkim", "make one of 2048 bits with `dawk dkim new "+k.Domain+"` under a new selector", "the key %s has %d bits; large receivers want 2048", k.File, short.N.BitLen()))
		}
	}
	return all
}

// unsubscribe says what mail to many needs (RFC 8058).
func (c *checker) unsubscribe(context.Context) []Finding {
	if len(c.cfg.DKIMKeys()) == 0 {
		f := good("list-unsubscribe", "no signature covers List-Unsubscribe and List-Unsubscribe-Post")
		f.Advice = "whoever sends newsletters to Google or Yahoo needs both fields and a signature over them: `dawk dkim new`"
		return []Finding{f}
	}
	return []Finding{good("list-unsubscribe", "signatures cover List-Unsubscribe and List-Unsubscribe-Post, where a message has them")}
}

// clock asks the kernel whether the time comes from somewhere.
func (c *checker) clock(context.Context) []Finding {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	const unsynchronised = 5 // TIME_ERROR, adjtimex(2)
	if err != nil || state == unsynchronised {
		f := good("clock", "the kernel does not know whether the time is right")
		f.Advice = "run an NTP client such as chrony: certificates, signatures and logins with tokens depend on the time"
		return []Finding{f}
	}
	return []Finding{good("clock", "synchronised, to about %d ms", (t.Maxerror+999)/1000)}
}

// lists asks block lists about the addresses that mail leaves from (RFC 5782 §2.1).
func (c *checker) lists(ctx context.Context) (all []Finding) {
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil || !c.byMX() {
		return nil // the first is told by dns; a smart host's addresses are its own
	}
	addrs := c.OwnAddresses(ctx, r)
	for _, list := range c.cfg.Check.Lists {
		clean := true
		for _, a := range addrs {
			answer, err := r.LookupAddrs(ctx, reversed(a)+"."+strings.TrimSuffix(list, "."), "4")
			refused := slices.ContainsFunc(answer.Records, func(x netip.Addr) bool { return strings.HasPrefix(x.String(), "127.255.255.") })
			switch {
			case dns.Temporary(err) || refused:
				f := good("lists", "%s gives no answer about %s", list, a)
				f.Advice = "lists answer no public resolver: run one of your own, such as unbound"
				all, clean = append(all, f), false
			case err == nil && slices.ContainsFunc(answer.Records, netip.Addr.IsLoopback):
				all, clean = append(all, warn("lists", "its web site says why, and how to be taken off; find out first what sent the mail",
					"%s is on the block list %s (%s); many receivers refuse mail from there (5.7.1)", a, list, answer.Records[0])), false
			}
		}
		if clean && len(addrs) > 0 {
			all = append(all, good("lists", "none of our addresses is on %s", list))
		}
	}
	if len(all) == 0 {
		all = append(all, good("lists", "nothing to look up: our addresses are not known, or [check] lists is empty"))
	}
	return all
}

// reversed is an address as block lists name it: octets, or for IPv6 hexadecimal
// digits, from the last to the first.
func reversed(a netip.Addr) string {
	var parts []string
	if a = a.Unmap(); a.Is4() {
		for _, b := range a.As4() {
			parts = append(parts, fmt.Sprint(b))
		}
	} else {
		b := a.As16()
		parts = strings.Split(hex.EncodeToString(b[:]), "")
	}
	slices.Reverse(parts)
	return strings.Join(parts, ".")
}
