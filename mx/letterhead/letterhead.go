package letterhead

import (
	"io"
	"strings"

	"dawk/relay"
)

// Head is the header of a message, a field at a time.
type Head struct {
	fields []string // as they are, with folds and line ends
	size   int64    // octets
}

func Parse(content relay.Content) (Head, error) {
	var h Head
	b, err := relay.ReadHeader(content)
	if err != nil {
		return h, err
	}
	for line := range strings.Lines(string(b)) {
		if line == "\r\n" || line == "\n" {
			break
		}
		h.size += int64(len(line))
		if last := len(h.fields) - 1; (line[0] == ' ' || line[0] == '\t') && last >= 0 {
			h.fields[last] += line
		} else {
			h.fields = append(h.fields, line)
		}
	}
	return h, nil
}

// field is the name of a field, in lower case, and its value as it is.
func field(raw string) (name, value string) {
	name, value, _ = strings.Cut(raw, ":")
	return strings.ToLower(strings.TrimRight(name, " \t")), value
}

// value is that of the first field of a name.
func (h Head) value(name string) (string, bool) {
	for _, raw := range h.fields {
		if n, v := field(raw); n == name {
			return v, true
		}
	}
	return "", false
}

var unfolded = strings.NewReplacer("\r\n", "", "\n", "")

// From is the one mailbox of From; null if there is none, or nobody could say
// which.
func (h Head) From() relay.Path {
	v, _ := h.value("from")
	address, ok := relay.OneMailbox(strings.TrimSpace(unfolded.Replace(v)))
	if !ok {
		return relay.Path{}
	}
	p, err := relay.ParsePath(address)
	if err != nil {
		return relay.Path{}
	}
	return p
}

func (h Head) Known() bool { return !h.From().IsNull() }

// maxFieldLine is the longest line of a header, with CRLF (RFC 5322 §2.1.1).
const maxFieldLine = 1000

// As is the message sent by another mailbox: what was From answers go to,
// unless the author wants them elsewhere. Signatures of the old From go, since
// they would arrive broken. mute: nobody answers it by himself.
func (h Head) As(mailbox relay.Path, content relay.Content, mute bool) *Spliced {
	var b strings.Builder
	_, answers := h.value("reply-to")
	_, original := h.value("x-original-from")
	_, auto := h.value("auto-submitted")
	had := false
	add := func(name, value string) {
		first, _, _ := strings.Cut(value, "\n")
		if len(name)+1+len(first)+1 <= maxFieldLine {
			b.WriteString(name + ":" + value)
		}
	}
	for _, raw := range h.fields {
		switch name, value := field(raw); name {
		case "from":
			if had {
				continue
			}
			had = true
			b.WriteString("From:" + displayName(value) + " " + mailbox.Wire() + "\r\n")
			if !answers && !mute && !h.From().IsNull() {
				add("Reply-To", value)
			}
			if !original {
				add("X-Original-From", value)
			}
		case "sender":
			add("X-Original-Sender", value)
		case "dkim-signature":
		default:
			b.WriteString(raw)
		}
	}
	if !had {
		b.WriteString("From: " + mailbox.Wire() + "\r\n")
	}
	if mute && !auto {
		b.WriteString("Auto-Submitted: auto-generated\r\n") // RFC 3834 §5
	}
	return &Spliced{Head: []byte(b.String()), body: content, from: h.size}
}

// displayName is what stands before the address in From, as it is. A name that
// shows an address is left out: receivers take that for a lie.
func displayName(value string) string {
	i := strings.LastIndexByte(value, '<')
	if i < 0 {
		return ""
	}
	name := strings.TrimRight(value[:i], " \t\r\n")
	if strings.ContainsRune(name, '@') || len(unfolded.Replace(name)) > 400 {
		return ""
	}
	return name
}

// Spliced is content with another header.
type Spliced struct {
	Head []byte
	body relay.Content
	from int64 // where in body the rest begins
}

// Size implements relay.Content.
func (s *Spliced) Size() int64 { return int64(len(s.Head)) + s.body.Size() - s.from }

// ReadAt implements io.ReaderAt.
func (s *Spliced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(s.Head)) {
		if n = copy(p, s.Head[off:]); n == len(p) {
			return n, nil
		}
	}
	rest := off + int64(n) - int64(len(s.Head)) + s.from
	if rest >= s.body.Size() {
		return n, io.EOF
	}
	more, err := s.body.ReadAt(p[n:], rest)
	return n + more, err
}

// Close does nothing: whoever made the content closes it.
func (s *Spliced) Close() error { return nil }
