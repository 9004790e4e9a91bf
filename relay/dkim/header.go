package dkim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"

	"dawk/relay"
)

// oversigned fields are listed once more than they occur, so that nobody can
// add another on the way and have it shown under our signature (RFC 6376
// §8.15).
var oversigned = []string{"From", "Subject", "To", "Date", "Message-ID", "Reply-To", "Cc",
	"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}

// others are signed where they occur: lists add and replace some of them.
// RFC 8058 §4 wants both List-Unsubscribe fields signed, RFC 8689 §3
// TLS-Required.
var others = []string{"Sender", "In-Reply-To", "References", "List-Id", "List-Unsubscribe", "List-Unsubscribe-Post",
	"Auto-Submitted", "TLS-Required"}

// Of a field that occurs more often than it may, so many are signed: the list
// must fit into a line.
const maxSame = 3

// maxHeader bounds what is read in search of the header's end, in octets;
// acceptance takes 256 KiB.
const maxHeader = 1 << 20

// fields is what is known of a message's header.
type fields struct {
	count map[string]int // by lower-case name
	from  []byte         // value of the first From
	ended bool           // an empty line ends it; else the message has no body
}

// readFields reads the header of content.
func readFields(content relay.Content) (fields, error) {
	f := fields{count: map[string]int{}}
	head, err := readHead(content)
	if err != nil {
		return f, err
	}
	inFrom := false
	for line := range bytes.Lines(head) {
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			f.ended = true
			return f, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			if inFrom {
				f.from = append(f.from, line...)
			}
			continue
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		key := strings.ToLower(strings.TrimSpace(string(name)))
		f.count[key]++
		if inFrom = key == "from" && f.count[key] == 1; inFrom {
			f.from = append(f.from, value...)
		}
	}
	return f, nil
}

// readHead reads as much of content as holds the header.
func readHead(content relay.Content) ([]byte, error) {
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

func orShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// domain is that of the one From mailbox in A-labels; "" when there is not
// exactly one, or nobody could say which.
func (f fields) domain() string {
	if f.count["from"] != 1 {
		return ""
	}
	value := lineEnds.Replace(string(f.from))
	address, ok := oneMailbox(strings.TrimSpace(value))
	if !ok {
		return ""
	}
	at := strings.LastIndexByte(address, '@')
	d, err := relay.NormalizeDomain(address[at+1:])
	if at < 0 || err != nil || strings.HasPrefix(d, "[") {
		return ""
	}
	return d
}

var lineEnds = strings.NewReplacer("\r\n", "", "\n", "") // built once: it costs more than its use

// mailboxes reads From. What an encoded word says matters to nobody here.
var mailboxes = mail.AddressParser{WordDecoder: &mime.WordDecoder{
	CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}

// oneMailbox is the address of a From field with one mailbox.
func oneMailbox(value string) (string, bool) {
	list, err := mailboxes.ParseList(value)
	if err == nil {
		if len(list) != 1 {
			return "", false
		}
		return list[0].Address, true
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

// signed is the list for h=.
func (f fields) signed() []string {
	var list []string
	for _, name := range oversigned {
		for range min(f.count[strings.ToLower(name)], maxSame) + 1 {
			list = append(list, name)
		}
	}
	for _, name := range others {
		for range min(f.count[strings.ToLower(name)], maxSame) {
			list = append(list, name)
		}
	}
	return list
}
