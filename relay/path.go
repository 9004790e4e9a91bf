package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits in octets. RFC 5321 §4.5.3.1 names 64 for a local part and 256 for a
// path, and asks not to impose them: return addresses that hold other addresses
// are longer (VERP, SRS). A path must fit into a line of mail.
const (
	maxDomainOctets = 255
	maxPathOctets   = 998
)

// Path is the mailbox of a reverse-path or forward-path (RFC 5321 §4.1.2).
// The zero value is the null reverse-path "<>". A Path made by ParsePath or
// NewPath holds no control character, so it can never inject a parameter, a
// line or a header. Paths are comparable.
type Path struct {
	local  string // unquoted; its case is kept (RFC 5321 §2.4)
	domain string // A-labels in lower case, or an address literal "[…]"; "" only for a bare postmaster
	wire   string // both as they go on the wire: made once, since each message needs it a dozen times
}

// Errors of ParsePath and NewPath; tested with errors.Is.
var (
	ErrPathSyntax = errors.New("not a valid mailbox")
	ErrPathTooBig = errors.New("mailbox is longer than 998 octets")
	ErrDomain     = errors.New("not a valid domain")
)

// NewPath makes a Path from an unquoted local part and a domain, which may be
// given as A-labels, U-labels or an address literal.
func NewPath(local, domain string) (Path, error) {
	if local == "" || !utf8.ValidString(local) || strings.ContainsFunc(local, isControl) {
		return Path{}, fmt.Errorf("%w: local part %q", ErrPathSyntax, Clip(local))
	}
	return newPath(local, domain)
}

func newPath(local, domain string) (Path, error) {
	d, err := NormalizeDomain(domain)
	if err != nil {
		return Path{}, err
	}
	quoted := quoteLocal(local)
	if len(quoted)+len("@")+len(d) > maxPathOctets {
		return Path{}, fmt.Errorf("%w: %q", ErrPathTooBig, Clip(local+"@"+domain))
	}
	return Path{local: local, domain: d, wire: "<" + quoted + "@" + d + ">"}, nil
}

// ParsePath reads a Mailbox (RFC 5321 §4.1.2, RFC 6531 §3.3) without angle
// brackets. "" is the null reverse-path; "postmaster" needs no domain
// (RFC 5321 §4.1.1.3). A source route "@a.example,@b.example:" is read as its
// grammar wants it, and ignored (RFC 5321 appendix C).
//
// Dots may stand anywhere in a local part, as in mailboxes that exist
// (name.@, a..b@); such a local part and an empty one ("") are quoted when they
// are written.
func ParsePath(s string) (Path, error) {
	if s == "" {
		return Path{}, nil
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
		return Path{}, fmt.Errorf("%w: control character or invalid UTF-8 in %q", ErrPathSyntax, Clip(s))
	}
	routed := s[0] == '@'
	if routed {
		route, mailbox, ok := strings.Cut(s, ":")
		if !ok || !isRoute(route) {
			return Path{}, fmt.Errorf("%w: %q", ErrPathSyntax, Clip(s))
		}
		s = mailbox
	}
	local, rest, err := cutLocal(s)
	if err != nil {
		return Path{}, err
	}
	if rest == "" && strings.EqualFold(local, "postmaster") && !routed {
		return Path{local: local, wire: "<" + local + ">"}, nil
	}
	if !strings.HasPrefix(rest, "@") {
		return Path{}, fmt.Errorf("%w: no domain in %q", ErrPathSyntax, Clip(s))
	}
	return newPath(local, rest[1:])
}

// isRoute reads A-d-l: one At-domain or more, with commas between them and no
// address literals among them (RFC 5321 §4.1.2).
func isRoute(s string) bool {
	for hop := range strings.SplitSeq(s, ",") {
		d, ok := strings.CutPrefix(hop, "@")
		if !ok || strings.HasPrefix(d, "[") {
			return false
		}
		if _, err := NormalizeDomain(d); err != nil {
			return false
		}
	}
	return true
}

// cutLocal takes the local part, unquoted, off the front of a mailbox.
func cutLocal(s string) (local, rest string, err error) {
	if s == "" || s[0] != '"' { // Dot-string
		i := strings.IndexFunc(s, func(r rune) bool { return r != '.' && !isAtext(r) })
		if i < 0 {
			i = len(s)
		}
		if i == 0 {
			return "", "", fmt.Errorf("%w: %q", ErrPathSyntax, Clip(s))
		}
		return s[:i], s[i:], nil
	}
	var b strings.Builder // Quoted-string
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			if i++; i == len(s) {
				return "", "", fmt.Errorf("%w: %q ends in a backslash", ErrPathSyntax, Clip(s))
			}
		}
		b.WriteByte(s[i])
	}
	return "", "", fmt.Errorf("%w: %q has no closing quote", ErrPathSyntax, Clip(s))
}

// IsNull says whether p is the null reverse-path.
func (p Path) IsNull() bool { return p.wire == "" }

// Local is the local part, unquoted.
func (p Path) Local() string { return p.local }

// Domain is the domain in A-labels and lower case, or an address literal with
// its brackets; "" for the null reverse-path and a bare postmaster.
func (p Path) Domain() string { return p.domain }

// UDomain is the domain in U-labels, for people to read.
func (p Path) UDomain() string {
	if u, err := idna.Display.ToUnicode(p.domain); err == nil {
		return u
	}
	return p.domain
}

// WithDomain gives a bare postmaster the domain it belongs to.
func (p Path) WithDomain(domain string) (Path, error) { return NewPath(p.local, domain) }

// ASCII says whether p can be sent to a host without SMTPUTF8 (RFC 6531 §3.2).
func (p Path) ASCII() bool { return ASCII(p.local) }

// String is the mailbox as it goes on the wire, without angle brackets: the
// local part is quoted where it needs to be, the domain is in A-labels. "" for
// the null reverse-path.
func (p Path) String() string {
	w := p.Wire()
	return w[1 : len(w)-1]
}

// Wire is String in angle brackets.
func (p Path) Wire() string {
	if p.IsNull() {
		return "<>"
	}
	return p.wire
}

// MarshalText and UnmarshalText use the form of String.
func (p Path) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText is ParsePath.
func (p *Path) UnmarshalText(b []byte) error { return unmarshal(p, b, ParsePath) }

// isDotString says whether a local part needs no quotes (RFC 5321 §4.1.2).
func isDotString(s string) bool {
	last := '.'
	for _, r := range s {
		if r == '.' && last == '.' || r != '.' && !isAtext(r) {
			return false
		}
		last = r
	}
	return last != '.'
}

func quoteLocal(s string) string {
	if isDotString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// NormalizeDomain gives a domain in A-labels and lower case, without a final
// dot. An address literal (RFC 5321 §4.1.3) comes back in brackets and in the
// canonical form of its address.
func NormalizeDomain(d string) (string, error) {
	if strings.HasPrefix(d, "[") {
		a, ok := ParseLiteral(d)
		if !ok {
			return "", fmt.Errorf("%w: address literal %q", ErrDomain, Clip(d))
		}
		return Literal(a), nil
	}
	d = strings.TrimSuffix(d, ".")
	a := d
	if !ASCII(d) {
		var err error
		if a, err = idna.Lookup.ToASCII(d); err != nil {
			return "", fmt.Errorf("%w: %q", ErrDomain, Clip(d))
		}
	}
	a = strings.ToLower(a)
	if !isHostname(a) {
		return "", fmt.Errorf("%w: %q", ErrDomain, Clip(d))
	}
	return a, nil
}

// Literal is the address literal of a (RFC 5321 §4.1.3).
func Literal(a netip.Addr) string {
	if a = a.Unmap().WithZone(""); a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}

// ParseLiteral reads an address literal with its brackets.
func ParseLiteral(d string) (netip.Addr, bool) {
	if len(d) < 3 || d[0] != '[' || d[len(d)-1] != ']' {
		return netip.Addr{}, false
	}
	d = d[1 : len(d)-1]
	if len(d) > 5 && strings.EqualFold(d[:5], "IPv6:") {
		a, err := netip.ParseAddr(d[5:])
		return a, err == nil && a.Is6() && a.Zone() == ""
	}
	a, err := netip.ParseAddr(d)
	return a, err == nil && a.Is4()
}

// isHostname checks labels of letters, digits, hyphens and, since real names
// hold them, underscores (RFC 5321 §2.3.5, RFC 1035 §2.3.4).
func isHostname(d string) bool {
	if d == "" || len(d) > maxDomainOctets {
		return false
	}
	for label := range strings.SplitSeq(d, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}

// isAtext is atext of RFC 5322 §3.2.3, widened by RFC 6531 §3.3.
func isAtext(r rune) bool {
	switch r {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '/', '=', '?', '^', '_', '`', '{', '|', '}', '~':
		return true
	}
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= 0x80
}

// isControl is C0, DEL, C1 and the Unicode line separators: nothing that could
// end a line in any reader's eyes belongs in a mailbox.
func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029
}
