package sendmail

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"dawk/relay"
)

// How long the relay may take: for one answer, and for a message as a whole.
const (
	answerTime  = 30 * time.Second
	messageTime = 15 * time.Minute
)

// Refused is the relay's considered no: trying again is pointless.
type Refused struct {
	Code int
	Text string // with the enhanced status
}

func (r *Refused) Error() string { return "the relay refused: " + r.Text }

// Exit is the exit code that says the same.
func (r *Refused) Exit() int {
	switch {
	case strings.HasPrefix(r.Text, "5.1."):
		return ExitNoUser
	case strings.HasPrefix(r.Text, "5.7."):
		return ExitPermission
	case strings.HasPrefix(r.Text, "5.6."):
		return ExitData
	}
	return ExitUnavailable
}

// Submit hands m to the relay at the other end of conn, by SMTP, and closes
// conn. It gives the relay's last words. A *Refused is final; after every
// other error the message may be handed over another way.
func Submit(conn net.Conn, m *Message) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	c := textproto.NewConn(conn)
	defer c.Close()
	if _, err := answer(c, 220); err != nil {
		return "", err
	}
	for _, line := range commands(m) {
		if err := c.PrintfLine("%s", line); err != nil {
			return "", err
		}
		if _, err := answer(c, 250); err != nil {
			return "", err
		}
	}
	if err := c.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, err := answer(c, 354); err != nil {
		return "", err
	}
	_ = conn.SetDeadline(time.Now().Add(messageTime))
	w := c.DotWriter()
	if _, err := io.Copy(w, m.Reader()); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	said, err := answer(c, 250)
	if err == nil {
		_ = c.PrintfLine("QUIT") // what follows does not concern the message
	}
	return said, err
}

// commands are those before DATA. Paths are re-quoted by their type, and the
// envelope ID is xtext: no value can become another parameter.
func commands(m *Message) []string {
	e := m.Envelope
	mail := fmt.Sprintf("MAIL FROM:%s SIZE=%d", e.From.Wire(), m.Size())
	if e.Body != "" {
		mail += " BODY=" + string(e.Body)
	}
	if e.SMTPUTF8 {
		mail += " SMTPUTF8"
	}
	if e.Ret != "" {
		mail += " RET=" + string(e.Ret)
	}
	if e.EnvID != "" {
		mail += " ENVID=" + xtext(e.EnvID)
	}
	list := []string{"EHLO localhost", mail}
	for _, r := range e.Recipients {
		rcpt := "RCPT TO:" + r.Path.Wire()
		if r.Notify != 0 {
			rcpt += " NOTIFY=" + r.Notify.String()
		}
		list = append(list, rcpt)
	}
	return list
}

func answer(c *textproto.Conn, want int) (string, error) {
	_, text, err := c.ReadResponse(want)
	var said *textproto.Error
	if !errors.As(err, &said) {
		return text, err
	}
	words := relay.Sanitize(strings.ReplaceAll(said.Msg, "\n", " "))
	if said.Code/100 == 5 {
		return "", &Refused{Code: said.Code, Text: words}
	}
	return "", fmt.Errorf("the relay said %d %s", said.Code, words)
}

// xtext is the form of RFC 3461 §4.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
