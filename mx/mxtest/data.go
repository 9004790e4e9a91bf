package mxtest

import (
	"bufio"
	"bytes"
	"errors"
	"time"
)

func (c *session) data() error {
	if c.mail == nil || len(c.mail.Recipients) == 0 {
		return c.write("503 5.5.1 RCPT first\r\n", 0)
	}
	err := c.scripted(EventDATA, c.mail.From, "354 end with a dot")
	if err == nil {
		err = c.scripted(EventBody, c.mail.From, "")
	}
	if errors.Is(err, errNo) {
		return nil
	}
	if err != nil {
		return err
	}
	m := c.mail
	c.mail = nil
	if m.Data, err = readBody(c.r); err != nil {
		return err
	}
	if c.tooFast() {
		return c.write("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded\r\n", 0)
	}
	c.taken++
	m.Number, m.Time = c.taken, time.Now()
	if c.s.cfg.LMTP {
		return c.deliver(m)
	}
	// Taken is what we answered 250 to; but a session that the script ends
	// instead of answering has the message, too: the case of RFC 1047.
	// What is said to it is decided before anybody sees the message: a rule that a
	// test adds then is for the next one.
	a := c.s.act(EventDot, m.From)
	if a.takes() {
		c.s.note(func() { c.s.messages = append(c.s.messages, *m) })
	}
	return unlessNo(c.perform(a, "250 2.0.0 taken"))
}

// deliver answers for each recipient (RFC 2033 §4.2), and keeps the message
// for those whom it said yes to, or to whom it gave no answer.
func (c *session) deliver(m *Message) error {
	all := m.Recipients
	m.Recipients = nil
	var answers []action
	for _, r := range all {
		a := c.s.act(EventDot, r.Path)
		if answers = append(answers, a); a.takes() {
			m.Recipients = append(m.Recipients, r)
		}
	}
	if len(m.Recipients) > 0 {
		c.s.note(func() { c.s.messages = append(c.s.messages, *m) })
	}
	for _, a := range answers {
		if err := unlessNo(c.perform(a, "250 2.1.5 in the mailbox")); err != nil {
			return err
		}
	}
	return nil
}

// readBody reads to CRLF.CRLF, and to nothing that merely looks like it, and
// takes the stuffed dots out. Bare CR and LF stay.
func readBody(r *bufio.Reader) ([]byte, error) {
	var body []byte
	lineStart := true // after CRLF, or at the beginning
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if lineStart && bytes.Equal(line, []byte(".\r\n")) {
			return body, nil
		}
		if lineStart && line[0] == '.' {
			line = line[1:]
		}
		body = append(body, line...)
		lineStart = bytes.HasSuffix(body, []byte("\r\n")) && len(line) > 0
	}
}
