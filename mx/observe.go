package mx

import (
	"crypto/tls"
	"errors"
	"net"

	"dawk/mx/dns"
	"dawk/relay"
)

// report tells of a session that was opened, or not.
func (t *Transport) report(u *use, tg target, p policy, c *link, bad relay.Reply) {
	if !p.mx || p.lax || p.level == LevelOff || u.ctx.Err() != nil {
		return
	}
	r := p.about(tg.host, tg.where(), tg.published)
	r.Detail = bad.Text
	switch {
	case c != nil && c.tls != "":
		r.Result = tlsGood
		if r.Testing {
			r.Result, r.Detail = t.rehearse(c, tg)
		}
	case u.tlsWhy != "": // given up, or gone on in the clear
		r.Result = u.tlsWhy
		if c != nil {
			r.Detail = c.noTLS
		}
	case c != nil, bad.Stage == relay.StageTLS:
		r.Result = tlsNoSTARTTLS
	default: // it ended before TLS
		return
	}
	t.cfg.OnTLS(r)
}

// rehearse says how a session would have ended if the policy that is in
// testing were enforced (RFC 8461 §5).
func (t *Transport) rehearse(c *link, tg target) (result, detail string) {
	if !tg.sts.allows(tg.host) {
		return tlsFailure, "the host is not among those of the policy"
	}
	nc, ok := c.nc.(*tls.Conn)
	if !ok {
		return tlsGood, ""
	}
	chain := nc.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return tlsFailure, ""
	}
	if err := t.verifyPKIX(tg.host, chain); err != nil {
		return tlsResult(err), relay.Sanitize(err.Error())
	}
	return tlsGood, ""
}

// reportRefused tells of a host that was not used.
func (t *Transport) reportRefused(tg target, p policy, bad relay.Reply) {
	r := p.about(tg.host, tg.where(), tg.published)
	r.Detail, r.Result = bad.Text, tlsFailure
	if p.by == byDANE {
		r.Result, r.Detail = tlsNoDNSSEC, impersonal(tg.dane.err)
	}
	t.cfg.OnTLS(r)
}

// impersonal is an error for strangers: without the addresses of our resolver
// and our own that errors of DNS and of the network hold.
func impersonal(err error) string {
	var d *dns.Error
	var op *net.OpError
	switch {
	case errors.As(err, &d):
		return "DNS: " + string(d.Trouble) + " for " + d.Name + " " + d.Type
	case errors.As(err, &op):
		return cause(err)
	}
	return relay.Sanitize(err.Error())
}

// reportFetch tells of a policy that could not be had.
func (t *Transport) reportFetch(domain string, err error) {
	t.cfg.OnTLS(TLSReport{Domain: domain, Type: "sts", Result: fetchResult(err), Detail: impersonal(err)})
}
