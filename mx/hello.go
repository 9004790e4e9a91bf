package mx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"dawk/relay"
)

func (c *conn) greeting() relay.Reply {
	r, err := c.read(c.limits.Greeting)
	if err != nil {
		return c.failure(relay.StageGreeting, "waiting for the greeting", err)
	}
	if r.class() != 2 {
		return c.named(r.reply(relay.StageGreeting))
	}
	return relay.Reply{}
}

// hello says EHLO, or HELO to a server that does not know EHLO (RFC 5321
// §3.2, §4.1.4); to an LMTP server LHLO (RFC 2033 §4.1).
func (c *conn) hello(name string) relay.Reply {
	c.ext, c.offers = extensions{}, nil
	verb := "EHLO"
	if c.peer.lmtp {
		verb = "LHLO"
	}
	r, err := c.command(verb+" "+name, c.limits.Command)
	if err == nil && r.class() == 5 && c.tls == "" && !c.peer.lmtp && !c.dead {
		if r, err = c.command("HELO "+name, c.limits.Command); err == nil && r.class() == 2 {
			c.ext = extensions{name: parseEHLO(r.lines[:1]).name}
			return relay.Reply{}
		}
	}
	if err != nil {
		return c.failure(relay.StageEHLO, "waiting for the reply to "+verb, err)
	}
	if r.class() != 2 {
		return c.named(r.reply(relay.StageEHLO))
	}
	c.ext, c.offers = parseEHLO(r.lines), r.lines
	return relay.Reply{}
}

var (
	statusNoTLS    = relay.Status{Class: 4, Subject: 7, Detail: 4} // security features not supported
	statusInjected = relay.Status{Class: 4, Subject: 7, Detail: 0} // at StageTLS, without a code: nothing else has it
	statusNoLogin  = relay.Status{Class: 4, Subject: 7, Detail: 0}
)

// askTLS says STARTTLS.
func (c *conn) askTLS() relay.Reply {
	r, err := c.command("STARTTLS", c.limits.Command)
	if err != nil {
		return c.failure(relay.StageTLS, "waiting for the reply to STARTTLS", err)
	}
	if r.code != 220 {
		return c.named(asFailure(r.reply(relay.StageTLS)))
	}
	return relay.Reply{}
}

// asFailure keeps a reply that is no answer to its command, such as 250 to
// STARTTLS or to DATA, from being read as success.
func asFailure(r relay.Reply) relay.Reply {
	if r.Code >= 400 {
		return r
	}
	f := relay.Failure(r.Stage, relay.Status{Class: 4, Subject: 5, Detail: 0}, "the server answered %d, which makes no sense here: %s", r.Code, r.Text)
	f.MTA, f.Addr = r.MTA, r.Addr
	return f
}

// secure does the handshake.
func (c *conn) secure(cfg *tls.Config) relay.Reply {
	err := c.startTLS(cfg)
	if err == nil {
		return relay.Reply{}
	}
	c.tlsErr = err
	status, text := statusTLS, "TLS handshake failed: "+cause(err)
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, errInjected):
		status, text = statusInjected, err.Error()
	case errors.Is(err, errNoTLSA):
		text = "the certificate of " + c.peer.host + " is none of those that DNS names (DANE)"
	case errors.As(err, &cert):
		text = "the certificate does not stand for " + c.peer.host + ": " + certCause(cert)
	case c.use.ctx.Err() != nil:
		text = "the attempt was stopped during the TLS handshake"
	}
	r := relay.Failure(relay.StageTLS, status, "%s", text)
	r.Remedy = hint(err)
	if errors.Is(err, errOwnCertificate) {
		r.Cause = relay.CauseLocal
	}
	return c.named(r)
}

// errOwnCertificate: our own certificate for the host cannot be had.
var errOwnCertificate = errors.New("client_certificate")

func certCause(e *tls.CertificateVerificationError) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(e, &unknown) {
		return "it is signed by an authority that we do not know"
	}
	return e.Err.Error()
}
