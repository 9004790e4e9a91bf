package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"dawk/relay"
)

// Sender is what a list of senders holds: a mailbox, or a whole domain.
type Sender struct {
	path   relay.Path
	domain string // "" for a mailbox
}

// ParseSender reads "user@example.org" or "@example.org".
func ParseSender(s string) (Sender, error) {
	if domain, ok := strings.CutPrefix(s, "@"); ok {
		d, err := relay.NormalizeDomain(domain)
		if err != nil {
			return Sender{}, err
		}
		return Sender{domain: d}, nil
	}
	p, err := relay.ParsePath(s)
	if err != nil {
		return Sender{}, fmt.Errorf("%w: write \"user@example.org\", or \"@example.org\" for a whole domain", err)
	}
	if p.IsNull() {
		return Sender{}, errors.New("the null reverse-path is always allowed: leave the empty text out")
	}
	return Sender{path: p}, nil
}

// Mailbox is the sender that matches p alone; the null path matches nobody.
func Mailbox(p relay.Path) Sender { return Sender{path: p} }

// UnmarshalText is ParseSender.
func (s *Sender) UnmarshalText(b []byte) error {
	v, err := ParseSender(string(b))
	if err == nil {
		*s = v
	}
	return err
}

// String is the form of ParseSender.
func (s Sender) String() string {
	if s.domain != "" {
		return "@" + s.domain
	}
	return s.path.String()
}

// MarshalText is String.
func (s Sender) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// covers says whether p is this mailbox, or is in this domain.
func (s Sender) covers(p relay.Path) bool {
	if s.domain != "" {
		return s.domain == p.Domain()
	}
	// RFC 5321 §2.4 lets the case of a local part matter; people who write a list of senders do not
	// intend that.
	return s.path.Domain() == p.Domain() && strings.EqualFold(s.path.Local(), p.Local())
}

// SenderNames is a list of senders in words; empty: any.
func (p Policy) SenderNames() []string {
	var out []string
	for _, s := range p.Senders {
		out = append(out, s.String())
	}
	return out
}

// MaySend says whether the reverse-path may be p. The null reverse-path is
// always allowed: a DSN or a receipt has no other.
func (p Policy) MaySend(from relay.Path) bool {
	if len(p.Senders) == 0 || from.IsNull() {
		return true
	}
	for _, s := range p.Senders {
		if s.covers(from) {
			return true
		}
	}
	return false
}

// BindsHeader says whether the header may name only some authors.
func (p Policy) BindsHeader() bool {
	return !p.FromAny && (len(p.Senders) > 0 || !p.RewriteFrom.IsNull())
}

// MayName says whether the header may name a as an author.
func (p Policy) MayName(a relay.Path) bool {
	switch {
	case !p.BindsHeader():
		return true
	case !p.RewriteFrom.IsNull() && Mailbox(p.RewriteFrom).covers(a):
		return true
	}
	return len(p.Senders) > 0 && !a.IsNull() && p.MaySend(a)
}

// Restricts says whether p limits or watches anything.
func (p Policy) Restricts() bool { return p.Watched() || len(p.Senders) > 0 }

// ForClient is the user that represents a client of which only the address is known: its quotas and
// holds are by address, or by /64 for IPv6.
func ForClient(a netip.Addr, p Policy) *User {
	key := LimitKey(a)
	name := "network:" + key.String()
	if key.Is6() {
		name += "/64"
	}
	return &User{Name: name, Policy: p, called: "your address"}
}

// ForProgram is the user that represents the account that runs a program of this machine; see
// relay.Message for name.
func ForProgram(name string, p Policy) *User {
	return &User{Name: name, Policy: p, called: "your user on this machine"}
}

// Called is the name of the user in a refusal: it does not disclose the names of users.
func (u *User) Called() string {
	if u.called == "" {
		return "this login"
	}
	return u.called
}
