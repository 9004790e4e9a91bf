package httpapi

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode"

	"dawk/relay"
	"dawk/relay/mailtext"
)

// howToWrite ends what is said about an address that cannot be read.
const howToWrite = `write it like "user@example.org" or "Name <user@example.org>", or quote the name: "\"Name\" <user@example.org>"; several addresses are a list`

// parseMailbox reads "user@example.org" or "Name <user@example.org>". A name is taken as it stands,
// with commas, colons and brackets: a JSON value is not quoted as a header is. If its meaning is in
// doubt, the string is refused, so no word of it is lost.
func parseMailbox(s string) (mailtext.Mailbox, error) {
	if err := mailtext.CheckValue(s); err != nil {
		return mailtext.Mailbox{}, fmt.Errorf("the address %w", err)
	}
	s = strings.TrimSpace(s)
	if name, path, ok := plainName(s); ok {
		return mailtext.Mailbox{Name: name, Path: path}, nil
	}
	if p, err := parseEnvelopePath(s); err == nil && !p.IsNull() {
		return mailtext.Mailbox{Path: p}, nil
	}
	a, err := mail.ParseAddress(s)
	comment := err == nil && strings.HasSuffix(s, ">") && strings.Contains(s, "(") && !strings.Contains(a.Name, "(")
	if group := strings.HasSuffix(s, ";"); err != nil || comment || group { // whose words would be lost
		return mailtext.Mailbox{}, fmt.Errorf("%q is not one address: %s", relay.Sanitize(s), howToWrite)
	}
	if err := visible(a.Address); err != nil {
		return mailtext.Mailbox{}, err
	}
	at := strings.LastIndexByte(a.Address, '@')
	p, err := relay.NewPath(a.Address[:at], a.Address[at+1:])
	if err != nil {
		return mailtext.Mailbox{}, err
	}
	// An encoded word in the name may have held anything.
	if err := mailtext.CheckValue(a.Name); err != nil {
		return mailtext.Mailbox{}, fmt.Errorf("the name %w", err)
	}
	return mailtext.Mailbox{Name: a.Name, Path: p}, nil
}

// plainName splits "Name <user@example.org>" where nothing in the name is
// quoted, encoded (RFC 2047), or another address beside it.
func plainName(s string) (name string, path relay.Path, ok bool) {
	name, rest, found := strings.Cut(s, "<")
	address, ok := strings.CutSuffix(rest, ">")
	if !found || !ok || strings.ContainsAny(name, `"\>`) || strings.Contains(name, "=?") || strings.ContainsAny(name, ",;") && strings.Contains(name, "@") {
		return "", path, false
	}
	path, err := parseEnvelopePath(strings.TrimSpace(address))
	return strings.TrimSpace(name), path, err == nil && !path.IsNull()
}

// parseEnvelopePath reads an address without a name; "" is the null
// reverse-path.
func parseEnvelopePath(s string) (relay.Path, error) {
	p, err := relay.ParsePath(s)
	if err == nil {
		err = visible(s)
	}
	if err == nil && !p.IsNull() && p.Domain() == "" {
		err = errors.New("the address has no domain")
	}
	return p, err
}

// visible refuses an address with an invisible character, as copying from a web page or a word
// processor may leave it. The two joiners are allowed: scripts need them (RFC 5892 §A.1, §A.2).
func visible(s string) error {
	for _, r := range s {
		if (unicode.Is(unicode.Cf, r) || r > '~' && unicode.IsSpace(r)) && r != 0x200C && r != 0x200D {
			return fmt.Errorf("the address holds a character that cannot be seen, %U: take it out", r)
		}
	}
	return nil
}

// recipients are the recipients of an envelope, without duplicates.
type recipients map[relay.Path]bool

// add makes p a recipient of e, unless it is one already.
func (r recipients) add(e *relay.Envelope, p relay.Path) bool {
	if r[p] {
		return false
	}
	r[p] = true
	e.Recipients = append(e.Recipients, relay.Recipient{Path: p})
	e.SMTPUTF8 = e.SMTPUTF8 || !p.ASCII()
	return true
}
