package mx

import (
	"crypto/tls"

	"dawk/mx/connpool"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/tlsrpt"
)

// report tells of a session that was opened, or not.
func (t *Transport) report(u *use, tg target, p policy, c *connpool.Conn, bad relay.Reply) {
	if !p.mx || p.Lax || p.Level == tlspolicy.LevelOff || u.Ctx.Err() != nil {
		return
	}
	r := p.About(tg.Host, tg.Where(), tg.Published)
	r.Detail, r.Local = bad.Text, u.local
	switch {
	case c != nil && c.TLS != "":
		r.Result = tlspolicy.ResultGood
		if r.Testing {
			r.Result, r.Detail = t.rehearse(c, tg)
		}
	case u.tlsErr != nil: // given up, or gone on in the clear
		r.Result = tlspolicy.ResultOf(u.tlsErr)
		if c != nil {
			r.Detail = c.NoTLS
		}
	case c != nil, bad.Stage == relay.StageTLS:
		r.Result = tlspolicy.ResultNoSTARTTLS
	default: // it ended before TLS
		return
	}
	t.cfg.OnTLS(r)
}

// rehearse says how a session would have ended if the policy that is in
// testing were enforced (RFC 8461 §5).
func (t *Transport) rehearse(c *connpool.Conn, tg target) (result, detail string) {
	if !tg.STS.Allows(tg.Host) {
		return tlspolicy.ResultFailure, "the host is not among those of the policy"
	}
	nc, ok := c.Nc.(*tls.Conn)
	if !ok {
		return tlspolicy.ResultGood, ""
	}
	chain := nc.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return tlspolicy.ResultFailure, ""
	}
	if err := t.verifyPKIX(tg.Host, chain); err != nil {
		return tlspolicy.ResultOf(err), relay.Sanitize(err.Error())
	}
	return tlspolicy.ResultGood, ""
}

// reportRefused tells of a host that was not used.
func (t *Transport) reportRefused(tg target, p policy, bad relay.Reply) {
	r := p.About(tg.Host, tg.Where(), tg.Published)
	r.Detail, r.Result = bad.Text, tlspolicy.ResultFailure
	if p.By == tlspolicy.ByDANE {
		r.Result, r.Detail = tlspolicy.ResultNoDNSSEC, tlspolicy.Impersonal(tg.DANE.Err)
	}
	t.cfg.OnTLS(r)
}

// reportFetch tells of a policy that could not be had.
func (t *Transport) reportFetch(domain string, err error) {
	t.cfg.OnTLS(tlsrpt.Session{Domain: domain, Type: "sts", Result: tlspolicy.FetchResult(err), Detail: tlspolicy.Impersonal(err)})
}
