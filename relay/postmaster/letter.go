// Package postmaster tells the postmaster what no bounce tells: that a route or a
// user is held, and that a file in the drop folder is no mail.
//
// It owns the form of such letters ([Letters]) and the times of those about
// holds ([Holds], with one lock and the goroutine of its Run). Queueing them is
// the caller's.
package postmaster

import (
	"bytes"
	"fmt"
	"mime/quotedprintable"

	"dawk/relay"
)

// Letters are written in the name of a relay.
type Letters struct {
	Hostname string
	To       relay.Path // null: there is no postmaster
}

// Write makes a letter in plain text. It comes from nobody and brings nothing
// back: a letter that cannot be delivered is not reported.
func (l Letters) Write(subject, text string) relay.Notice {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\nTo: %s\r\nSubject: %s\r\nAuto-Submitted: auto-generated\r\n"+
		"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n",
		l.Hostname, l.To.Wire(), printable(subject))
	w := quotedprintable.NewWriter(&b)
	w.Write([]byte(text)) //nolint:errcheck // memory
	w.Close()             //nolint:errcheck // memory
	return relay.Notice{Content: b.Bytes(), Message: relay.Message{Envelope: relay.Envelope{
		Recipients: []relay.Recipient{{Path: l.To, Notify: relay.NotifyNever}}, SMTPUTF8: !l.To.ASCII()}}}
}

// printable keeps what is not printable ASCII out of a header field: names of
// routes may hold it.
func printable(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c > '~' {
			b[i] = '?'
		}
	}
	return string(b)
}
