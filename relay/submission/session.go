package submission

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/emersion/go-smtp"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
	"dawk/relay/submission/guard"
)

// session is one client's dialogue as go-smtp sees it. Addresses, parameters and content come from
// the guard, the rules from the Acceptor. The session decides what is specific to SMTP: who may
// relay, and the order of commands.
type session struct {
	*conn
	failures int              // logins that failed
	sent     bool             // a message was taken
	message  *accept.Decision // of the transaction; nil outside one
}

var _ smtp.AuthSession = (*session)(nil)

// newSession is called at the first HELO or EHLO.
func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*conn)
	if !ok {
		return nil, smtpError(accept.RefusalOf(fmt.Errorf("connection of type %T", c.Conn())))
	}
	return &session{conn: conn}, nil
}

// Reset drops the transaction: after RSET, EHLO and every message.
func (s *session) Reset() { s.message = nil }

// Logout does nothing: a connection stops counting when it closes.
func (s *session) Logout() error { return nil }

// Mail answers MAIL. The arguments of go-smtp are placeholders.
func (s *session) Mail(string, *smtp.MailOptions) error {
	s.message = nil
	return s.answer(s.mail(s.conn.Mail()))
}

func (s *session) mail(m guard.Mail) (err error) {
	if err := s.renew(); err != nil {
		return err
	}
	if err := s.askAgain(); err != nil {
		return err
	}
	rules := s.listener.rules
	_, overTLS := s.TLS()
	switch {
	case rules.RequireTLS && !overTLS:
		return accept.Refuse(accept.ReasonTLS, 530, "5.7.0", "send STARTTLS first")
	case rules.Auth == authRequired && !s.mayRelay() && len(s.AuthMechanisms()) == 0 && !overTLS && rules.TLS == tlsStart:
		return accept.Refuse(accept.ReasonAuth, 530, "5.7.0", "a login is required; send STARTTLS first, then AUTH")
	case rules.Auth == authRequired && !s.mayRelay():
		return accept.Refuse(accept.ReasonAuth, 530, "5.7.0", "a login is required")
	}
	if m.BadFrom != nil {
		if s.user == nil || s.user.RewriteFrom.IsNull() {
			return &accept.Refusal{Reason: guard.ReasonSyntax, Reply: *m.BadFrom}
		}
		m.From = s.user.RewriteFrom
	}
	s.message, err = s.listener.acceptor.Begin(s.submission(m), m.Size)
	return err
}

// submission is the message of a MAIL command; its recipients follow.
func (s *session) submission(m guard.Mail) accept.Submission {
	who := s.submitter()
	_, esmtp := s.Helo()
	who.Protocol = protocol(esmtp, m.SMTPUTF8, who.TLS != "", s.loggedIn)
	who.AddFrom = s.listener.rules.Profile == profileDevice || s.listener.local != nil
	if complete := s.listener.rules.CompleteHeader; complete == nil && s.untidy || complete != nil && *complete {
		who.CompleteHeader = s.listener.cfg.Domain
	}
	who.HideClient = s.loggedIn && s.listener.rules.ReceivedClient == receivedHidden
	return accept.Submission{Submitter: who, NotBefore: m.NotBefore, Content: content{s.conn.Conn},
		Envelope: relay.Envelope{From: m.From, Body: m.Body, SMTPUTF8: m.SMTPUTF8, RequireTLS: m.RequireTLS, EnvID: m.EnvID, Ret: m.Ret}}
}

// submitter is what is known now of who is at the other end.
func (c *conn) submitter() accept.Submitter {
	s := accept.Submitter{Identity: c.identity, User: c.user, Client: c.client, Listener: c.listener.rules.Address, Session: c.id}
	s.Helo, _ = c.Helo()
	if state, ok := c.TLS(); ok {
		s.TLS = relay.TLSText(&state)
	}
	return s
}

// renew puts the current rules of a session's port in force; its previous transaction ended under
// the old ones. What was settled when the session began stays: SIZE, TLS, deadlines.
func (s *session) renew() error {
	s.port = s.server.portNow(s.port, s.conn.LocalAddr())
	now := s.port.listener.Load()
	switch {
	case s.sent && s.server.leaving.Load():
		return accept.Refuse(guard.ReasonShutdown, 421, "4.3.2", "the server is started anew, connect again")
	case now == s.listener:
		return nil
	case now == nil:
		return accept.Refuse(guard.ReasonShutdown, 421, "4.3.2", "mail is not taken at this address any more, closing the connection")
	}
	s.listener = now
	if !s.loggedIn {
		s.rights()
	}
	return nil
}

// askAgain reads the user of a session again: limits and holds of the file apply from the next
// message on. A user who could not log in any more gets 421, which ends the session.
func (s *session) askAgain() error {
	if !s.loggedIn {
		return nil
	}
	user, err := s.user, identity.ErrCredentials
	if s.listener.auth != nil && s.listener.rules.Auth != authOff {
		user, err = s.listener.auth.Current(s.user, s.client)
	}
	if err == nil && s.names != nil {
		user, err = s.listener.auth.Certificate(s.names, s.client)
	}
	switch {
	case errors.Is(err, identity.ErrCredentials), err == nil && !strings.EqualFold(user.Name, s.identity):
		return accept.Refuse(accept.ReasonAuth, 421, "4.7.0", "your login is not valid any more, closing the connection")
	case err != nil:
		return err
	}
	s.user = user
	return nil
}

// Rcpt answers RCPT.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	return s.answer(s.rcpt(s.conn.Rcpt()))
}

// rcpt looks nothing up in DNS: the client waits.
func (s *session) rcpt(r relay.Recipient) error {
	if !s.mayRelay() {
		return accept.Refuse(accept.ReasonRelay, 550, "5.7.1", "relaying denied: this server sends mail only for clients that it knows")
	}
	if s.listener.recipients == nil {
		return s.message.Add(r)
	}
	for _, to := range s.listener.recipients(r) {
		if err := s.message.Add(to); err != nil {
			return err
		}
	}
	return nil
}

// Data takes a message. The reader of go-smtp is empty: the content is with
// the guard.
func (s *session) Data(io.Reader) error {
	id, err := s.listener.acceptor.Accept(s.server.ctx, s.message)
	if err != nil {
		return smtpError(accept.RefusalOf(err))
	}
	s.sent = true
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "queued as " + id.String()}
}

// mayRelay says whether the client may relay: nobody else ever may. Where mail comes in,
// the recipients decide.
func (s *session) mayRelay() bool { return s.identity != "" || s.listener.rules.Inbound }

// answer makes the reply to what the session itself refused, and reports the refusal to the
// observer.
func (s *session) answer(err error) error {
	if err == nil {
		return nil
	}
	e := s.event(relay.EventRefused)
	e.From, e.Identity = s.conn.Mail().From, s.identity
	switch accept.RefusalOf(err).Reason {
	case accept.ReasonRelay, accept.ReasonRecipients, accept.ReasonQuota, accept.ReasonSuppressed:
		e.Recipient = s.conn.Rcpt().Path
	}
	return smtpError(s.listener.acceptor.Refused(e, err))
}

// protocol is the keyword for "with" in Received (RFC 3848; RFC 6531 §4.3 for
// SMTPUTF8).
func protocol(esmtp, utf8, tls, auth bool) string {
	word := "ESMTP"
	switch {
	case !esmtp:
		return "SMTP"
	case utf8:
		word = "UTF8SMTP"
	}
	if tls {
		word += "S"
	}
	if auth {
		word += "A"
	}
	return word
}

// smtpError is r in the type that go-smtp needs, exactly *smtp.SMTPError: it turns every other
// error into a permanent 554 with the error's text.
func smtpError(r *accept.Refusal) *smtp.SMTPError {
	s := r.Reply.Status
	return &smtp.SMTPError{Code: r.Reply.Code, EnhancedCode: smtp.EnhancedCode{s.Class, s.Subject, s.Detail}, Message: r.Reply.Text}
}

// content is the message that the guard takes off the wire. Faults that the
// guard finds in it are refusals.
type content struct{ *guard.Conn }

func (c content) WriteTo(dst io.Writer) (int64, error) {
	n, err := c.Conn.WriteTo(dst)
	if err == nil {
		return n, nil
	}
	var r *accept.Refusal
	switch {
	case errors.Is(err, guard.ErrBareNewline):
		r = accept.Refuse(accept.ReasonNewline, 554, "5.6.11", "the message has a bare CR or LF; lines must end in CRLF (RFC 5321 section 2.3.8)")
	case errors.Is(err, guard.ErrNUL):
		r = accept.Refuse(accept.ReasonNUL, 554, "5.6.11", "the message has a NUL octet (RFC 5321 section 4.5.2)")
	case errors.Is(err, guard.ErrLongLine):
		r = accept.Refuse(accept.ReasonLongLine, 554, "5.6.0", "the message has a line of more than 998 octets (RFC 5322 section 2.1.1)")
	case errors.Is(err, guard.ErrLineEnds):
		r = accept.Refuse(guard.ReasonLineEnd, 554, "5.6.11", "the lines of the message do not end as those of the commands did")
	case errors.Is(err, guard.ErrReset):
		r = accept.Refuse(guard.ReasonReset, 421, "4.4.2", "the client broke the connection in the middle of a message")
	case errors.Is(err, guard.ErrStalled):
		r = accept.Refuse(accept.ReasonTimeout, 421, "4.4.2", "the message stopped moving")
	case errors.Is(err, guard.ErrEndless):
		r = accept.Refuse(accept.ReasonSize, 552, "5.3.4", "the message is far larger than the limit")
	case errors.Is(err, guard.ErrTransfer):
		r = accept.Refuse(accept.ReasonCut, 421, "4.4.2", "the message did not come whole")
	default: // of dst
		return n, err
	}
	r.Err = err
	return n, r
}
