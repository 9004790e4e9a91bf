package mx

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"dawk/mx/connpool"
	"dawk/mx/dial"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// policy is what a session must fulfil before MAIL is said.
type policy struct {
	tlspolicy.Demand
	smtpclient.Login
	mx         bool   // found by MX: refused addresses and loops are looked for
	route      string // name of the route with `via`; "" by MX
	account    string // with `via`: the first route to the same mailbox, whose connections serve all of them
	credential smtpclient.Credential
	source     *dial.Source // nil: what the system chooses

	certificate func() (*tls.Certificate, error) // ours; nil: none
}

// use is one attempt's claim on connections.
type use struct {
	smtpclient.Claim
	ready      net.Conn // to the target that is next, from a race; nil: none
	tlsErr     error    // why the last try of TLS failed
	tlsVersion uint16   // that was agreed on then; 0: none
	local      string   // our address on the last connection: see dial.Local
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

// open dials a target and brings the session to where MAIL may be said. A
// Reply other than zero says why that failed; the connection is closed then.
//
// A token that was good and is refused now is replaced, on a connection of its
// own: servers part after a failed login. The replacement may have been fetched
// before whatever ended the first, and end with it: only the verdict on a token
// that was fetched after the refusal, or the reason why there is none, tells.
func (t *Transport) open(u *use, tg target, p policy) (*connpool.Conn, relay.Reply) {
	if p.credential == nil {
		return t.openAs(u, tg, p)
	}
	for logins := 1; ; logins++ {
		secret, err := p.credential.Token(u.Ctx)
		if err != nil {
			return nil, relay.FailureOf(relay.StageAuth, smtpclient.StatusNoLogin, err)
		}
		p.Password = secret
		c, bad := t.openAs(u, tg, p)
		if bad.Stage != relay.StageAuth || bad.Code/100 != 5 || !p.credential.Refused(secret) || logins == maxLogins {
			return c, bad
		}
	}
}

// maxLogins is how often one session is tried with different tokens.
const maxLogins = 3

// openAs is open with the secret at hand. TLS that fails is tried once more, in
// another way, then the clear where the level allows it: each on a connection of
// its own, since after a broken handshake, or an answer to STARTTLS, nobody
// knows who hears what on the old one.
func (t *Transport) openAs(u *use, tg target, p policy) (*connpool.Conn, relay.Reply) {
	if p.Level == tlspolicy.LevelOff && !tg.Implicit {
		return t.begin(u, tg, p, nil)
	}
	try := tlspolicy.Try{Classical: t.hosts.Get(tg.String()).Classical}
	c, bad := t.begin(u, tg, p, &try)
	if c != nil || bad.Stage != relay.StageTLS || u.Ctx.Err() != nil {
		return c, bad
	}
	if again, ok := p.Again(try, u.tlsErr, u.tlsVersion); ok {
		t.cfg.Log.Debug("TLS failed, trying it in another way", "host", tg.Host, "addr", tg.Addr, "reply", bad.String())
		first, version := u.tlsErr, u.tlsVersion
		c, worse := t.begin(u, tg, p, &again)
		switch {
		case c != nil && c.TLS != "":
			c.Retried(tlspolicy.TrySecond, tg.String()+": "+bad.String())
			helped := !try.Classical && tlspolicy.ClassicalHelped(first, version, c.Nc.(*tls.Conn).ConnectionState())
			t.hosts.LearnClassical(tg.String(), helped)
			return c, worse
		case c != nil: // it does not offer TLS any more
			c.Retried(tlspolicy.TryClear, tg.String()+": "+bad.String())
			return c, worse
		case u.Ctx.Err() != nil:
			return nil, worse
		case beforeTLS(worse, u.tlsVersion): // turned away, which says nothing of TLS: the order goes on
			u.tlsErr = first
		case worse.Stage != relay.StageTLS:
			return nil, worse
		default:
			bad = worse
		}
	}
	if p.Level > tlspolicy.LevelOpportunistic || tg.Implicit || errors.Is(u.tlsErr, tlspolicy.ErrInjected) {
		return nil, bad
	}
	t.cfg.Log.Debug("TLS failed, trying in the clear", "host", tg.Host, "addr", tg.Addr, "reply", bad.String())
	c, worse := t.begin(u, tg, p, nil)
	if c != nil {
		c.Retried(tlspolicy.TryClear, tg.String()+": "+bad.String())
	}
	return c, worse
}

// beforeTLS says whether a connection failed before TLS could be begun on it.
func beforeTLS(bad relay.Reply, version uint16) bool {
	return bad.Stage == relay.StageConnect || bad.Stage == relay.StageGreeting || bad.Stage == relay.StageEHLO && version == 0
}

// begin is open with one try at TLS, or without TLS.
func (t *Transport) begin(u *use, tg target, p policy, try *tlspolicy.Try) (*connpool.Conn, relay.Reply) {
	nc, bad := t.dial(u, tg, p)
	if !bad.IsZero() {
		return nil, bad
	}
	c := t.newLink(nc, tg, t.cfg.Timeouts)
	c.Attach(&u.Claim)
	handshake := func() relay.Reply { return c.Secure(t.tlsConfig(tg, p, *try)) }
	hello := func() relay.Reply { return c.Hello(t.ehlo(p)) }
	starttls := func() relay.Reply {
		if try == nil || !c.Ext.OffersTLS {
			return relay.Reply{}
		}
		bad := c.AskTLS()
		if bad.IsZero() {
			bad = handshake()
		}
		if bad.IsZero() {
			bad = hello() // RFC 3207 §4.2: what was said in the clear counts for nothing
		}
		return bad
	}
	steps := []func() relay.Reply{c.Greeting, hello, starttls}
	if tg.Implicit {
		steps = []func() relay.Reply{handshake, c.Greeting, hello}
	}
	steps = append(steps, func() relay.Reply { return t.admit(c, p) }, func() relay.Reply { return c.LogIn(p.Login, p.Level >= tlspolicy.LevelVerified) })
	for _, step := range steps {
		if bad = step(); !bad.IsZero() {
			break
		}
	}
	if try != nil {
		u.tlsErr, u.tlsVersion = c.TLSErr, c.TLSVersion
	}
	if !bad.IsZero() {
		t.pool.DropNew(c)
		return nil, bad
	}
	return c, relay.Reply{}
}

// newLink is a connection with what was learned of its host.
func (t *Transport) newLink(nc net.Conn, tg target, limits smtpclient.Timeouts) *connpool.Conn {
	c := &connpool.Conn{Conn: smtpclient.NewConn(nc, tg.Peer, limits), Account: tg.account, Messages: tg.rule.MessagesPerConnection, Recipients: tg.recipients}
	known := t.hosts.Get(tg.String())
	c.Lockstep = known.Lockstep
	if known.Recipients > 0 && (c.Recipients == 0 || known.Recipients < c.Recipients) {
		c.Recipients = known.Recipients
	}
	return c
}

// dial gives a connection to a target: the one that won a race, or a new one.
func (t *Transport) dial(u *use, tg target, p policy) (net.Conn, relay.Reply) {
	nc, bad := u.take(), relay.Reply{}
	if nc == nil {
		u.Progress.At(tg.Host, relay.StageConnect)
		t.pool.Room(u.Ctx, tg.account, tg.most)
		nc, bad = t.connect(u.Ctx, tg, p)
	}
	u.local = dial.Local(nc)
	return nc, bad
}

// ehlo is the name that we go by.
func (t *Transport) ehlo(p policy) string {
	if p.source == nil {
		return t.cfg.Hostname
	}
	return cmp.Or(p.source.EHLO, t.cfg.Hostname)
}

// tlsConfig is for one try at TLS.
func (t *Transport) tlsConfig(tg target, p policy, try tlspolicy.Try) *tls.Config {
	cfg := p.Config(tg.Host, t.cfg.RootCAs, t.sessions, try)
	if p.certificate != nil {
		// A session that was begun with another certificate, or none, would be
		// resumed as that client.
		cfg.ClientSessionCache = nil
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := p.certificate()
			if err != nil {
				err = fmt.Errorf("%w: %w", tlspolicy.ErrOwnCertificate, err)
			}
			return pair, err
		}
	}
	return cfg
}

// admit looks at what the host is and offers, before anything is sent.
func (t *Transport) admit(c *connpool.Conn, p policy) relay.Reply {
	switch {
	case p.mx && (loops(c.Ext.Name, t.cfg.Hostname) || loops(c.Ext.Name, t.ehlo(p))):
		return c.Named(relay.Failure(relay.StageEHLO, relay.Status{Class: 5, Subject: 4, Detail: 6},
			"%s greets with our own name, %s: the mail would loop", c.Peer, c.Ext.Name))
	case p.RequireTLS && c.TLS == "":
		return c.Named(relay.Failure(relay.StageTLS, relay.Status{Class: 5, Subject: 7, Detail: 4},
			"the message requires TLS (REQUIRETLS), and the server offers none"))
	case p.RequireTLS && !c.Ext.RequireTLS:
		return c.Named(relay.Failure(relay.StageEHLO, relay.Status{Class: 5, Subject: 7, Detail: 30},
			"the message requires REQUIRETLS, which the server does not offer"))
	case p.Level >= tlspolicy.LevelRequired && c.TLS == "":
		r := relay.Failure(relay.StageTLS, smtpclient.StatusNoTLS, "the server does not offer STARTTLS, and %s", p.Why())
		if p.By != tlspolicy.ByDANE && p.By != tlspolicy.BySTS {
			r.Remedy = fmt.Sprintf("tls = %q asks for it: its operator has to offer STARTTLS, or tls has to be lowered", p.Level)
		}
		return c.Named(r)
	}
	return relay.Reply{}
}

// loops says whether a server calls itself what we call ourselves. Names that
// many machines have by accident prove nothing.
func loops(theirs, ours string) bool {
	return strings.EqualFold(theirs, ours) && strings.Contains(ours, ".") && !strings.HasPrefix(ours, "localhost")
}

func keyOf(tg target, p policy) connpool.Key {
	return connpool.Key{Host: tg.Host, Addr: tg.Addr, Socket: tg.Socket, Source: p.source.Label(), Implicit: tg.Implicit, LMTP: tg.LMTP,
		Level: p.Level, RequireTLS: p.RequireTLS, DANE: p.DANE.Fingerprint(), Account: p.account}
}
