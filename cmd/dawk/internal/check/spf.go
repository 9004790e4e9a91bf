package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx/dns"
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
		all = append(all, spfOf(ctx, r, domain, addrs)...)
	}
	if len(all) == 0 {
		all = append(all, good("spf", "no domain to look at: neither [[dkim]] nor the senders of a user say which domains mail is from"))
	}
	// Bounces have no sender: receivers look at the name of EHLO (§2.4), and
	// think nothing of one without a record.
	for _, f := range spfOf(ctx, r, c.cfg.Hostname, addrs) {
		if f.Level != levelOK && !strings.Contains(f.Message, "has no SPF record") {
			all = append(all, f)
		}
	}
	return all
}

// OwnAddresses are those that receivers see, as far as is known.
func (c *checker) OwnAddresses(ctx context.Context, r *dns.Resolver) (all []netip.Addr) {
	found, _ := r.LookupAddrs(ctx, c.cfg.Hostname, "both") // trouble is told by hostname
	all = slices.Clone(found.Records)
	for i := range c.cfg.Sources {
		s := c.cfg.Sources[i].Source()
		all = append(all, s.Addr4, s.Addr6)
	}
	all = slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.IsValid() || unroutable(a) != "" })
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
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
		for _, s := range u.Senders() {
			add(s[strings.LastIndexByte(s, '@')+1:])
		}
	}
	return domains
}

func spfOf(ctx context.Context, r spfLookups, domain string, addrs []netip.Addr) (all []Finding) {
	record, err := spfRecord(ctx, r, domain)
	switch {
	case errors.Is(err, errNoSPF):
		return []Finding{warn("spf", fmt.Sprintf("publish %s TXT \"v=spf1%s -all\"", domain, spfTerms(addrs)),
			"%s has no SPF record; many receivers distrust or refuse mail that is from there", domain)}
	case errors.Is(err, errSPFRecord):
		return []Finding{warn("spf", "mend the record: RFC 7208", "%s: %v; receivers take no notice of it, or refuse the mail", domain, err)}
	case err != nil:
		return []Finding{warn("spf", "try again when DNS answers", "the SPF record of %s could not be read: %v", domain, err)}
	case len(addrs) == 0:
		return []Finding{good("spf", "%s has the record %q; which address of ours receivers see is not known", domain, config.Clip(record))}
	}
	for _, a := range addrs {
		e := spfCheck{lookups: r, addr: a}
		switch result, err := e.domain(ctx, domain); {
		case errors.Is(err, errSPFUnclear):
			all = append(all, good("spf", "%s has a record that is not followed here: %v", domain, err))
		case errors.Is(err, errSPFRecord):
			all = append(all, warn("spf", "mend the record: RFC 7208", "%s: %v; receivers take no notice of it, or refuse the mail", domain, err))
		case err != nil:
			all = append(all, warn("spf", "try again when DNS answers", "the SPF record of %s could not be followed: %v", domain, err))
		case result == '+':
			all = append(all, good("spf", "the record of %s allows %s", domain, a))
		default:
			all = append(all, warn("spf", fmt.Sprintf("put%s into the record of %s", spfTerms([]netip.Addr{a}), domain),
				"the record of %s does not allow %s (%s), which mail leaves from; many receivers refuse it then", domain, a, spfResults[result]))
		}
	}
	return all
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

// spfResults are the words of RFC 7208 §2.6 for the qualifiers of §4.6.2.
var spfResults = map[byte]string{'+': "pass", '-': "fail", '~': "softfail", '?': "neutral"}

var (
	errNoSPF      = errors.New("no SPF record")
	errSPFRecord  = errors.New("its SPF record is not valid")
	errSPFUnclear = errors.New("it depends on")
)

// spfLookups is what of the resolver SPF needs.
type spfLookups interface {
	LookupTXT(ctx context.Context, name string) (dns.Answer[string], error)
	LookupAddrs(ctx context.Context, host, ip string) (dns.Answer[netip.Addr], error)
	LookupMX(ctx context.Context, domain string) (dns.Answer[dns.MX], error)
}

// spfRecord is the one record of domain (§4.5).
func spfRecord(ctx context.Context, r spfLookups, domain string) (string, error) {
	answer, err := r.LookupTXT(ctx, domain)
	if dns.Temporary(err) {
		return "", err
	}
	found := slices.DeleteFunc(slices.Clone(answer.Records), func(s string) bool {
		return !strings.EqualFold(s, "v=spf1") && !strings.HasPrefix(strings.ToLower(s), "v=spf1 ")
	})
	switch {
	case err != nil || len(found) == 0:
		return "", errNoSPF
	case len(found) > 1:
		return "", fmt.Errorf("%w: there are %d", errSPFRecord, len(found))
	}
	return found[0], nil
}

// maxSPFLookups is the most terms that need DNS (§4.6.4).
const maxSPFLookups = 10

// spfCheck is one evaluation (§4): what a record says of one address.
type spfCheck struct {
	lookups spfLookups
	addr    netip.Addr
	n       int // terms so far that need DNS
}

// domain gives the qualifier of the term that decides; '?' where none does.
func (e *spfCheck) domain(ctx context.Context, domain string) (byte, error) {
	record, err := spfRecord(ctx, e.lookups, domain)
	if err != nil {
		return 0, err
	}
	redirect := ""
	for _, term := range strings.Fields(record)[1:] {
		if name, value, ok := strings.Cut(term, "="); ok && !strings.ContainsAny(name, ":/") {
			if strings.EqualFold(name, "redirect") {
				redirect = value
			}
			continue // other modifiers change nothing (§6)
		}
		qualifier := byte('+')
		if strings.IndexByte("+-~?", term[0]) >= 0 {
			qualifier, term = term[0], term[1:]
		}
		if match, err := e.mechanism(ctx, domain, term); err != nil || match {
			return qualifier, err
		}
	}
	if redirect == "" {
		return '?', nil
	}
	return e.inner(ctx, redirect)
}

// inner follows include and redirect; a record that is missing there is a fault
// of the one that names it (§5.2, §6.1).
func (e *spfCheck) inner(ctx context.Context, domain string) (byte, error) {
	if err := e.ask(domain); err != nil {
		return 0, err
	}
	result, err := e.domain(ctx, domain)
	if errors.Is(err, errNoSPF) {
		err = fmt.Errorf("%w: %s, which it names, has none", errSPFRecord, config.Clip(domain))
	}
	return result, err
}

// ask counts a term that needs DNS, and refuses names that depend on the mail.
func (e *spfCheck) ask(domain string) error {
	if e.n++; e.n > maxSPFLookups {
		return fmt.Errorf("%w: it needs more than %d lookups", errSPFRecord, maxSPFLookups)
	}
	if strings.Contains(domain, "%") {
		return fmt.Errorf("%w the single mail (%s)", errSPFUnclear, config.Clip(domain))
	}
	return nil
}

func (e *spfCheck) mechanism(ctx context.Context, domain, term string) (bool, error) {
	name, rest := term, ""
	if i := strings.IndexAny(term, ":/"); i >= 0 {
		name, rest = term[:i], term[i:]
	}
	switch name = strings.ToLower(name); name {
	case "all":
		return true, nil
	case "ip4", "ip6":
		return e.network(term, strings.TrimPrefix(rest, ":"))
	case "include":
		result, err := e.inner(ctx, strings.TrimPrefix(rest, ":"))
		return result == '+', err
	case "a", "mx":
		return e.hosts(ctx, name, domain, rest, term)
	case "exists", "ptr":
		return false, fmt.Errorf("%w the single mail (%s)", errSPFUnclear, config.Clip(term))
	}
	return false, fmt.Errorf("%w: %q is unknown", errSPFRecord, config.Clip(term))
}

func (e *spfCheck) network(term, text string) (bool, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return false, fmt.Errorf("%w: %q holds no address", errSPFRecord, config.Clip(term))
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	return p.Contains(e.addr), nil
}

// hosts serves a and mx: [":" domain] ["/" bits of IPv4] ["//" bits of IPv6].
func (e *spfCheck) hosts(ctx context.Context, name, domain, rest, term string) (bool, error) {
	target, cidr, _ := strings.Cut(strings.TrimPrefix(rest, ":"), "/")
	if target != "" {
		domain = target
	}
	if err := e.ask(domain); err != nil {
		return false, err
	}
	bits4, bits6, _ := strings.Cut(cidr, "/")
	bits := e.addr.BitLen()
	if text := map[bool]string{true: bits4, false: bits6}[e.addr.Is4()]; text != "" {
		n, err := strconv.Atoi(strings.TrimPrefix(text, "/"))
		if err != nil || n < 0 || n > bits {
			return false, fmt.Errorf("%w: %q is no mechanism", errSPFRecord, config.Clip(term))
		}
		bits = n
	}
	hosts := []string{domain}
	if name == "mx" {
		answer, err := e.lookups.LookupMX(ctx, domain)
		if dns.Temporary(err) {
			return false, err
		}
		hosts = nil
		for _, m := range answer.Records {
			hosts = append(hosts, m.Host)
		}
	}
	for _, h := range hosts[:min(len(hosts), maxSPFLookups)] {
		answer, err := e.lookups.LookupAddrs(ctx, h, "both")
		if dns.Temporary(err) {
			return false, err
		}
		for _, a := range answer.Records {
			if p, err := a.Unmap().Prefix(min(bits, a.Unmap().BitLen())); err == nil && a.Unmap().Is4() == e.addr.Is4() && p.Contains(e.addr) {
				return true, nil
			}
		}
	}
	return false, nil
}
