package session

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"dawk/mx/connpool"
	"dawk/mx/hosts"
	"dawk/mx/smtpclient"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// lookStep is the longest step of a session that only looks.
const lookStep = 30 * time.Second

// Look opens one session, says no more than EHLO, STARTTLS and QUIT, and
// judges what it saw.
func (o *Opener) Look(ctx context.Context, v *survey.SessionView, h *survey.HostView, pol Policy) {
	began := time.Now()
	tg := hosts.Target{Peer: smtpclient.Peer{Host: h.Host, Addr: v.Addr, Implicit: h.ImplicitTLS}, Published: h.Known}
	raised, bad := pol.Raise(tg)
	u := &Use{Claim: smtpclient.Claim{Ctx: ctx, End: began.Add(o.Timeouts.Session)}}
	v.Trouble = bad
	seen := *v
	failed := o.meet(u, v, tg, raised, tlspolicy.Try{})
	if again, ok := raised.Again(tlspolicy.Try{}, u.tlsErr, u.tlsVersion); ok && ctx.Err() == nil {
		if bad := o.meet(u, &seen, tg, raised, again); u.tlsErr == nil {
			*v, failed = seen, bad
			if v.Reached != "" {
				v.Reached += ", at the second try"
			}
		}
	}
	if v.Trouble.IsZero() {
		v.Trouble = failed
	}
	v.Took = relay.Millis(time.Since(began))
}

// meet runs the session. Its Reply is why mail would not be sent here.
func (o *Opener) meet(u *Use, v *survey.SessionView, tg hosts.Target, p Policy, try tlspolicy.Try) relay.Reply {
	clock := stopwatch(time.Now())
	nc, bad := o.dial(u, tg, p)
	v.Connect = relay.Millis(clock.lap())
	if !bad.IsZero() {
		return bad
	}
	c := o.newLink(nc, tg, o.Timeouts.AtMost(lookStep))
	c.Attach(&u.Claim)
	defer func() {
		c.Detach()
		o.Bg.Quit(c.Conn)
		u.tlsErr, u.tlsVersion = c.TLSErr, c.TLSVersion
	}()
	var state *tls.ConnectionState
	secure := func() relay.Reply {
		clock.lap()
		cfg := p.Config(tg.Host, nil, nil, try)
		cfg.InsecureSkipVerify, cfg.VerifyConnection = true, nil // judged afterwards
		bad := c.Secure(cfg)
		v.Handshake = relay.Millis(clock.lap())
		if bad.IsZero() {
			cs := c.Nc.(*tls.Conn).ConnectionState()
			state = &cs
		}
		return bad
	}
	if tg.Implicit {
		if bad := secure(); !bad.IsZero() {
			v.TLSTrouble = bad.Text
			return bad
		}
	}
	if bad := o.hear(c, v, p, &clock); !bad.IsZero() {
		return bad
	}
	v.Offers = survey.Offers(c.Offers)
	var failed relay.Reply
	if !tg.Implicit && c.Ext.OffersTLS {
		if failed = c.AskTLS(); failed.IsZero() {
			failed = secure()
		}
		if failed.IsZero() {
			if bad := c.Hello(o.EHLO(p)); !bad.IsZero() {
				return bad
			}
			v.OverTLS = survey.Offers(c.Offers)
		} else {
			v.TLSTrouble = failed.String()
		}
	}
	return o.judge(c, v, tg, p, state, failed)
}

// hear takes the greeting and the reply to EHLO.
func (o *Opener) hear(c *connpool.Conn, v *survey.SessionView, p Policy, clock *stopwatch) relay.Reply {
	r, err := c.Read(c.Limits.Greeting)
	v.Greeting = relay.Millis(clock.lap())
	if err != nil {
		return c.Failure(relay.StageGreeting, "waiting for the greeting", err)
	}
	v.Banner = survey.ClipText(fmt.Sprintf("%d %s", r.Code, strings.Join(r.Lines, " ")))
	if r.Class() != 2 {
		return c.Named(r.Reply(relay.StageGreeting))
	}
	bad := c.Hello(o.EHLO(p))
	v.EHLO = relay.Millis(clock.lap())
	return bad
}

// stopwatch is when the last lap ended.
type stopwatch time.Time

func (s *stopwatch) lap() time.Duration {
	now := time.Now()
	d := now.Sub(time.Time(*s))
	*s = stopwatch(now)
	return d
}

// judge says what a delivery would make of a session: why it would send
// nothing, or how private it would be.
func (o *Opener) judge(c *connpool.Conn, v *survey.SessionView, tg hosts.Target, p Policy, state *tls.ConnectionState, failed relay.Reply) relay.Reply {
	v.TLS = c.TLS
	var untrusted, unnamed error
	if state != nil {
		v.Cipher = tls.CipherSuiteName(state.CipherSuite)
		v.Chain = survey.Chain(state.PeerCertificates)
		untrusted = o.verifyPKIX(tg.Host, state.PeerCertificates)
		v.PKIX = "good"
		if untrusted != nil {
			v.PKIX = survey.ClipText(survey.CertWords(untrusted))
		}
		v.DANE = survey.HoldTLSA(tg.DANE, state)
		if p.DANE != nil {
			unnamed = p.DANE.Verify(*state)
		}
	}
	if bad := o.admit(c, p); !bad.IsZero() {
		if !failed.IsZero() && bad.Stage == relay.StageTLS {
			return failed
		}
		return bad
	}
	no := func(format string, args ...any) relay.Reply {
		return c.Named(relay.Failure(relay.StageTLS, tlspolicy.StatusCrypto, format, args...))
	}
	switch {
	case !failed.IsZero() && failed.Code == 0 && failed.Status == smtpclient.StatusInjected:
		return failed
	case c.TLS == "" && !failed.IsZero():
		v.Reached = "in the clear, on a fresh connection: TLS fails"
	case c.TLS == "" || p.Level == tlspolicy.LevelOff:
		v.Reached = "in the clear"
	case p.DANE != nil && unnamed != nil:
		return no("the certificate of %s is none of those that DNS names (DANE): %s", tg.Host, survey.CertWords(unnamed))
	case p.DANE != nil:
		v.Reached = "encrypted, and the host verified by DANE"
	case p.Level >= tlspolicy.LevelVerified && untrusted != nil:
		return no("the certificate does not stand for %s: %s", tg.Host, survey.CertWords(untrusted))
	case p.Level >= tlspolicy.LevelVerified:
		v.Reached = "encrypted, and the host verified by its certificate"
	default:
		v.Reached = "encrypted, with a certificate that nobody checks"
	}
	return relay.Reply{}
}

// verifyPKIX is what a session at LevelVerified does.
func (o *Opener) verifyPKIX(name string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the host sent no certificate")
	}
	between := x509.NewCertPool()
	for _, each := range chain[1:] {
		between.AddCert(each)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: o.RootCAs, Intermediates: between})
	return err
}
