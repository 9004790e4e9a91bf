package mx

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/mx/survey"
	"dawk/relay"
)

// Bounds of a survey, which talks to hosts of strangers.
const (
	maxSurveyed  = 24 // addresses
	surveyAtOnce = 8  // of them
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
	s.Took = relay.Millis(time.Since(began))
	return s, nil
}

// surveyed finds the hosts.
func (t *Transport) surveyed(ctx context.Context, s *survey.Survey) (session.Policy, error) {
	pol := t.policy(new(relay.Message), nil)
	if all := t.cfg.Pool; len(all) > 0 {
		pol.Source = t.source(all[0])
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
	h := &hosts.Host{Name: hop.Host, Port: hop.Port, Implicit: hop.ImplicitTLS || hop.Port == 465}
	if err != nil {
		h.Domain = hop.Host // asked for by this name: nothing stands between
	} else {
		h.Addrs = []netip.Addr{addr}
	}
	s.At = survey.Destination{Route: -1, ByMX: true, Recipients: t.cfg.RecipientsPerMessage, Sources: t.sourceViews(nil)}
	t.viewHosts(ctx, &s.At, []*hosts.Host{h}, pol, nil)
	return pol, nil
}

// visit opens a session with each address, several at once.
func (t *Transport) visit(ctx context.Context, s *survey.Survey, pol session.Policy) {
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
				t.opener.Look(ctx, v, h, pol)
			})
		}
	}
	wg.Wait()
	for _, v := range sessions {
		s.Sessions = append(s.Sessions, *v)
	}
}
