package mx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"dawk/mx/dns"
	"dawk/relay"
)

// TLSReport is what one session showed about TLS, as RFC 8460 counts it.
type TLSReport struct {
	Domain   string   // the policy domain: the recipients', or with Type "tlsa" the TLSA base domain
	Type     string   // "tlsa", "sts" or "no-policy-found"
	Policy   []string // as published, a line each
	Patterns []string // of MX hosts, with "sts"
	Testing  bool     // the policy demands nothing yet
	Host     string   // "" when no host was involved
	Addr     string
	Result   string // one of TLSResults
	Detail   string // more for people; may be ""
}

// The results of RFC 8460 §4.3, and the one for success.
const (
	tlsGood        = "successful"
	tlsNoSTARTTLS  = "starttls-not-supported"
	tlsWrongName   = "certificate-host-mismatch"
	tlsExpired     = "certificate-expired"
	tlsUntrusted   = "certificate-not-trusted"
	tlsFailure     = "validation-failure"
	tlsaInvalid    = "tlsa-invalid"
	tlsNoDNSSEC    = "dnssec-invalid"
	tlsFetchError  = "sts-policy-fetch-error"
	tlsBadPolicy   = "sts-policy-invalid"
	tlsPolicyWebCA = "sts-webpki-invalid"
)

// TLSResults are all values of TLSReport.Result.
func TLSResults() []string {
	return []string{tlsGood, tlsNoSTARTTLS, tlsWrongName, tlsExpired, tlsUntrusted, tlsFailure, tlsaInvalid, tlsNoDNSSEC,
		tlsFetchError, tlsBadPolicy, tlsPolicyWebCA}
}

// tlsResult names the failure of a handshake.
func tlsResult(err error) string {
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &name):
		return tlsWrongName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return tlsExpired
	case errors.As(err, &unknown), errors.As(err, &invalid):
		return tlsUntrusted
	}
	return tlsFailure
}

// about is the report of a session with tg, without its result.
func (p policy) about(tg target) TLSReport {
	r := TLSReport{Type: "no-policy-found", Domain: tg.domain, Host: tg.host, Addr: tg.where()}
	switch {
	case tg.dane != nil && (p.dane != nil || p.by == byDANE):
		r.Type, r.Domain = "tlsa", tg.dane.base
		for _, each := range tg.dane.records {
			r.Policy = append(r.Policy, each.String())
		}
	case tg.sts != nil:
		r.Type, r.Patterns, r.Policy, r.Testing = "sts", tg.sts.MX, tg.sts.lines(), tg.sts.Mode == stsTesting
	}
	return r
}

// report tells of a session that was opened, or not.
func (t *Transport) report(u *use, tg target, p policy, c *conn, bad relay.Reply) {
	if !p.mx || p.lax || p.level == LevelOff || u.ctx.Err() != nil {
		return
	}
	r := p.about(tg)
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
func (t *Transport) rehearse(c *conn, tg target) (result, detail string) {
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
	r := p.about(tg)
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
	r := TLSReport{Domain: domain, Type: "sts", Result: tlsFetchError, Detail: impersonal(err)}
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		r.Result = tlsPolicyWebCA
	case errors.Is(err, errPolicy):
		r.Result = tlsBadPolicy
	}
	t.cfg.OnTLS(r)
}
