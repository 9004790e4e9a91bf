package submission

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
)

// Authenticator knows who may log in. In production it is *identity.Users.
type Authenticator interface {
	// Authenticate returns an error that wraps identity.ErrCredentials when name and password are not
	// those of a user who may log in from that address; any other error means that they could not be
	// checked.
	Authenticate(ctx context.Context, name, password string, client netip.Addr) (*identity.User, error)
	// Certificate returns the user of a verified client certificate, by the names in it. Its errors
	// are those of Authenticate.
	Certificate(names []string, client netip.Addr) (*identity.User, error)
	// Current returns the present state of a user who logged in before. An error that wraps
	// identity.ErrCredentials means that the login would fail now.
	Current(user *identity.User, client netip.Addr) (*identity.User, error)
}

// Failed logins.
const (
	loginDelay    = time.Second // before the answer to a wrong password, except for programs of this machine
	loginFailures = 3           // in a session; the last one ends it
)

// AuthMechanisms are the mechanisms offered now. There are none without TLS, unless the
// configuration allows that, or the client is a program of this machine on a listener without TLS.
func (s *session) AuthMechanisms() []string {
	rules := s.listener.rules
	if rules.Auth == authOff || s.listener.auth == nil || s.loggedIn {
		return nil
	}
	_, overTLS := s.TLS()
	if s.certificate() != nil {
		return []string{sasl.Plain, sasl.Login, sasl.External}
	}
	if overTLS || rules.AuthWithoutTLS || rules.TLS == tlsOff && s.client.IsLoopback() {
		return []string{sasl.Plain, sasl.Login}
	}
	return nil
}

// Auth begins a login. go-smtp asks for any mechanism that a client names.
func (s *session) Auth(mech string) (sasl.Server, error) {
	_, overTLS := s.TLS()
	offered := s.AuthMechanisms()
	switch {
	case len(offered) == 0 && !overTLS && s.listener.rules.TLS == tlsStart && s.listener.rules.Auth != authOff:
		return nil, s.loginRefused("tls", accept.Refuse(accept.ReasonTLS, 538, "5.7.11", "logins need TLS here; send STARTTLS first"))
	case len(offered) == 0:
		return nil, s.loginRefused("off", accept.Refuse(accept.ReasonAuth, 503, "5.5.1", "AUTH is not offered here"))
	case s.server.backoff.Blocked(s.client):
		return nil, s.blocked()
	}
	switch mech {
	case sasl.Plain:
		return &plainLogin{s}, nil
	case sasl.Login:
		return &loginLogin{session: s}, nil
	case sasl.External:
		if slices.Contains(offered, mech) {
			return &externalLogin{s}, nil
		}
		return nil, s.loginRefused("mechanism", accept.Refuse(accept.ReasonAuth, 504, "5.5.4", "EXTERNAL needs a client certificate that this server trusts"))
	}
	return nil, s.loginRefused("mechanism", accept.Refuse(accept.ReasonAuth, 504, "5.5.4", "that mechanism is not known here; use PLAIN or LOGIN")) // RFC 4954 §4
}

// login checks a name and password, and answers.
func (s *session) login(name, password string) error {
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return s.loginFailed(name)
	}
	user, err := s.listener.auth.Authenticate(s.server.ctx, name, password, s.client)
	return s.checked(name, user, err)
}

// checked answers a login with what the Authenticator said of it. A login that
// began before the client's address was blocked is refused as well: otherwise many
// logins at once would be as many guesses.
func (s *session) checked(name string, user *identity.User, err error) error {
	switch {
	case s.server.backoff.Blocked(s.client):
		return s.blocked()
	case err == nil && user != nil:
		if s.client.IsLoopback() {
			s.wait(s.server.backoff.Delay(name))
		}
		s.identity, s.user, s.loggedIn = user.Name, user, true
		s.trust()
		s.loginEvent(user.Name, "ok", relay.Reply{})
		return nil
	case errors.Is(err, identity.ErrCredentials):
		return s.loginFailed(name)
	}
	s.server.log.Error("login could not be checked", "err", err, "session", s.id, "client", s.client)
	return s.loginRefused("temporary", accept.Refuse(accept.ReasonInternal, 454, "4.7.0", "logins cannot be checked now, try again later"))
}

// loginFailed answers a wrong name or password after a delay; the third failure ends the session.
// The answer does not say which of the two was wrong.
func (s *session) loginFailed(name string) error {
	s.server.backoff.Failed(s.client)
	s.failures++
	if s.client.IsLoopback() {
		s.wait(s.server.backoff.FailedAs(name))
	} else {
		s.wait(loginDelay)
	}
	r := accept.Refuse(accept.ReasonAuth, 535, "5.7.8", "the user name or password is wrong")
	if s.failures >= loginFailures {
		r = accept.Refuse(accept.ReasonAuth, 421, "4.7.0", "too many failed logins, closing the connection")
	}
	s.loginEvent(name, "credentials", r.Reply)
	return smtpError(r)
}

func (s *session) blocked() error {
	return s.loginRefused("blocked", accept.Refuse(accept.ReasonAuth, 421, "4.7.0", "too many failed logins from your address, try again later"))
}

// wait delays an answer, unless the server stops.
func (s *session) wait(d time.Duration) {
	delay := time.NewTimer(d)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-s.server.draining:
	}
}

func (s *session) loginRefused(reason string, r *accept.Refusal) error {
	s.loginEvent("", reason, r.Reply)
	return smtpError(r)
}

// loginEvent tells of a login; reason is "ok", "credentials", "blocked",
// "mechanism", "syntax", "tls", "off" or "temporary".
func (s *session) loginEvent(name, reason string, r relay.Reply) {
	e := s.event(relay.EventLogin)
	e.Identity, e.Reply, e.Reason = relay.Sanitize(name), r, reason
	s.server.seen.Observe(e)
}

func (s *session) loginSyntax() error {
	return s.loginRefused("syntax", accept.Refuse(accept.ReasonAuth, 501, "5.5.2", "the response does not have the form of the mechanism"))
}

// plainLogin is the server's side of PLAIN (RFC 4616).
type plainLogin struct{ *session }

func (p *plainLogin) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return nil, false, nil // an empty challenge asks for it
	}
	parts := bytes.Split(response, []byte{0})
	if len(parts) != 3 {
		return nil, false, p.loginSyntax()
	}
	// Nobody may act for another user here.
	if len(parts[0]) > 0 && !bytes.EqualFold(parts[0], parts[1]) {
		return nil, false, p.loginFailed(string(parts[1]))
	}
	err = p.login(string(parts[1]), string(parts[2]))
	return nil, err == nil, err
}

// externalLogin is the server's side of EXTERNAL (RFC 4422 appendix A): the
// client is who its certificate says.
type externalLogin struct{ *session }

func (x *externalLogin) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil {
		return nil, false, nil // an empty challenge asks for it
	}
	names := certificateNames(x.certificate())
	user, err := x.listener.auth.Certificate(names, x.client)
	// As in PLAIN, nobody may act for another user.
	if err == nil && len(response) > 0 && !strings.EqualFold(string(response), user.Name) {
		user, err = nil, identity.ErrCredentials
	}
	if err = x.checked(strings.Join(names, " "), user, err); err == nil {
		x.names = names
	}
	return nil, err == nil, err
}

// certificate is the client's certificate, if it is signed by an authority of the listener; nil:
// there is none.
func (c *conn) certificate() *x509.Certificate {
	roots := c.listener.rules.ClientCAs
	state, _ := c.TLS()
	if roots == nil || len(state.PeerCertificates) == 0 {
		return nil
	}
	leaf, between := state.PeerCertificates[0], x509.NewCertPool()
	for _, cert := range state.PeerCertificates[1:] {
		between.AddCert(cert)
	}
	_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil
	}
	return leaf
}

// certificateNames are the names in a client's certificate: e-mail addresses,
// host names, common name.
func certificateNames(leaf *x509.Certificate) []string {
	if leaf == nil {
		return nil
	}
	return append(slices.Concat(leaf.EmailAddresses, leaf.DNSNames), leaf.Subject.CommonName)
}

// loginLogin is the server's side of LOGIN, which no RFC describes: name and
// password in answer to two fixed questions.
type loginLogin struct {
	*session
	name  string
	asked int
}

func (l *loginLogin) Next(response []byte) (challenge []byte, done bool, err error) {
	if response == nil && l.asked == 0 {
		l.asked = 1
		return []byte("Username:"), false, nil
	}
	if l.asked < 2 { // the name, perhaps as initial response
		l.name, l.asked = string(response), 2
		return []byte("Password:"), false, nil
	}
	err = l.login(l.name, string(response))
	return nil, err == nil, err
}
