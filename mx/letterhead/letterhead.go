package letterhead

import (
	"strings"

	"dawk/relay"
)

// Head is the header of a message, a field at a time.
type Head struct {
	fields []field
	size   int64 // octets
}

// field is one as it is, with folds and line ends. Its name is in lower case.
type field struct{ name, raw string }

// value is what follows the name, as it is.
func (f field) value() string {
	_, value, _ := strings.Cut(f.raw, ":")
	return value
}

func Parse(content relay.Content) (Head, error) {
	var h Head
	b, err := relay.ReadHeader(content)
	if err != nil {
		return h, err
	}
	for name, raw := range relay.Fields(b) {
		h.size += int64(len(raw))
		h.fields = append(h.fields, field{name, string(raw)})
	}
	return h, nil
}

// first is the first field of a name; zero without one.
func (h Head) first(name string) field {
	for _, f := range h.fields {
		if f.name == name {
			return f
		}
	}
	return field{}
}

// From is the one mailbox of From; null if there is none, or nobody could say
// which.
func (h Head) From() relay.Path {
	address, _ := relay.OneMailbox(relay.FieldValue([]byte(h.first("from").raw)))
	p, _ := relay.ParsePath(address) // an error gives the null path
	return p
}

// maxFieldLine is the longest line of a header, with CRLF (RFC 5322 §2.1.1).
const maxFieldLine = 1000

// As is the message sent by another mailbox: what was From answers go to,
// unless the author wants them elsewhere. Signatures of the old From go, since
// they would arrive broken. mute: nobody answers it by himself.
func (h Head) As(mailbox relay.Path, content relay.Content, mute bool) *relay.Spliced {
	var b strings.Builder
	has := func(name string) bool { return h.first(name).name == name }
	had := false
	add := func(name, value string) {
		first, _, _ := strings.Cut(value, "\n")
		if len(name)+1+len(first)+1 <= maxFieldLine {
			b.WriteString(name + ":" + value)
		}
	}
	for _, f := range h.fields {
		switch value := f.value(); f.name {
		case "from":
			if had {
				continue
			}
			had = true
			b.WriteString("From:" + displayName(value) + " " + mailbox.Wire() + "\r\n")
			if !has("reply-to") && !mute && !h.From().IsNull() {
				add("Reply-To", value)
			}
			if !has("x-original-from") {
				add("X-Original-From", value)
			}
		case "sender":
			add("X-Original-Sender", value)
		case "dkim-signature":
		default:
			b.WriteString(f.raw)
		}
	}
	if !had {
		b.WriteString("From: " + mailbox.Wire() + "\r\n")
	}
	if mute && !has("auto-submitted") {
		b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834 §5
	}
	return &relay.Spliced{Head: []byte(b.String()), Body: content, Skip: h.size}
}

// displayName is what stands before the address in From, as it is. A name that
// shows an address is left out: receivers take that for a lie.
func displayName(value string) string {
	i := strings.LastIndexByte(value, '<')
	if i < 0 {
		return ""
	}
	name := strings.TrimRight(value[:i], " \t\r\n")
	if strings.ContainsRune(name, '@') || len(name) > 400 {
		return ""
	}
	return name
}
