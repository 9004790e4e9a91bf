// Package match says which mailboxes a route is for: its patterns. It is pure.
package match

import (
	"fmt"
	"strings"

	"dawk/relay"
)

// Pattern matches mailboxes: by domain, by parent domain, or one mailbox.
type Pattern struct {
	any    bool
	null   bool       // "<>"
	path   relay.Path // one mailbox
	domain string     // this domain
	parent string     // ".example.com": its subdomains
}

func (p Pattern) match(m relay.Path, domain string) bool {
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

const written = "pattern %q: %w (write example.com, *.example.com, user@example.com or *)"

// Parse reads a pattern: example.com, *.example.com, user@example.com, <> or *.
func Parse(s string) (Pattern, error) {
	switch {
	case s == "*":
		return Pattern{any: true}, nil
	case s == "<>":
		return Pattern{null: true}, nil
	case strings.HasPrefix(s, "*."):
		d, err := relay.NormalizeDomain(s[2:])
		if err != nil {
			return Pattern{}, fmt.Errorf("pattern %q: %w", s, err)
		}
		return Pattern{parent: "." + d}, nil
	case strings.Contains(s, "@"):
		p, err := relay.ParsePath(s)
		if err != nil {
			return Pattern{}, fmt.Errorf(written, s, err)
		}
		return Pattern{path: p}, nil
	}
	d, err := relay.NormalizeDomain(s)
	if err != nil {
		return Pattern{}, fmt.Errorf(written, s, err)
	}
	return Pattern{domain: d}, nil
}

// Any says whether one of the patterns matches a mailbox, or there are none.
// domain is the mailbox's, in A-labels.
func Any(patterns []Pattern, p relay.Path, domain string) bool {
	for _, each := range patterns {
		if each.match(p, domain) {
			return true
		}
	}
	return len(patterns) == 0
}
