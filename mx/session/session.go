package session

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"dawk/mx/connpool"
	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/tlsrpt"
)

// Opener opens sessions.
type Opener struct {
	Hostname  string              // ours, in EHLO
	Timeouts  smtpclient.Timeouts // of each session
	RootCAs   *x509.CertPool      // nil: the system's
	Addresses dial.AddressPolicy  // of hosts found by MX
	Dial      func(ctx context.Context, network, addr string) (net.Conn, error)
	OnTLS     func(tlsrpt.Session) // see Opener.Report
	Log       *slog.Logger
	*Shared
}

// Shared is what an Opener and its successors share: connections, and what was
// learned of hosts.
type Shared struct {
	Pool    *connpool.Pool
	Bg      connpool.Background
	Resumed tls.ClientSessionCache
	Learned shaping.Hosts
}

// NewShared makes what the first Opener has. idle is how long the pool keeps a
// connection that nobody uses.
func NewShared(idle time.Duration) *Shared {
	s := &Shared{Resumed: tls.NewLRUClientSessionCache(256)}
	s.Pool = connpool.New(idle, &s.Bg)
	return s
}

// Use is one attempt's claim on connections.
type Use struct {
	smtpclient.Claim
	Ready      net.Conn // to the target that is next, from a race; nil: none
	tlsErr     error    // why the last try of TLS failed
	tlsVersion uint16   // that was agreed on then; 0: none
	local      string   // our address on the last connection: see dial.Local
}

// take is the connection that is ready, or nil.
func (u *Use) take() net.Conn {
	nc := u.Ready
	u.Ready = nil
	return nc
}

// Leave closes the connection that is ready, on which nothing was said; it says
// whether there was one.
func (u *Use) Leave() bool {
	nc := u.take()
	if nc != nil {
		nc.Close()
	}
	return nc != nil
}

// Open dials a target and brings the session to where MAIL may be said. A
// Reply other than zero says why that failed; the connection is closed then.
//
// A token that was good and is refused now is replaced, on a connection of its
// own: servers part after a failed login. The replacement may have been fetched
// before whatever ended the first, and end with it: only the verdict on a token
// that was fetched after the refusal, or the reason why there is none, tells.
func (o *Opener) Open(u *Use, tg hosts.Target, p Policy) (*connpool.Conn, relay.Reply) {
	u.tlsErr = nil
	if p.Credential == nil {
		return o.openAs(u, tg, p)
	}
	for logins := 1; ; logins++ {
		secret, err := p.Credential.Token(u.Ctx)
		if err != nil {
			return nil, relay.FailureOf(relay.StageAuth, smtpclient.StatusNoLogin, err)
		}
		p.Password = secret
		c, bad := o.openAs(u, tg, p)
		if bad.Stage != relay.StageAuth || bad.Code/100 != 5 || !p.Credential.Refused(secret) || logins == maxLogins {
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
func (o *Opener) openAs(u *Use, tg hosts.Target, p Policy) (*connpool.Conn, relay.Reply) {
	if p.Level == tlspolicy.LevelOff && !tg.Implicit {
		return o.begin(u, tg, p, nil)
	}
	try := tlspolicy.Try{Classical: o.Learned.Get(tg.String()).Classical}
	c, bad := o.begin(u, tg, p, &try)
	if c != nil || bad.Stage != relay.StageTLS || u.Ctx.Err() != nil {
		return c, bad
	}
	if again, ok := p.Again(try, u.tlsErr, u.tlsVersion); ok {
		o.Log.Debug("TLS failed, trying it in another way", "host", tg.Host, "addr", tg.Addr, "reply", bad.String())
		first, version := u.tlsErr, u.tlsVersion
		c, worse := o.begin(u, tg, p, &again)
		switch {
		case c != nil && c.TLS != "":
			c.Retried(tlspolicy.TrySecond, tg.String()+": "+bad.String())
			helped := !try.Classical && tlspolicy.ClassicalHelped(first, version, c.Nc.(*tls.Conn).ConnectionState())
			o.Learned.LearnClassical(tg.String(), helped)
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
	o.Log.Debug("TLS failed, trying in the clear", "host", tg.Host, "addr", tg.Addr, "reply", bad.String())
	c, worse := o.begin(u, tg, p, nil)
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
func (o *Opener) begin(u *Use, tg hosts.Target, p Policy, try *tlspolicy.Try) (*connpool.Conn, relay.Reply) {
	nc, bad := o.dial(u, tg, p)
	if !bad.IsZero() {
		return nil, bad
	}
	c := o.newLink(nc, tg, o.Timeouts)
	c.Attach(&u.Claim)
	handshake := func() relay.Reply { return c.Secure(o.tlsConfig(tg, p, *try)) }
	hello := func() relay.Reply { return c.Hello(o.EHLO(p)) }
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
	steps = append(steps, func() relay.Reply { return o.admit(c, p) }, func() relay.Reply { return c.LogIn(p.Login, p.Level >= tlspolicy.LevelVerified) })
	for _, step := range steps {
		if bad = step(); !bad.IsZero() {
			break
		}
	}
	if try != nil {
		u.tlsErr, u.tlsVersion = c.TLSErr, c.TLSVersion
	}
	if !bad.IsZero() {
		o.Pool.DropNew(c)
		return nil, bad
	}
	return c, relay.Reply{}
}

// newLink is a connection with what was learned of its host.
func (o *Opener) newLink(nc net.Conn, tg hosts.Target, limits smtpclient.Timeouts) *connpool.Conn {
	c := &connpool.Conn{Conn: smtpclient.NewConn(nc, tg.Peer, limits), Account: tg.Account, Messages: tg.Rule.MessagesPerConnection, Recipients: tg.Recipients}
	known := o.Learned.Get(tg.String())
	c.Lockstep = known.Lockstep
	if known.Recipients > 0 && (c.Recipients == 0 || known.Recipients < c.Recipients) {
		c.Recipients = known.Recipients
	}
	return c
}

// dial gives a connection to a target: the one that won a race, or a new one.
func (o *Opener) dial(u *Use, tg hosts.Target, p Policy) (net.Conn, relay.Reply) {
	nc, bad := u.take(), relay.Reply{}
	if nc == nil {
		u.Progress.At(tg.Host, relay.StageConnect)
		o.Pool.Room(u.Ctx, tg.Account, tg.Rule.Connections)
		nc, bad = o.connect(u.Ctx, tg, p)
	}
	u.local = dial.Local(nc)
	return nc, bad
}

// EHLO is the name that we go by.
func (o *Opener) EHLO(p Policy) string {
	if p.Source == nil {
		return o.Hostname
	}
	return cmp.Or(p.Source.EHLO, o.Hostname)
}

// tlsConfig is for one try at TLS.
func (o *Opener) tlsConfig(tg hosts.Target, p Policy, try tlspolicy.Try) *tls.Config {
	cfg := p.Config(tg.Host, o.RootCAs, o.Resumed, try)
	if p.Certificate != nil {
		// A session that was begun with another certificate, or none, would be
		// resumed as that client.
		cfg.ClientSessionCache = nil
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := p.Certificate()
			if err != nil {
				err = fmt.Errorf("%w: %w", tlspolicy.ErrOwnCertificate, err)
			}
			return pair, err
		}
	}
	return cfg
}

// admit looks at what the host is and offers, before anything is sent.
func (o *Opener) admit(c *connpool.Conn, p Policy) relay.Reply {
	switch {
	case p.MX && (loops(c.Ext.Name, o.Hostname) || loops(c.Ext.Name, o.EHLO(p))):
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
