package dkim

import (
	"slices"
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

// maxSame is how many are signed of a field that occurs more often than it may:
// the list must fit into a line.
const maxSame = 3

// fields is what is known of a message's header.
type fields struct {
	count map[string]int // by lower-case name
	from  string         // value of the first From
	ended bool           // an empty line ends it; else the message has no body
}

// readFields reads the header of content.
func readFields(content relay.Content) (fields, error) {
	f := fields{count: map[string]int{}}
	head, err := relay.ReadHeader(content)
	if err != nil {
		return f, err
	}
	size := 0
	for name, field := range relay.Fields(head) {
		size += len(field)
		if f.count[name]++; name == "from" && f.from == "" {
			f.from = relay.FieldValue(field)
		}
	}
	f.ended = size < len(head)
	return f, nil
}

// domain is that of the one From mailbox in A-labels; "" when there is not
// exactly one, or nobody could say which.
func (f fields) domain() string {
	if f.count["from"] != 1 {
		return ""
	}
	address, ok := relay.OneMailbox(f.from)
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

// signed is the list for h=.
func (f fields) signed() []string {
	var list []string
	add := func(names []string, more int) {
		for _, name := range names {
			list = append(list, slices.Repeat([]string{name}, min(f.count[strings.ToLower(name)], maxSame)+more)...)
		}
	}
	add(oversigned, 1)
	add(others, 0)
	return list
}
