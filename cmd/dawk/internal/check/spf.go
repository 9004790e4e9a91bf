package check

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx/dial"
	"dawk/mx/dns"
	"dawk/mx/spf"
	"dawk/relay"
	"dawk/relay/identity"
)

// spf compares the SPF records (RFC 7208) of the domains that mail leaves for
// with the addresses that it leaves from, as far as the configuration and DNS
// tell both. Mail that goes by a smart host is the smart host's to allow.
func (c *checker) spf(ctx context.Context) []Finding {
	r, err := dns.NewResolver(c.cfg.ResolverConfig())
	if err != nil || !c.byMX() {
		return nil // the first is told by dns
	}
	addrs := c.OwnAddresses(ctx, r)
	var all []Finding
	for _, domain := range c.senderDomains() {
		found, ok := spfOf(ctx, r, c.cfg.Hostname, domain, addrs)
		if !ok {
			found = []Finding{spfMissing(domain, addrs)}
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		all = append(all, good("spf", "no domain to look at: neither [[dkim]] nor the senders of a user say which domains mail is from"))
	}
	// Bounces have no sender: receivers look at the name of EHLO (§2.4), and
	// think nothing of one without a record.
	ours, _ := spfOf(ctx, r, c.cfg.Hostname, c.cfg.Hostname, addrs)
	for _, f := range ours {
		if f.Level != levelOK {
			all = append(all, f)
		}
	}
	return all
}

// OwnAddresses are those that receivers see, as far as is known: of the sources that
// mail by MX leaves from, or of our hostname where none is set.
func (c *checker) OwnAddresses(ctx context.Context, r spf.Resolver) (all []netip.Addr) {
	names := []string{c.cfg.Hostname}
	if used := c.sourcesByMX(); len(used) > 0 {
		names = nil
		for _, s := range used {
			known := false
			for _, a := range []netip.Addr{s.Addr4, s.Addr6} {
				if a.IsValid() && unroutable(a) == "" {
					all, known = append(all, a), true
				}
			}
			if !known { // behind NAT: the public addresses have the name that it says in EHLO
				names = append(names, cmp.Or(s.EHLO, c.cfg.Hostname))
			}
		}
	}
	for _, name := range names {
		found, _ := r.LookupAddrs(ctx, name, "both") // trouble is told by hostname and source
		all = append(all, found.Records...)
	}
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() || unroutable(a) != "" })
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// sourcesByMX are those that mail by MX may leave from: of [delivery], and of routes
// without a smart host.
func (c *checker) sourcesByMX() (all []dial.Source) {
	used := slices.Clone(c.cfg.Delivery.Source)
	for i := range c.cfg.Routes {
		if r := &c.cfg.Routes[i]; len(r.Via) == 0 {
			used = append(used, r.Source...)
		}
	}
	for i := range c.cfg.Sources {
		if s := c.cfg.Sources[i].Source(); slices.Contains(used, s.Name) {
			all = append(all, s)
		}
	}
	return all
}

const maxSPFDomains = 20

// senderDomains are the domains that we sign for, and those that users may
// send as.
func (c *checker) senderDomains() (domains []string) {
	add := func(d string) {
		if d, err := relay.NormalizeDomain(d); err == nil && len(domains) < maxSPFDomains && d != c.cfg.Hostname && !slices.Contains(domains, d) {
			domains = append(domains, d)
		}
	}
	for _, k := range c.cfg.DKIM {
		add(k.Domain)
	}
	if !c.cfg.WantsUsers() {
		return domains
	}
	users, err := identity.Open(c.cfg.Users.File, nil)
	if err != nil {
		return domains // told by users
	}
	for _, u := range users.List() {
		for _, s := range u.SenderNames() {
			add(s[strings.LastIndexByte(s, '@')+1:])
		}
	}
	return domains
}

// spfOf is what the record of domain says of each of addrs; false where there
// is no record. The sender is the one that RFC 7208 §4.3 names where no mail
// gives another, so a record with a macro of the local part is judged for that
// one.
func spfOf(ctx context.Context, r spf.Resolver, helo, domain string, addrs []netip.Addr) (all []Finding, ok bool) {
	judged := addrs
	if len(judged) == 0 {
		judged = []netip.Addr{netip.IPv4Unspecified()} // whether there is a record, and a valid one
	}
	for _, a := range judged {
		result, err := spf.Check(ctx, r, helo, domain, a)
		var f Finding
		switch {
		case result == spf.None:
			return nil, false
		case result == spf.PermError:
			f = warn("spf", "correct the record: RFC 7208", "%s: its SPF record is not valid: %s; receivers ignore it, or refuse the mail", domain, spf.Words(err))
		case result == spf.TempError:
			f = warn("spf", "try again when DNS answers", "the SPF record of %s could not be followed: %s", domain, spf.Words(err))
		case len(addrs) == 0:
			f = good("spf", "%s has an SPF record; which address of ours receivers see is not known", domain)
		case result == spf.Pass:
			f = good("spf", "the record of %s allows %s", domain, a)
		default:
			f = warn("spf", fmt.Sprintf("put%s into the record of %s", spfTerms([]netip.Addr{a}), domain),
				"the record of %s does not allow %s (%s), which mail leaves from; many receivers refuse it then", domain, a, result)
		}
		if !slices.Contains(all, f) {
			all = append(all, f)
		}
	}
	return all, true
}

func spfMissing(domain string, addrs []netip.Addr) Finding {
	advice := fmt.Sprintf("publish %s TXT \"v=spf1%s -all\"", domain, spfTerms(addrs))
	if len(addrs) == 0 {
		advice = fmt.Sprintf("publish a record for %s that allows the address which receivers see; what that is cannot be known from here, so give our hostname an A record with it", domain)
	}
	return warn("spf", advice,
		"%s has no SPF record; many receivers distrust or refuse mail that is from there", domain)
}

func spfTerms(addrs []netip.Addr) (terms string) {
	for _, a := range addrs {
		version := "4"
		if a.Is6() {
			version = "6"
		}
		terms += " ip" + version + ":" + a.String()
	}
	return terms
}
