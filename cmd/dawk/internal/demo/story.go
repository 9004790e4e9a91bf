package demo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/smtp"
	"strings"
)

// letter is one of the demo's messages and what must become of it.
type letter struct {
	number  int
	to      string
	subject string
	id      string // queue ID, once accepted
}

// tell sends three messages and waits until the receivers have what they are
// to have. Each step is checked at the far end, not in our own log.
func (s *stage) tell(ctx context.Context) error {
	s.screen.printf("%s\n%s\n\n", s.screen.bold("dawk demo"),
		"a relay on "+s.relay.Addrs()[0].String()+", receivers on "+s.receivers.addr().String()+", DNS on "+s.dns.addr()+"; nothing leaves this machine")
	letters := []*letter{
		{number: 1, to: "reader@good.test", subject: "Minutes of the meeting"},
		{number: 2, to: "reader@greylist.test", subject: "Quarterly report"},
		{number: 3, to: "nobody@strict.test", subject: "Are you there?"},
	}
	for _, l := range letters {
		id, err := s.send(ctx, l.number, l.to, l.subject)
		if err != nil {
			return fmt.Errorf("send message %d: %w", l.number, err)
		}
		l.id = id
	}
	// Two letters and one bounce.
	got, err := s.receivers.wait(ctx, 3)
	if err != nil {
		return fmt.Errorf("the receivers got %d of 3 messages: %w", len(got), err)
	}
	if err := s.screen.waitSettled(ctx, letters); err != nil {
		return err
	}
	for _, l := range letters[:2] {
		if err := l.arrivedIn(got); err != nil {
			return err
		}
	}
	if s.screen.delays(letters[1].id) == 0 {
		return errors.New("message 2 arrived without being deferred")
	}
	notice, err := bounceIn(got)
	if err != nil {
		return err
	}
	s.showBounce(notice)
	s.screen.printf("\n%s\n", s.screen.green("All three happened: one relayed, one deferred and relayed, one bounced."))
	return nil
}

// body has what careless software breaks: dots at line starts, 8-bit text.
const demoBody = "Dear reader,\r\n\r\n.a line that begins with a dot\r\n..and one with two\r\nডাক, 驿站, réponse\r\n"

// message is what the demo's scanner sends.
func (l *letter) message() []byte {
	return fmt.Appendf(nil, "From: Scanner <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMIME-Version: 1.0\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s", demoUser, l.to, l.subject, demoBody)
}

// send submits a message with a client that is not ours (net/smtp), over
// STARTTLS and with a password. It returns the queue ID.
func (s *stage) send(ctx context.Context, number int, to, subject string) (id string, err error) {
	l := &letter{number: number, to: to, subject: subject}
	s.screen.expect(l)
	select {
	case <-s.relay.Ready():
	case <-ctx.Done():
		return "", ctx.Err()
	}
	addr := s.relay.Addrs()[0]
	c, err := smtp.Dial(addr.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.Hello("scanner.office.test"); err != nil {
		return "", err
	}
	// The certificate is the self-signed one of a first start.
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "relay.office.test"}); err != nil {
		return "", err
	}
	if err := c.Auth(smtp.PlainAuth("", demoUser, s.password, addr.Addr().String())); err != nil {
		return "", err
	}
	if err := errors.Join(c.Mail(demoUser), c.Rcpt(to)); err != nil {
		return "", err
	}
	w, err := c.Data()
	if err != nil {
		return "", err
	}
	if _, err := w.Write(l.message()); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if id = s.screen.accepted(ctx, to); id == "" {
		return "", errors.New("the relay said 250 but told nobody")
	}
	return id, c.Quit()
}

// arrivedIn looks for l among what the receivers took, and compares the body
// octet by octet.
func (l *letter) arrivedIn(got []received) error {
	_, want, _ := bytes.Cut(l.message(), []byte("\r\n\r\n"))
	for _, m := range got {
		if len(m.to) != 1 || m.to[0] != l.to {
			continue
		}
		if _, body, _ := bytes.Cut(m.data, []byte("\r\n\r\n")); !bytes.Equal(body, want) {
			return fmt.Errorf("message %d arrived changed: %q", l.number, body)
		}
		return nil
	}
	return fmt.Errorf("message %d never arrived", l.number)
}

// notice is a bounce as its reader's program would show it.
type notice struct {
	from, to, subject string
	text, status      string
}

// bounceIn finds the delivery status notification and takes it apart with a
// parser that is not ours.
func bounceIn(got []received) (*notice, error) {
	for _, m := range got {
		if m.from != "" || len(m.to) != 1 || m.to[0] != demoUser {
			continue
		}
		msg, err := mail.ReadMessage(bytes.NewReader(m.data))
		if err != nil {
			return nil, fmt.Errorf("the bounce cannot be parsed: %w", err)
		}
		kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
			return nil, fmt.Errorf("the bounce is a %q, not a delivery status report", kind)
		}
		n := &notice{from: msg.Header.Get("From"), to: msg.Header.Get("To"), subject: msg.Header.Get("Subject")}
		for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
			part, err := r.NextPart()
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("the bounce cannot be parsed: %w", err)
			}
			text, err := io.ReadAll(part)
			if err != nil {
				return nil, err
			}
			switch kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type")); kind {
			case "text/plain":
				n.text = string(text)
			case "message/delivery-status":
				n.status = string(text)
			}
		}
		if !strings.Contains(n.status, "Action: failed") || !strings.Contains(n.status, "5.1.1") || !strings.Contains(n.status, "nobody@strict.test") {
			return nil, fmt.Errorf("the bounce does not say what happened: %q", n.status)
		}
		return n, nil
	}
	return nil, errors.New("no bounce came back to the sender")
}

func (s *stage) showBounce(n *notice) {
	s.screen.printf("\n%s\n", s.screen.bold("The bounce, as it reached "+demoUser+":"))
	var b strings.Builder
	fmt.Fprintf(&b, "From: %s\nTo: %s\nSubject: %s\n\n", n.from, n.to, n.subject)
	b.WriteString(strings.TrimSpace(n.text) + "\n\n")
	b.WriteString("and, for programs (RFC 3464):\n\n" + strings.TrimSpace(n.status) + "\n")
	var out strings.Builder
	indent(&out, b.String(), s.screen.grey("  │ "))
	s.screen.printf("%s", out.String())
}
