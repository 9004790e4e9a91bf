package session

import (
	"crypto/tls"

	"dawk/mx/connpool"
	"dawk/mx/hosts"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Report tells of a session that was opened, or not.
func (o *Opener) Report(u *Use, tg hosts.Target, p Policy, c *connpool.Conn, bad relay.Reply) {
	if !p.MX || p.Lax || p.Level == tlspolicy.LevelOff || u.Ctx.Err() != nil {
		return
	}
	r := p.About(tg.Host, tg.Where(), tg.Published)
	r.Detail, r.Local = bad.Text, u.local
	switch {
	case c != nil && c.TLS != "":
		r.Result = tlspolicy.ResultGood
		if r.Testing {
			r.Result, r.Detail = o.rehearse(c, tg)
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
	o.OnTLS(r)
}

// rehearse says how a session would have ended if the policy that is in
// testing were enforced (RFC 8461 §5).
func (o *Opener) rehearse(c *connpool.Conn, tg hosts.Target) (result, detail string) {
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
	if err := o.verifyPKIX(tg.Host, chain); err != nil {
		return tlspolicy.ResultOf(err), relay.Sanitize(err.Error())
	}
	return tlspolicy.ResultGood, ""
}

// ReportRefused tells of a host that was not used.
func (o *Opener) ReportRefused(tg hosts.Target, p Policy, bad relay.Reply) {
	r := p.About(tg.Host, tg.Where(), tg.Published)
	r.Detail, r.Result = bad.Text, tlspolicy.ResultFailure
	if p.By == tlspolicy.ByDANE {
		r.Result, r.Detail = tlspolicy.ResultNoDNSSEC, tlspolicy.Impersonal(tg.DANE.Err)
	}
	o.OnTLS(r)
}
