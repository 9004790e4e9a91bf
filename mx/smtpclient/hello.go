package smtpclient

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"time"

	"dawk/mx/dial"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/replies"
)

func (c *Conn) Greeting() relay.Reply {
	c.at(relay.StageGreeting)
	r, err := c.Read(c.Limits.Greeting)
	if err != nil {
		return c.Failure(relay.StageGreeting, "waiting for the greeting", err)
	}
	if r.Class() != 2 {
		return c.Named(r.Reply(relay.StageGreeting))
	}
	return relay.Reply{}
}

// Hello says EHLO, or HELO to a server that does not know EHLO (RFC 5321
// §3.2, §4.1.4); to an LMTP server LHLO (RFC 2033 §4.1).
func (c *Conn) Hello(name string) relay.Reply {
	c.at(relay.StageEHLO)
	c.Ext, c.Offers = Extensions{}, nil
	verb := "EHLO"
	if c.Peer.LMTP {
		verb = "LHLO"
	}
	r, err := c.command(verb+" "+name, c.Limits.Command)
	if err == nil && r.Class() == 5 && c.TLS == "" && !c.Peer.LMTP && !c.Dead {
		if r, err = c.command("HELO "+name, c.Limits.Command); err == nil && r.Class() == 2 {
			c.Ext = Extensions{Name: parseEHLO(r.Lines[:1]).Name}
			return relay.Reply{}
		}
	}
	if err != nil {
		return c.Failure(relay.StageEHLO, "waiting for the reply to "+verb, err)
	}
	if r.Class() != 2 {
		return c.Named(r.Reply(relay.StageEHLO))
	}
	c.Ext, c.Offers = parseEHLO(r.Lines), r.Lines
	return relay.Reply{}
}

// maxTrial is how long TryNull waits for a reply: somebody looks on.
const maxTrial = 8 * time.Second

// TryNull begins a transaction without a sender, and a recipient if there is
// one, and leaves it. It gives what the server refused for want of a sender, and why
// no reply came.
func (c *Conn) TryNull(to relay.Path) (refused, silent relay.Reply) {
	defer func() { c.reset = true }()
	patience := min(c.Limits.Command, maxTrial)
	r, err := c.command("MAIL FROM:<>", patience)
	if err != nil {
		return refused, c.Failure(relay.StageMail, "waiting for the reply to MAIL", err)
	}
	if r.Class() == 2 && !to.IsNull() && to.ASCII() {
		if r, err = c.command("RCPT TO:"+to.Wire(), patience); err != nil {
			return refused, c.Failure(relay.StageRcpt, "waiting for the reply to RCPT", err)
		}
		return c.refusedNull(r, relay.StageRcpt), silent
	}
	return c.refusedNull(r, relay.StageMail), silent
}

// refusedNull is the refusal, where it is for want of a sender.
func (c *Conn) refusedNull(r WireReply, stage relay.Stage) relay.Reply {
	if r.Class() != 5 {
		return relay.Reply{}
	}
	reply := c.Named(r.Reply(stage))
	if !replies.WantsSender(reply) {
		return relay.Reply{}
	}
	return reply
}

var (
	StatusNoTLS    = relay.Status{Class: 4, Subject: 7, Detail: 4} // security features not supported
	StatusInjected = relay.Status{Class: 4, Subject: 7, Detail: 0} // at StageTLS, without a code: nothing else has it
	StatusNoLogin  = relay.Status{Class: 4, Subject: 7, Detail: 0}
)

// AskTLS says STARTTLS.
func (c *Conn) AskTLS() relay.Reply {
	c.at(relay.StageTLS)
	r, err := c.command("STARTTLS", c.Limits.Command)
	if err != nil {
		return c.Failure(relay.StageTLS, "waiting for the reply to STARTTLS", err)
	}
	if r.Code != 220 {
		return c.Named(asFailure(r.Reply(relay.StageTLS)))
	}
	return relay.Reply{}
}

// asFailure makes a failure of a reply that does not fit its command, such as 250 to STARTTLS or to
// DATA: it must not count as success.
func asFailure(r relay.Reply) relay.Reply {
	if r.Code >= 400 {
		return r
	}
	f := relay.Failure(r.Stage, relay.Status{Class: 4, Subject: 5, Detail: 0}, "the server answered %d, which makes no sense here: %s", r.Code, r.Text)
	f.MTA, f.Addr = r.MTA, r.Addr
	return f
}

// Secure does the handshake.
func (c *Conn) Secure(cfg *tls.Config) relay.Reply {
	c.at(relay.StageTLS)
	err := c.startTLS(cfg)
	if err == nil {
		return relay.Reply{}
	}
	text := "TLS handshake failed: " + dial.Cause(err)
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, tlspolicy.ErrInjected):
		text = err.Error()
	case errors.Is(err, tlspolicy.ErrNoTLSA):
		text = "the certificate of " + c.Peer.Host + " is none of those that DNS names (DANE)"
	case errors.As(err, &cert):
		text = "the certificate does not stand for " + c.Peer.Host + ": " + certCause(cert)
	case c.use.Ctx.Err() != nil:
		text = "the attempt was stopped during the TLS handshake"
	}
	return c.tlsFailure(err, text)
}

// tlsFailure is the reply of a session whose TLS failed.
func (c *Conn) tlsFailure(err error, text string) relay.Reply {
	c.TLSErr = err
	status := tlspolicy.StatusCrypto
	if errors.Is(err, tlspolicy.ErrInjected) {
		status = StatusInjected
	}
	r := relay.Failure(relay.StageTLS, status, "%s", text)
	r.Remedy = hint(err)
	if errors.Is(err, tlspolicy.ErrOwnCertificate) {
		r.Cause = relay.CauseLocal
	}
	return c.Named(r)
}

func certCause(e *tls.CertificateVerificationError) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(e, &unknown) {
		return "it is signed by an authority that we do not know"
	}
	return e.Err.Error()
}
