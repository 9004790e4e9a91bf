package mx

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"dawk/mx/connpool"
	"dawk/mx/smtpclient"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Bounds of a survey: it talks to strangers.
const (
	maxSurveyed  = 24               // addresses
	surveyAtOnce = 8                // of them
	surveyStep   = 30 * time.Second // one step of a session, if the configuration allows no less
)

// Survey looks at the hosts that take a domain's mail, or at one host, as a
// delivery with an ordinary message would, and goes on to greet each of their
// addresses that may be dialled: EHLO, STARTTLS, EHLO, QUIT, never MAIL.
//
// subject is a domain or a mailbox of it; or, with a port or as an address, a
// host: "mx.example.org:25", "[2001:db8::1]", "smtps://mx.example.org".
func (t *Transport) Survey(ctx context.Context, subject string) (*survey.Survey, error) {
	began := time.Now()
	s := &survey.Survey{Subject: subject}
	if r, ok := t.cfg.Resolver.(interface {
		Servers() []string
		Trusted() bool
	}); ok {
		s.DNS, s.DNSTrusted = r.Servers(), r.Trusted()
	}
	pol, err := t.surveyed(ctx, s)
	if err != nil {
		return nil, err
	}
	t.visit(ctx, s, pol)
	s.Took = time.Since(began)
	return s, nil
}

// surveyed finds the hosts.
func (t *Transport) surveyed(ctx context.Context, s *survey.Survey) (policy, error) {
	pol := t.policy(new(relay.Message), nil)
	if all := t.cfg.Pool; len(all) > 0 {
		pol.source = t.source(all[0])
	}
	subject := s.Subject[strings.LastIndexByte(s.Subject, '@')+1:]
	hop, err := ParseHop(subject, false)
	if err != nil || hop.Socket != "" || hop.LMTP {
		return pol, fmt.Errorf("%q is neither a domain nor a host: write example.org, mx.example.org:25 or an address", relay.Sanitize(s.Subject))
	}
	addr, err := netip.ParseAddr(hop.Host)
	_, _, noPort := net.SplitHostPort(strings.TrimPrefix(subject, "smtps://"))
	switch {
	case err != nil && noPort != nil && !hop.ImplicitTLS:
		// By MX, also where a route with `via` takes the mail: that way is
		// `dawk check`'s. The level may be a route's.
		to, perr := relay.NewPath("postmaster", hop.Host)
		if r := t.route(new(relay.Message), to); perr == nil && r != nil && len(r.Via) == 0 {
			pol.Level = t.policy(new(relay.Message), r).Level
		}
		s.At = t.destination(ctx, nil, pol, hop.Host)
		return pol, nil
	case noPort != nil && !hop.ImplicitTLS:
		hop.Port = uint16(t.cfg.Port)
	}
	h := &host{name: hop.Host, port: hop.Port, implicit: hop.ImplicitTLS || hop.Port == 465}
	if err != nil {
		h.domain = hop.Host // asked for by this name: nothing stands between
	} else {
		h.addrs = []netip.Addr{addr}
	}
	s.At = survey.Destination{Route: -1, ByMX: true, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(nil)}
	t.viewHosts(ctx, &s.At, []*host{h}, pol, nil)
	return pol, nil
}

// visit opens a session with each address, several at once.
func (t *Transport) visit(ctx context.Context, s *survey.Survey, pol policy) {
	slots := make(chan struct{}, surveyAtOnce)
	var wg sync.WaitGroup
	var sessions []*survey.SessionView
	for i := range s.At.Hosts {
		h := &s.At.Hosts[i]
		for _, a := range h.Addrs {
			if a.Refused != "" || len(sessions) == maxSurveyed {
				continue
			}
			v := &survey.SessionView{Host: h.Host, Addr: netip.AddrPortFrom(a.Addr, h.Port)}
			sessions = append(sessions, v)
			wg.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				t.greet(ctx, v, h, pol)
			})
		}
	}
	wg.Wait()
	for _, v := range sessions {
		s.Sessions = append(s.Sessions, *v)
	}
}

// greet opens one session, says no more than EHLO, STARTTLS and QUIT, and
// judges what it saw.
func (t *Transport) greet(ctx context.Context, v *survey.SessionView, h *survey.HostView, pol policy) {
	began := time.Now()
	tg := target{Peer: smtpclient.Peer{Host: h.Host, Addr: v.Addr, Implicit: h.ImplicitTLS}, Published: h.Known}
	raised, bad := t.raise(pol, tg)
	u := &use{Claim: smtpclient.Claim{Ctx: ctx, End: began.Add(t.cfg.Timeouts.Session)}}
	v.Trouble = bad
	seen := *v
	failed := t.meet(u, v, tg, raised, tlspolicy.Try{})
	if again, ok := raised.Again(tlspolicy.Try{}, u.tlsErr, u.tlsVersion); ok && ctx.Err() == nil {
		if bad := t.meet(u, &seen, tg, raised, again); u.tlsErr == nil {
			*v, failed = seen, bad
			if v.Reached != "" {
				v.Reached += ", at the second try"
			}
		}
	}
	if v.Trouble.IsZero() {
		v.Trouble = failed
	}
	v.Took = time.Since(began)
}

// meet runs the session. Its Reply is why mail would not be sent here.
func (t *Transport) meet(u *use, v *survey.SessionView, tg target, p policy, try tlspolicy.Try) relay.Reply {
	clock := stopwatch(time.Now())
	nc, bad := t.dial(u, tg, p)
	v.Connect = clock.lap()
	if !bad.IsZero() {
		return bad
	}
	c := t.newLink(nc, tg, t.cfg.Timeouts.AtMost(surveyStep))
	c.Attach(&u.Claim)
	defer func() {
		c.Detach()
		t.bg.Quit(c.Conn)
		u.tlsErr, u.tlsVersion = c.TLSErr, c.TLSVersion
	}()
	var state *tls.ConnectionState
	secure := func() relay.Reply {
		clock.lap()
		cfg := p.Config(tg.Host, nil, nil, try)
		cfg.InsecureSkipVerify, cfg.VerifyConnection = true, nil // judged afterwards
		bad := c.Secure(cfg)
		v.Handshake = clock.lap()
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
	if bad := t.hear(c, v, p, &clock); !bad.IsZero() {
		return bad
	}
	v.Offers = survey.Offers(c.Offers)
	var failed relay.Reply
	if !tg.Implicit && c.Ext.OffersTLS {
		if failed = c.AskTLS(); failed.IsZero() {
			failed = secure()
		}
		if failed.IsZero() {
			if bad := c.Hello(t.ehlo(p)); !bad.IsZero() {
				return bad
			}
			v.OverTLS = survey.Offers(c.Offers)
		} else {
			v.TLSTrouble = failed.String()
		}
	}
	return t.judge(c, v, tg, p, state, failed)
}

// hear takes the greeting and the reply to EHLO.
func (t *Transport) hear(c *connpool.Conn, v *survey.SessionView, p policy, clock *stopwatch) relay.Reply {
	r, err := c.Read(c.Limits.Greeting)
	v.Greeting = clock.lap()
	if err != nil {
		return c.Failure(relay.StageGreeting, "waiting for the greeting", err)
	}
	v.Banner = survey.ClipText(fmt.Sprintf("%d %s", r.Code, strings.Join(r.Lines, " ")))
	if r.Class() != 2 {
		return c.Named(r.Reply(relay.StageGreeting))
	}
	bad := c.Hello(t.ehlo(p))
	v.EHLO = clock.lap()
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
