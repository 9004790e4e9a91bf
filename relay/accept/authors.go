package accept

import (
	"strings"

	"dawk/relay"
	"dawk/relay/identity"
)

// authors are the fields that say whom a message is from (RFC 5322 §3.6.2 and
// §3.6.6). A user's senders bind them as they bind the reverse-path: people see
// the fields, and the signature of a domain vouches for them.
var authors = [...]string{"Resent-From", "Resent-Sender", "From", "Sender"}

// authorField is the field of authors that has this name; "": none does. From and Sender do not
// count if they are passed on under other names.
func (s *scanner) authorField(name string) string {
	for i, field := range authors {
		if strings.EqualFold(name, field) && (i < 2 || !s.keepFrom) {
			return field
		}
	}
	return ""
}

// mayStand refuses a field with a mailbox that u may not use. A field that cannot be read is
// refused too: a receiver could read another author in it.
func mayStand(u *identity.User, field string, value []byte) error {
	list, ok := relay.Mailboxes(strings.TrimSpace(strings.ReplaceAll(string(value), "\r\n", "")))
	if !ok {
		return Refuse(ReasonSender, 550, "5.7.1", "the mailboxes in the field %s cannot be read, and %s may not send as everybody", field, u.Called())
	}
	for _, address := range list {
		p, err := relay.ParsePath(address)
		switch {
		case err != nil || p.IsNull() || p.Domain() == "":
			return Refuse(ReasonSender, 550, "5.7.1", "the field %s holds a mailbox that cannot be read, and %s may not send as everybody", field, u.Called())
		case !u.MayName(p):
			return Refuse(ReasonSender, 550, "5.7.1", "%s may not send as %s, who stands in the field %s", u.Called(), p.Wire(), field)
		}
	}
	return nil
}
