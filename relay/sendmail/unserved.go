package sendmail

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"dawk/relay"
)

// Unserved is a recipient that does not get a message.
type Unserved struct {
	Text string `json:"text"` // as it was written
	Why  string `json:"why"`  // the text of a reply, after its status
}

var errUnserved = errors.New("some recipients of a message are not addresses")

// Bounds of what a notice says.
const (
	maxUnserved     = 500
	maxUnservedText = 300 // characters
)

func (m *Message) unserved(text, why string) {
	if len(m.Unserved) < maxUnserved {
		m.Unserved = append(m.Unserved, Unserved{relay.Sanitize(relay.ClipTo(text, maxUnservedText)), why})
	}
}

func unservedList(list []Unserved) string {
	var b strings.Builder
	for i, u := range list {
		if i == 5 {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", relay.Clip(u.Text))
	}
	return b.String()
}

// Reply is the reason in the form of a reply of our own.
func (u Unserved) Reply() relay.Reply {
	r := relay.Reply{Status: relay.Status{Class: 5, Subject: 1, Detail: 3}, Text: relay.Sanitize(u.Why)}
	word, rest, _ := strings.Cut(u.Why, " ")
	if s, ok := relay.ParseStatus(word); ok && s.Class == 5 {
		r.Status, r.Text = s, relay.Sanitize(rest)
	}
	return r
}

// GiveBack leaves a file in the drop folder dir that names the recipients that do not get m: the
// relay writes a notice to the sender. The error is for the user who called; it says that this is
// not possible, or that no notices are wanted.
func GiveBack(dir string, m *Message) error {
	if len(m.Unserved) == 0 {
		return nil
	}
	err := errors.New("there is no drop folder, see [sendmail] drop")
	switch {
	case !m.notify.Failure():
		err = errors.New("the option -N wants none")
	case dir != "":
		word := &Message{Envelope: m.Envelope, Unserved: m.Unserved, header: m.header, body: bytes.NewReader(nil), spool: &spool{}}
		word.Envelope.Recipients = nil
		var path string
		if path, err = leave(dir, word); err == nil {
			awaitTaken(path)
		}
	}
	if err != nil {
		return fmt.Errorf("the message was taken, but not for %s, and no notice tells of it: %w", unservedList(m.Unserved), err)
	}
	return nil
}

// awaitTaken waits a moment for the relay to take a file: a program that looks
// for the notice once sendmail has ended finds it in the queue.
func awaitTaken(path string) {
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err := os.Lstat(path); err != nil {
			return
		}
	}
}
