package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"mime"
	"net/mail"
	"strings"
	"unicode"
)

// maxHeader bounds what is read in search of the header's end, in octets;
// acceptance takes 256 KiB.
const maxHeader = 1 << 20

// ReadHeader reads as much of content as holds the whole header.
func ReadHeader(content Content) ([]byte, error) {
	const step = 16 << 10
	size := content.Size()
	var head []byte
	for off := int64(0); off < size; {
		n := int(min(step, size-off))
		head = append(head, make([]byte, n)...)
		if got, err := content.ReadAt(head[off:], off); got < n {
			return nil, fmt.Errorf("read the message at octet %d: %w", off, orShort(err))
		}
		from := max(0, int(off)-3)
		off += int64(n)
		if i := bytes.Index(head[from:], []byte("\r\n\r\n")); i >= 0 || bytes.HasPrefix(head, []byte("\r\n")) {
			return head, nil
		}
		if off > maxHeader {
			return nil, errors.New("the header of the message does not end")
		}
	}
	return head, nil
}

// Fields are the fields of a header up to the empty line that ends it: the name
// in lower case, "" for a line that is no field, and the field as it stands,
// with its continuation lines.
func Fields(head []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(head) > 0 && head[0] != '\n' && !bytes.HasPrefix(head, []byte("\r\n")) {
			end := 0
			for first := true; end < len(head) && (first || head[end] == ' ' || head[end] == '\t'); first = false {
				if i := bytes.IndexByte(head[end:], '\n'); i >= 0 {
					end += i + 1
				} else {
					end = len(head)
				}
			}
			name, _, ok := bytes.Cut(head[:end], []byte(":"))
			if !ok {
				name = nil
			}
			if !yield(strings.ToLower(string(bytes.TrimRight(name, " \t"))), head[:end:end]) {
				return
			}
			head = head[end:]
		}
	}
}

var folds = strings.NewReplacer("\r", "", "\n", "") // built once: it costs more than its use

// FieldValue is the value of a field, unfolded (RFC 5322 §2.2.3).
func FieldValue(field []byte) string {
	_, value, _ := strings.Cut(string(field), ":")
	return strings.TrimSpace(folds.Replace(value))
}

func orShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// fromField reads From. What an encoded word says matters to nobody here.
var fromField = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}

// Mailboxes are all addresses in the unfolded value of a From field. They
// still have to be parsed. It is false if a reader could find others there, or
// if there are none.
func Mailboxes(value string) (addresses []string, ok bool) {
	list, err := fromField.ParseList(value)
	if err != nil {
		if address, ok := OneMailbox(value); ok && strings.Count(value, "@") == 1 {
			return []string{address}, true
		}
		return everyAddress(value)
	}
	for _, a := range list {
		addresses = append(addresses, a.Address)
	}
	return addresses, len(addresses) > 0
}

// everyAddress are the words of a value around an "@", whatever stands around
// them: in "a@example.org <a@example.org>", as many devices write it, no reader
// finds another. It is false if a part of an address stands apart.
func everyAddress(value string) (addresses []string, ok bool) {
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(`<>()[],;:"\\`, r) }) {
		if local, domain, has := strings.Cut(word, "@"); has {
			if local == "" || domain == "" || strings.Contains(domain, "@") {
				return nil, false
			}
			addresses = append(addresses, word)
		}
	}
	return addresses, len(addresses) > 0
}

// OneMailbox is the address in the unfolded value of a From field, if that has
// exactly one. It still has to be parsed.
func OneMailbox(value string) (address string, ok bool) {
	list, err := fromField.ParseList(value)
	if err == nil {
		if len(list) != 1 {
			return "", false
		}
		return list[0].Address, true
	}
	// One word around one "@" leaves no doubt, wherever the dots of its local
	// part stand.
	if _, domain, ok := strings.Cut(value, "@"); ok && !strings.ContainsAny(value, " \t<>()[],;:\"\\") {
		if _, err := fromField.ParseList("x@" + domain); err == nil {
			return value, true
		}
	}
	// Display names that should have been quoted are common in what devices
	// send. One pair of angle brackets leaves no doubt about the mailbox.
	open, end := -1, -1
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<' && open < 0:
			open = i
		case c == '>' && open >= 0 && end < 0:
			end = i
		case c == '<' || c == '>' || end >= 0:
			return "", false
		}
	}
	if quoted || end < 0 {
		return "", false
	}
	return value[open+1 : end], true
}
