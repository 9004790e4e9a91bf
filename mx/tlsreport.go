package mx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
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
func (p demand) about(host, addr string, tg published) TLSReport {
	r := TLSReport{Type: "no-policy-found", Domain: tg.domain, Host: host, Addr: addr}
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

// fetchResult names why a policy could not be had.
func fetchResult(err error) string {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return tlsPolicyWebCA
	case errors.Is(err, errPolicy):
		return tlsBadPolicy
	}
	return tlsFetchError
}
