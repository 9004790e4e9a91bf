package submission

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"

	"dawk/relay"
	"dawk/relay/identity"
	"dawk/relay/submission/guard"
)

// session is one client's dialogue as go-smtp sees it. Addresses, parameters
// and content come from the guard; the rules are the Acceptor's; here is what
// only SMTP knows: who may relay, and the order of things.
type session struct {
	*conn
	user     *identity.User // who logged in; nil: nobody
	standIn  *identity.User // who stands for a client without a login; nil: nobody, or not known yet
	failures int            // logins that failed
	rcpts    []relay.Recipient
}

var _ smtp.AuthSession = (*session)(nil)

// newSession is called at the first HELO or EHLO.
func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	conn, ok := c.Conn().(*conn)
	if !ok {
		return nil, refusal(fmt.Errorf("connection of type %T", c.Conn())).smtpError()
	}
	return &session{conn: conn}, nil
}

// Reset drops the transaction: after RSET, EHLO and every message.
func (s *session) Reset() { s.rcpts = nil }

// Logout does nothing: the connection is counted out when it closes.
func (s *session) Logout() error { return nil }

// Mail answers MAIL. The arguments of go-smtp are placeholders.
func (s *session) Mail(string, *smtp.MailOptions) error {
	s.rcpts = nil
	return s.answer(s.mail(s.conn.Mail()))
}

func (s *session) mail(m guard.Mail) error {
	rules := s.listener.rules
	_, overTLS := s.TLS()
	switch {
	case rules.RequireTLS && !overTLS:
		return refuse(ReasonTLS, 530, "5.7.0", "send STARTTLS first")
	case rules.Auth == authRequired && !s.known() && len(s.AuthMechanisms()) == 0 && !overTLS && rules.TLS == tlsStart:
		return refuse(ReasonAuth, 530, "5.7.0", "a login is required; send STARTTLS first, then AUTH")
	case rules.Auth == authRequired && !s.known():
		return refuse(ReasonAuth, 530, "5.7.0", "a login is required")
	}
	if err := s.server.acceptor.Sender(s.subject(), m.From, m.Size); err != nil {
		return err
	}
	return s.server.acceptor.Room(m.Size)
}

// Rcpt answers RCPT.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	return s.answer(s.rcpt(s.conn.Rcpt()))
}

// rcpt never looks anything up in DNS: the client waits (DESIGN §9).
func (s *session) rcpt(r relay.Recipient) error {
	if !s.known() {
		return refuse(ReasonRelay, 550, "5.7.1", "relaying denied: this server sends mail only for clients that it knows")
	}
	r.Path = s.server.acceptor.Path(r.Path)
	if slices.ContainsFunc(s.rcpts, func(o relay.Recipient) bool { return o.Path == r.Path }) {
		return nil // once is enough
	}
	if err := s.server.acceptor.AnotherRecipient(s.subject(), len(s.rcpts)); err != nil {
		return err
	}
	s.rcpts = append(s.rcpts, r)
	return nil
}

// Data takes a message. The reader of go-smtp is empty: the content is with
// the guard.
func (s *session) Data(io.Reader) error {
	id, err := s.server.acceptor.Accept(s.server.ctx, s.submission())
	if err != nil {
		return refusal(err).smtpError()
	}
	return &smtp.SMTPError{Code: 250, EnhancedCode: smtp.EnhancedCode{2, 0, 0}, Message: "queued as " + id.String()}
}

func (s *session) submission() *Submission {
	m := s.conn.Mail()
	helo, esmtp := s.Helo()
	state, overTLS := s.TLS()
	sub := &Submission{
		Envelope: relay.Envelope{From: m.From, Recipients: s.rcpts, Body: m.Body, SMTPUTF8: m.SMTPUTF8,
			RequireTLS: m.RequireTLS, EnvID: m.EnvID, Ret: m.Ret},
		Content: s.conn.Conn, Identity: s.identity(), User: s.subject(), NotBefore: m.NotBefore,
		Client: s.client, Listener: s.listener.name(), Session: s.id, Helo: helo,
		Protocol:   protocol(esmtp, m.SMTPUTF8, overTLS, s.user != nil),
		AddFrom:    s.listener.rules.Profile == profileDevice,
		HideClient: s.user != nil && s.listener.rules.ReceivedClient == receivedHidden,
	}
	if overTLS {
		sub.TLS = tlsText(state)
	}
	return sub
}

// known says whether the client may relay: nobody else ever may.
func (s *session) known() bool { return s.user != nil || s.inTrust }

// subject is whose policy is obeyed: of the user who logged in, or of the
// address of a trusted client; nil without any.
func (s *session) subject() *identity.User {
	if s.user != nil || !s.inTrust || !s.listener.rules.PerClient.Watched() {
		return s.user
	}
	if s.standIn == nil {
		if s.local != "" {
			s.standIn = identity.ForProgram(s.local, s.listener.rules.PerClient)
		} else {
			s.standIn = identity.ForClient(s.client, s.listener.rules.PerClient)
		}
	}
	return s.standIn
}

// identity names the submitter as relay.Message wants it.
func (s *session) identity() string {
	switch {
	case s.user != nil:
		return s.user.Name
	case s.local != "":
		return s.local
	case s.inTrust:
		return "network:" + s.trusted.String()
	}
	return ""
}

// answer makes the reply for what the session itself refused, and tells of it.
func (s *session) answer(err error) error {
	if err == nil {
		return nil
	}
	r := refusal(err)
	if r.Reason == ReasonInternal {
		s.server.log.Error("mail not taken", "err", r.Err, "session", s.id, "client", s.client)
	}
	e := s.event(relay.EventRefused)
	e.From, e.Recipient, e.Identity, e.Reply, e.Reason = s.conn.Mail().From, s.refusedRcpt(r), s.identity(), r.Reply, string(r.Reason)
	s.server.seen.Observe(e)
	return r.smtpError()
}

func (s *session) refusedRcpt(r *Refusal) relay.Path {
	if r.Reason == ReasonRelay || r.Reason == ReasonRecipients || r.Reason == ReasonQuota {
		return s.conn.Rcpt().Path
	}
	return relay.Path{}
}

func tlsText(state tls.ConnectionState) string {
	return strings.ReplaceAll(tls.VersionName(state.Version), " ", "") + " " + tls.CipherSuiteName(state.CipherSuite)
}

var _ net.Conn = (*conn)(nil)
