package mx

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"dawk/relay"
)

// policy is what a session must fulfil before MAIL is said.
type policy struct {
	demand
	login
	mx         bool   // found by MX: refused addresses and loops are looked for
	route      string // name of the route that has a login; "" without
	account    string // the first route to the same mailbox, whose connections serve all of them
	credential Credential
	source     *Source // nil: what the system chooses

	certificate func() (*tls.Certificate, error) // ours; nil: none
}

// use is one attempt's claim on connections.
type use struct {
	claim
	ready  net.Conn // to the target that is next, from a race; nil: none
	tlsWhy string   // kind of the last failure of TLS: one of tlsResults
}

// take is the connection that is ready, or nil.
func (u *use) take() net.Conn {
	nc := u.ready
	u.ready = nil
	return nc
}

// leave closes the connection that is ready, on which nothing was said; it says
// whether there was one.
func (u *use) leave() bool {
	nc := u.take()
	if nc != nil {
		nc.Close()
	}
	return nc != nil
}

// link is a connection to a target, as an attempt or the pool holds it.
type link struct {
	*conn
	target target
	key    poolKey
	noTLS  string // see relay.Result.TLSFailed
}

// open dials a target and brings the session to where MAIL may be said. A
// Reply other than zero says why that failed; the connection is closed then.
//
// A token that was good and is refused now is replaced, on a connection of its
// own: servers part after a failed login. The replacement may have been fetched
// before whatever ended the first, and end with it: only the verdict on a token
// that was fetched after the refusal, or the reason why there is none, tells.
func (t *Transport) open(u *use, tg target, p policy) (*link, relay.Reply) {
	if p.credential == nil {
		return t.openAs(u, tg, p)
	}
	for logins := 1; ; logins++ {
		secret, err := p.credential.Token(u.ctx)
		if err != nil {
			return nil, relay.FailureOf(relay.StageAuth, statusNoLogin, err)
		}
		p.password = secret
		c, bad := t.openAs(u, tg, p)
		if bad.Stage != relay.StageAuth || bad.Code/100 != 5 || !p.credential.Refused(secret) || logins == maxLogins {
			return c, bad
		}
	}
}

// maxLogins is how often one session is tried with different tokens.
const maxLogins = 3

// openAs is open with the secret at hand.
func (t *Transport) openAs(u *use, tg target, p policy) (*link, relay.Reply) {
	c, bad := t.begin(u, tg, p, p.level != LevelOff)
	if c != nil || bad.Stage != relay.StageTLS || p.level > LevelOpportunistic || tg.implicit ||
		u.ctx.Err() != nil || bad.Code == 0 && bad.Status == statusInjected {
		return c, bad
	}
	// In the clear only on a fresh connection: after a broken handshake, or
	// an answer to STARTTLS, nobody knows who hears what on the old one.
	t.cfg.Log.Debug("TLS failed, trying in the clear", "host", tg.host, "addr", tg.addr, "reply", bad.String())
	c, again := t.begin(u, tg, p, false)
	if c != nil {
		c.noTLS = relay.Sanitize(tg.String() + ": " + bad.String())
	}
	return c, again
}

// begin is open with or without an attempt at STARTTLS.
func (t *Transport) begin(u *use, tg target, p policy, wantTLS bool) (*link, relay.Reply) {
	nc, bad := t.dial(u, tg, p)
	if !bad.IsZero() {
		return nil, bad
	}
	c := &link{conn: newConn(nc, tg.peer, t.cfg.Timeouts), target: tg}
	c.attach(&u.claim)
	steps := []func() relay.Reply{c.greeting, func() relay.Reply { return c.hello(t.ehlo(p)) }}
	handshake := func() relay.Reply { return u.secure(c.conn, t.tlsConfig(tg, p)) }
	if tg.implicit {
		steps = append([]func() relay.Reply{handshake}, steps...)
	} else {
		steps = append(steps, func() relay.Reply {
			if !wantTLS || !c.ext.startTLS {
				return relay.Reply{}
			}
			if bad := c.askTLS(); !bad.IsZero() {
				return bad
			}
			if bad := handshake(); !bad.IsZero() {
				return bad
			}
			return c.hello(t.ehlo(p)) // RFC 3207 §4.2: what was said in the clear counts for nothing
		})
	}
	steps = append(steps, func() relay.Reply { return t.admit(c, p) }, func() relay.Reply { return c.logIn(p.login, p.level >= LevelVerified) })
	for _, step := range steps {
		if bad := step(); !bad.IsZero() {
			t.pool.dropNew(c)
			return nil, bad
		}
	}
	return c, relay.Reply{}
}

// secure is conn.secure that notes a failure for the report.
func (u *use) secure(c *conn, cfg *tls.Config) relay.Reply {
	bad := c.secure(cfg)
	if c.tlsErr != nil {
		u.tlsWhy = tlsResult(c.tlsErr)
	}
	return bad
}

// dial gives a connection to a target: the one that won a race, or a new one.
func (t *Transport) dial(u *use, tg target, p policy) (net.Conn, relay.Reply) {
	if nc := u.take(); nc != nil {
		return nc, relay.Reply{}
	}
	t.pool.room(u.ctx, tg)
	return t.connect(u.ctx, tg, p)
}

// refusal is the verdict on an address that AddressPolicy refuses.
func refusal(host string, err error) relay.Reply {
	status := relay.Status{Class: 5, Subject: 4, Detail: 4}
	var e *RefusedError
	if errors.As(err, &e) && e.Self {
		status.Detail = 6 // RFC 3463: routing loop detected
	}
	r := relay.Decision(relay.CausePolicy, status, "%s: %v", host, err)
	r.Remedy = relay.RemedyOf(err)
	return r
}

// ehlo is the name that we go by.
func (t *Transport) ehlo(p policy) string {
	if p.source == nil {
		return t.cfg.Hostname
	}
	return cmp.Or(p.source.EHLO, t.cfg.Hostname)
}

// tlsConfig is for one session. Unchecked certificates are what opportunistic
// and required mean: without DANE or MTA-STS nobody vouches for an MX name.
func (t *Transport) tlsConfig(tg target, p policy) *tls.Config {
	cfg := &tls.Config{
		ServerName:         tg.host, // also the SNI; for an address it is checked and not sent
		MinVersion:         tls.VersionTLS12,
		RootCAs:            t.cfg.RootCAs,
		InsecureSkipVerify: p.level < LevelVerified,
		ClientSessionCache: t.sessions,
	}
	if p.certificate != nil {
		// A session that was begun with another certificate, or none, would be
		// resumed as that client.
		cfg.ClientSessionCache = nil
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := p.certificate()
			if err != nil {
				err = fmt.Errorf("%w: %w", errOwnCertificate, err)
			}
			return pair, err
		}
	}
	if d := p.dane; d != nil {
		// RFC 7672 §8.1: the TLSA base domain is the SNI. Resumed sessions come
		// by here, too.
		cfg.ServerName, cfg.InsecureSkipVerify, cfg.VerifyConnection = d.base, true, d.verify
	}
	return cfg
}

// admit looks at what the host is and offers, before anything is sent.
func (t *Transport) admit(c *link, p policy) relay.Reply {
	switch {
	case p.mx && (loops(c.ext.name, t.cfg.Hostname) || loops(c.ext.name, t.ehlo(p))):
		return c.named(relay.Failure(relay.StageEHLO, relay.Status{Class: 5, Subject: 4, Detail: 6},
			"%s greets with our own name, %s: the mail would loop", c.target, c.ext.name))
	case p.requireTLS && c.tls == "":
		return c.named(relay.Failure(relay.StageTLS, relay.Status{Class: 5, Subject: 7, Detail: 4},
			"the message requires TLS (REQUIRETLS), and the server offers none"))
	case p.requireTLS && !c.ext.requireTLS:
		return c.named(relay.Failure(relay.StageEHLO, relay.Status{Class: 5, Subject: 7, Detail: 30},
			"the message requires REQUIRETLS, which the server does not offer"))
	case p.level >= LevelRequired && c.tls == "":
		r := relay.Failure(relay.StageTLS, statusNoTLS, "the server does not offer STARTTLS, and %s", p.why())
		if p.by != byDANE && p.by != bySTS {
			r.Remedy = fmt.Sprintf("tls = %q asks for it: its operator has to offer STARTTLS, or tls has to be lowered", p.level)
		}
		return c.named(r)
	}
	return relay.Reply{}
}

// loops says whether a server calls itself what we call ourselves. Names that
// many machines have by accident prove nothing.
func loops(theirs, ours string) bool {
	return strings.EqualFold(theirs, ours) && strings.Contains(ours, ".") && !strings.HasPrefix(ours, "localhost")
}
