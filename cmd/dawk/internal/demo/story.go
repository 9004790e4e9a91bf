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
	"slices"
	"strings"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
)

// letter is one of the demo's messages, and what became of it.
type letter struct {
	number      int
	to, subject string
	id          relay.QueueID // once accepted
	notice      relay.QueueID // about it; zero: there is none
	delays      int
	ended       bool
}

// tell sends three messages and waits until the receivers have what they are
// to have. Each step is checked at the far end, not in our own log.
func (s *stage) tell(ctx context.Context) error {
	s.screen.say("%s\na relay on %s, receivers on %s, DNS on %s; nothing leaves this machine\n",
		s.screen.Paint(show.Bold, "dawk demo"), s.relay.Addrs()[0], s.receivers.addr(), s.dns.addr())
	for i, l := range []*letter{
		{to: "reader@good.test", subject: "Minutes of the meeting"},
		{to: "reader@greylist.test", subject: "Quarterly report"},
		{to: "nobody@strict.test", subject: "Are you there?"},
	} {
		if err := s.send(ctx, l); err != nil {
			return fmt.Errorf("send message %d: %w", i+1, err)
		}
	}
	// Two letters and one bounce.
	got, err := s.receivers.wait(ctx, 3)
	if err != nil {
		return fmt.Errorf("the receivers got %d of 3 messages: %w", len(got), err)
	}
	letters := s.screen.letters
	if err := s.screen.until(ctx, func() bool {
		return !slices.ContainsFunc(letters, func(l *letter) bool { return !l.ended })
	}); err != nil {
		return err
	}
	for _, l := range letters[:2] {
		if err := l.arrivedIn(got); err != nil {
			return err
		}
	}
	if letters[1].delays == 0 {
		return errors.New("message 2 arrived without being deferred")
	}
	if err := s.showBounce(got); err != nil {
		return err
	}
	s.screen.say("\n%s", s.screen.Paint(show.Green, "All three happened: one relayed, one deferred and relayed, one bounced."))
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
// STARTTLS and with a password, and waits for its queue ID.
func (s *stage) send(ctx context.Context, l *letter) error {
	s.screen.mu.Lock()
	s.screen.letters = append(s.screen.letters, l)
	l.number = len(s.screen.letters)
	s.screen.mu.Unlock()
	select {
	case <-s.relay.Ready():
	case <-ctx.Done():
		return ctx.Err()
	}
	addr := s.relay.Addrs()[0]
	c, err := smtp.Dial(addr.String())
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Hello("scanner.office.test"); err != nil {
		return err
	}
	// The certificate is the self-signed one of a first start.
	if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: "relay.office.test"}); err != nil {
		return err
	}
	if err := c.Auth(smtp.PlainAuth("", demoUser, s.password, addr.Addr().String())); err != nil {
		return err
	}
	if err := errors.Join(c.Mail(demoUser), c.Rcpt(l.to)); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(l.message()); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	if s.screen.until(ctx, func() bool { return !l.id.IsZero() }) != nil {
		return errors.New("the relay said 250 but told nobody")
	}
	return c.Quit()
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

// showBounce finds the delivery status notification, takes it apart with a parser
// that is not ours, and shows it as its reader's program would.
func (s *stage) showBounce(got []received) error {
	i := slices.IndexFunc(got, func(m received) bool { return m.from == "" && slices.Equal(m.to, []string{demoUser}) })
	if i < 0 {
		return errors.New("no bounce came back to the sender")
	}
	msg, err := mail.ReadMessage(bytes.NewReader(got[i].data))
	if err != nil {
		return fmt.Errorf("the bounce cannot be parsed: %w", err)
	}
	kind, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		return fmt.Errorf("the bounce is a %q, not a delivery status report", kind)
	}
	texts := map[string]string{} // of the parts, by their types
	for r := multipart.NewReader(msg.Body, params["boundary"]); ; {
		part, err := r.NextPart()
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("the bounce cannot be parsed: %w", err)
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return err
		}
		kind, _, _ := mime.ParseMediaType(part.Header.Get("Content-Type"))
		texts[kind] = strings.TrimSpace(string(text))
	}
	status := texts["message/delivery-status"]
	if !strings.Contains(status, "Action: failed") || !strings.Contains(status, "5.1.1") || !strings.Contains(status, "nobody@strict.test") {
		return fmt.Errorf("the bounce does not say what happened: %q", status)
	}
	s.screen.say("\n%s", s.screen.Paint(show.Bold, "The bounce, as it reached "+demoUser+":"))
	for line := range strings.SplitSeq(fmt.Sprintf("From: %s\nTo: %s\nSubject: %s\n\n%s\n\nand, for programs (RFC 3464):\n\n%s",
		msg.Header.Get("From"), msg.Header.Get("To"), msg.Header.Get("Subject"), texts["text/plain"], status), "\n") {
		s.screen.say("  │ %s", strings.TrimRight(line, "\r"))
	}
	return nil
}
