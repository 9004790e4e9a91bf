package sendmail

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"strings"
	"time"

	"dawk/relay"
)

// How long the relay may take for one answer, and for a whole message.
const (
	answerTime  = 30 * time.Second
	messageTime = 15 * time.Minute
)

// Refused is a permanent refusal by the relay: trying again does not help.
type Refused struct {
	Code int
	Text string // with the enhanced status
}

func (r *Refused) Error() string { return "the relay refused: " + r.Text }

// Exit is the exit code for it.
func (r *Refused) Exit() int {
	word, _, _ := strings.Cut(r.Text, " ")
	switch s, _ := relay.ParseStatus(word); s.Subject {
	case 1:
		return ExitNoUser
	case 7:
		return ExitPermission
	case 6:
		return ExitData
	}
	return ExitUnavailable
}

// Submit hands m to the relay at the other end of conn, by SMTP, and closes conn. It returns the
// relay's last reply. A *Refused is final; after every other error the message may be handed over
// another way. Recipients that the relay refuses for good, while it takes others, are in m.Unserved
// afterwards.
func Submit(conn net.Conn, m *Message) (string, error) {
	_ = conn.SetDeadline(time.Now().Add(answerTime))
	c := textproto.NewConn(conn)
	defer c.Close()
	if _, err := answer(c, 220); err != nil {
		return "", err
	}
	refused, err := begin(c, m)
	if err != nil {
		return "", err
	}
	if _, err := ask(c, "DATA", 354); err != nil {
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
	if err != nil {
		return "", err
	}
	_ = c.PrintfLine("QUIT") // what follows does not concern the message
	for _, u := range refused {
		m.unserved(u.Text, u.Why)
	}
	return said, nil
}

// begin sends the commands before DATA, and returns the recipients that were refused. Its error is
// the refusal of the first if none was taken.
func begin(c *textproto.Conn, m *Message) (refused []Unserved, err error) {
	var first *Refused
	for i, line := range commands(m) {
		_, err := ask(c, line, 250)
		var no *Refused
		if to := i - beforeRcpt; to >= 0 && errors.As(err, &no) {
			first = cmp.Or(first, no)
			refused = append(refused, Unserved{m.Envelope.Recipients[to].Path.String(), no.Text})
		} else if err != nil {
			return nil, err
		}
	}
	if len(refused) == len(m.Envelope.Recipients) {
		return nil, first
	}
	return refused, nil
}

func ask(c *textproto.Conn, line string, want int) (string, error) {
	if err := c.PrintfLine("%s", line); err != nil {
		return "", err
	}
	return answer(c, want)
}

// beforeRcpt is how many commands stand before the first RCPT: EHLO and MAIL.
const beforeRcpt = 2

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
		mail += " ENVID=" + relay.XText(e.EnvID)
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
