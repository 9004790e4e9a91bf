package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"

	"dawk/mx/dial"
	"dawk/mx/dns"
	"dawk/relay"
	"dawk/relay/tlsrpt"
)

// The results of RFC 8460 §4.3, and the one for success.
const (
	ResultGood       = tlsrpt.Successful
	ResultNoSTARTTLS = "starttls-not-supported"
	tlsWrongName     = "certificate-host-mismatch"
	tlsExpired       = "certificate-expired"
	tlsUntrusted     = "certificate-not-trusted"
	ResultFailure    = "validation-failure"
	tlsaInvalid      = "tlsa-invalid"
	ResultNoDNSSEC   = "dnssec-invalid"
	tlsFetchError    = "sts-policy-fetch-error"
	tlsBadPolicy     = "sts-policy-invalid"
	tlsPolicyWebCA   = "sts-webpki-invalid"
)

// Results are all values of tlsrpt.Session.Result.
func Results() []string {
	return []string{ResultGood, ResultNoSTARTTLS, tlsWrongName, tlsExpired, tlsUntrusted, ResultFailure, tlsaInvalid, ResultNoDNSSEC,
		tlsFetchError, tlsBadPolicy, tlsPolicyWebCA}
}

// ResultOf names the failure of a handshake.
func ResultOf(err error) string {
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
	return ResultFailure
}

// Impersonal is an error for strangers: without our own address and that of our resolver, which
// errors of DNS and of the network contain.
func Impersonal(err error) string {
	var d *dns.Error
	var op *net.OpError
	switch {
	case errors.As(err, &d):
		return "DNS: " + string(d.Trouble) + " for " + d.Name + " " + d.Type
	case errors.As(err, &op):
		return dial.Cause(err)
	}
	return relay.Sanitize(err.Error())
}

// About is the report of a session with tg, without its result.
func (p Demand) About(host, addr string, tg Published) tlsrpt.Session {
	r := tlsrpt.Session{Type: "no-policy-found", Domain: tg.Domain, Host: host, Addr: addr}
	switch {
	case tg.DANE != nil && (p.DANE != nil || p.By == ByDANE):
		r.Type, r.Domain = "tlsa", tg.DANE.Base
		for _, each := range tg.DANE.Records {
			r.Policy = append(r.Policy, each.String())
		}
	case tg.STS != nil:
		r.Type, r.Patterns, r.Policy, r.Testing = "sts", tg.STS.MX, tg.STS.lines(), tg.STS.Mode == stsTesting
	}
	return r
}

// FetchResult names the reason why a policy could not be fetched.
func FetchResult(err error) string {
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return tlsPolicyWebCA
	case errors.Is(err, errPolicy):
		return tlsBadPolicy
	}
	return tlsFetchError
}
