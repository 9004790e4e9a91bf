package notices

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// safely calls f; a panic in it is an error. What strangers wrote must not stop
// a settlement.
func safely[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return f()
}

// sign signs a notice. One that cannot be signed goes unsigned: that is better
// than none.
func (n *Notices) sign(notice *relay.Notice) {
	if n.Sign == nil {
		return
	}
	fields, err := safely(func() ([]byte, error) { return n.Sign(&notice.Message, memory{bytes.NewReader(notice.Content)}) })
	if err != nil {
		n.Log.Error("a notice could not be signed; it goes unsigned", "notice", notice.Message.ID, "error", err)
		return
	}
	notice.Content = append(fields, notice.Content...)
	notice.Message.Size = int64(len(notice.Content))
}

// memory is the content of a notice.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// plain is a notice in plain ASCII text, for when package bounce cannot compose one.
func (n *Notices) plain(id relay.QueueID, to relay.Path, now time.Time, subject string, lines []string) relay.Notice {
	host := n.Bounce.Hostname
	if _, err := relay.NormalizeDomain(host); err != nil {
		host = "localhost"
	}
	msgID := fmt.Sprintf("<%s.notice@%s>", id, host)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\n", host)
	if to.ASCII() && len(to.Wire()) <= 900 { // see below
		fmt.Fprintf(&b, "To: %s\r\n", to.Wire())
	}
	fmt.Fprintf(&b, "Subject: %s\r\nDate: %s\r\nMessage-ID: %s\r\n", asciiOnly(subject), now.Format(time.RFC1123Z), msgID)
	b.WriteString("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
	fmt.Fprintf(&b, "This is the mail relay %s.\r\n\r\n", host)
	for _, line := range append([]string{subject}, lines...) {
		line = asciiOnly(line)
		for len(line) > 900 { // RFC 5322 §2.1.1: a line has at most 998 octets
			b.WriteString(line[:900] + "\r\n")
			line = line[900:]
		}
		b.WriteString(line + "\r\n")
	}
	return relay.Notice{Content: b.Bytes(), Message: relay.Message{
		ID: id, Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to, Notify: relay.NotifyNever}}},
		Arrival: now, Size: int64(b.Len()), Identity: bounce.Identity, MessageID: msgID, Notice: true}}
}

// asciiOnly is s with everything except printable ASCII replaced.
func asciiOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
