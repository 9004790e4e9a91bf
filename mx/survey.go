package mx

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Survey is what the hosts of a domain show to whoever comes to send mail.
// All text in it that strangers wrote is bounded and sanitized.
type Survey struct {
	Subject    string        `json:"subject"`
	DNS        []string      `json:"dns_servers"`
	DNSTrusted bool          `json:"dns_trusted"` // their AD bit is believed
	At         Destination   `json:"destination"`
	Sessions   []SessionView `json:"sessions,omitempty"` // one for each address dialled, in the order of the hosts
	Took       time.Duration `json:"took"`               // in ns, like all times here
}

// SessionView is what one address showed.
type SessionView struct {
	Host    string         `json:"host"`
	Addr    netip.AddrPort `json:"address"`
	Banner  string         `json:"banner,omitempty"`
	Offers  []string       `json:"offers,omitempty"` // its lines after EHLO, before TLS or with implicit TLS
	OverTLS []string       `json:"offers_over_tls,omitempty"`

	TLS        string     `json:"tls,omitempty"` // "TLS1.3"; "": none was made
	Cipher     string     `json:"cipher,omitempty"`
	TLSTrouble string     `json:"tls_trouble,omitempty"` // why none was made
	Chain      []CertView `json:"certificates,omitempty"`
	PKIX       string     `json:"pkix,omitempty"` // "good", or why the certificate does not stand for the host; "" without TLS
	DANE       []Match    `json:"dane,omitempty"`

	Trouble relay.Reply `json:"trouble,omitzero"`  // why mail would not be given to it; zero: it would
	Reached string      `json:"reached,omitempty"` // how private that mail would be

	Connect   time.Duration `json:"connect"`
	Greeting  time.Duration `json:"greeting"`
	EHLO      time.Duration `json:"ehlo"`
	Handshake time.Duration `json:"handshake"`
	Took      time.Duration `json:"took"`
}

// CertView is one certificate of a chain, the host's own first.
type CertView struct {
	Subject   string    `json:"subject"`
	Names     []string  `json:"names,omitempty"`
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

// Match is a TLSA record held against the certificates that a host sent.
type Match struct {
	TLSAView
	Matches bool `json:"matches"`
}

// Bounds of a survey: it talks to strangers.
const (
	maxSurveyed   = 24               // addresses
	surveyAtOnce  = 8                // of them
	surveyStep    = 30 * time.Second // one step of a session, if the configuration allows no less
	maxCertsShown = 8
	maxNamesShown = 30
	maxOffers     = 50
)

// Survey looks at the hosts that take a domain's mail, or at one host, as a
// delivery with an ordinary message would, and goes on to greet each of their
// addresses that may be dialled: EHLO, STARTTLS, EHLO, QUIT, never MAIL.
//
// subject is a domain or a mailbox of it; or, with a port or as an address, a
// host: "mx.example.org:25", "[2001:db8::1]", "smtps://mx.example.org".
func (t *Transport) Survey(ctx context.Context, subject string) (*Survey, error) {
	began := time.Now()
	s := &Survey{Subject: subject}
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

// Best is the session of the address that mail would be given to first; nil:
// none would get it.
func (s *Survey) Best() *SessionView {
	for i := range s.Sessions {
		if s.Sessions[i].Trouble.IsZero() {
			return &s.Sessions[i]
		}
	}
	return nil
}

// Failure is the verdict on mail that no host would get.
func (s *Survey) Failure() relay.Reply {
	failures := s.At.Failures()
	for i := range s.Sessions {
		if bad := s.Sessions[i].Trouble; !bad.IsZero() && !slices.Contains(failures, bad) {
			failures = append(failures, bad)
		}
	}
	return summary(failures)
}

// surveyed finds the hosts.
func (t *Transport) surveyed(ctx context.Context, s *Survey) (policy, error) {
	pol := t.Policy(new(relay.Message), nil)
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
			pol.Level = t.Policy(new(relay.Message), r).Level
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
	s.At = Destination{Route: -1, ByMX: true, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(nil)}
	t.viewHosts(ctx, &s.At, []*host{h}, pol, nil)
	return pol, nil
}

// visit opens a session with each address, several at once.
func (t *Transport) visit(ctx context.Context, s *Survey, pol policy) {
	slots := make(chan struct{}, surveyAtOnce)
	var wg sync.WaitGroup
	var sessions []*SessionView
	for i := range s.At.Hosts {
		h := &s.At.Hosts[i]
		for _, a := range h.Addrs {
			if a.Refused != "" || len(sessions) == maxSurveyed {
				continue
			}
			v := &SessionView{Host: h.Host, Addr: netip.AddrPortFrom(a.Addr, h.Port)}
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
func (t *Transport) greet(ctx context.Context, v *SessionView, h *HostView, pol policy) {
	began := time.Now()
	tg := target{Peer: smtpclient.Peer{Host: h.Host, Addr: v.Addr, Implicit: h.ImplicitTLS}, Published: tlspolicy.Published{DANE: h.dane, Domain: h.domain, STS: h.sts}}
	raised, bad := t.Raise(pol, tg)
	u := &use{Claim: smtpclient.Claim{Ctx: ctx, End: began.Add(t.cfg.Timeouts.Session)}}
	v.Trouble = bad
	failed := t.meet(u, v, tg, raised)
	if v.Trouble.IsZero() {
		v.Trouble = failed
	}
	v.Took = time.Since(began)
}

// meet runs the session. Its Reply is why mail would not be sent here.
func (t *Transport) meet(u *use, v *SessionView, tg target, p policy) relay.Reply {
	clock := stopwatch(time.Now())
	nc, bad := t.dial(u, tg, p)
	v.Connect = clock.lap()
	if !bad.IsZero() {
		return bad
	}
	c := &link{Conn: smtpclient.NewConn(nc, tg.Peer, t.cfg.Timeouts.AtMost(surveyStep)), target: tg}
	c.Attach(&u.Claim)
	defer func() {
		c.Detach()
		t.bg.Quit(c.Conn)
	}()
	var state *tls.ConnectionState
	secure := func() relay.Reply {
		clock.lap()
		cfg := &tls.Config{ServerName: tg.Host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} // judged afterwards
		if p.DANE != nil {
			cfg.ServerName = p.DANE.Base
		}
		bad := u.Secure(c.Conn, cfg)
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
	v.Offers = offers(c.Offers)
	var failed relay.Reply
	if !tg.Implicit && c.Ext.OffersTLS {
		if failed = c.AskTLS(); failed.IsZero() {
			failed = secure()
		}
		if failed.IsZero() {
			if bad := c.Hello(t.ehlo(p)); !bad.IsZero() {
				return bad
			}
			v.OverTLS = offers(c.Offers)
		} else {
			v.TLSTrouble = failed.String()
		}
	}
	return t.judge(c, v, tg, p, state, failed)
}

// offers are the lines of an EHLO without the server's name.
func offers(lines []string) []string {
	var all []string
	for i, line := range lines {
		if i > 0 && len(all) < maxOffers {
			all = append(all, clipText(line))
		}
	}
	return all
}

// hear takes the greeting and the reply to EHLO.
func (t *Transport) hear(c *link, v *SessionView, p policy, clock *stopwatch) relay.Reply {
	r, err := c.Read(c.Limits.Greeting)
	v.Greeting = clock.lap()
	if err != nil {
		return c.Failure(relay.StageGreeting, "waiting for the greeting", err)
	}
	v.Banner = clipText(fmt.Sprintf("%d %s", r.Code, strings.Join(r.Lines, " ")))
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
