package mx

import (
	"fmt"
	"strings"

	"dawk/mx/shaping"
	"dawk/relay"
)

// compiled is a Route with its patterns in normal form.
type compiled struct {
	Route
	destination string // of its mail, with `via`
	to, from    []mailPattern
	sendAs      []mailPattern
	mailbox     relay.Path // that its user is; null: its user is no address
	gate        shaping.Gate
	budget      *shaping.Meter // never nil in a Transport
	first       *compiled      // of all routes to its mailbox; never nil in a Transport
	takes       shaping.Rule   // of the first one: the limits of all of them
}

// mailPattern matches mailboxes: by domain, by parent domain, or one mailbox.
type mailPattern struct {
	any    bool
	null   bool       // "<>"
	path   relay.Path // one mailbox
	domain string     // this domain
	parent string     // ".example.com": its subdomains
}

func (p mailPattern) match(m relay.Path, domain string) bool {
	switch {
	case p.any:
		return true
	case p.null:
		return m.IsNull()
	case !p.path.IsNull():
		// The domain decides alone on case; local parts are compared as
		// people mean them, though RFC 5321 §2.4 lets their case matter.
		return p.path.Domain() == domain && strings.EqualFold(p.path.Local(), m.Local())
	case p.parent != "":
		return strings.HasSuffix(domain, p.parent)
	}
	return domain != "" && p.domain == domain
}

func parseMailPattern(s string) (mailPattern, error) {
	switch {
	case s == "*":
		return mailPattern{any: true}, nil
	case s == "<>":
		return mailPattern{null: true}, nil
	case strings.HasPrefix(s, "*."):
		d, err := relay.NormalizeDomain(s[2:])
		if err != nil {
			return mailPattern{}, fmt.Errorf("pattern %q: %w", s, err)
		}
		return mailPattern{parent: "." + d}, nil
	case strings.Contains(s, "@"):
		p, err := relay.ParsePath(s)
		if err != nil || p.IsNull() {
			return mailPattern{}, fmt.Errorf("pattern %q: %w", s, err)
		}
		return mailPattern{path: p}, nil
	}
	d, err := relay.NormalizeDomain(s)
	if err != nil {
		return mailPattern{}, fmt.Errorf(`pattern %q: %w (write example.com, *.example.com, user@example.com or *)`, s, err)
	}
	return mailPattern{domain: d}, nil
}

func compileRoute(r Route) (c *compiled, faults relay.Faults) {
	c = &compiled{Route: r, destination: RoutePrefix + r.Name, mailbox: mailboxOf(r.User)}
	for _, set := range []struct {
		key  string
		in   []string
		into *[]mailPattern
	}{{"to", r.To, &c.to}, {"from", r.From, &c.from}, {"send_as", r.SendAs, &c.sendAs}} {
		for i, s := range set.in {
			p, err := parseMailPattern(s)
			if err != nil {
				faults.Add(fmt.Sprintf("%s[%d]", set.key, i), "%s: %v", set.key, err)
			}
			*set.into = append(*set.into, p)
		}
	}
	return c, faults
}

// matches says whether a recipient of m takes this route. domain is the
// recipient's, with our own for a bare postmaster.
func (c *compiled) matches(m *relay.Message, to relay.Path, domain string) bool {
	return matchAny(c.to, to, domain) && matchAny(c.from, m.From, m.From.Domain()) && m.SubmittedBy(c.Identity)
}

func matchAny(patterns []mailPattern, p relay.Path, domain string) bool {
	for _, each := range patterns {
		if each.match(p, domain) {
			return true
		}
	}
	return len(patterns) == 0
}
