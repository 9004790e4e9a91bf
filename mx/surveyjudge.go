package mx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"dawk/mx/connpool"
	"dawk/mx/smtpclient"
	"dawk/mx/survey"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// judge says what a delivery would make of a session: why it would send
// nothing, or how private it would be.
func (t *Transport) judge(c *connpool.Conn, v *survey.SessionView, tg target, p policy, state *tls.ConnectionState, failed relay.Reply) relay.Reply {
	v.TLS = c.TLS
	var untrusted, unnamed error
	if state != nil {
		v.Cipher = tls.CipherSuiteName(state.CipherSuite)
		v.Chain = survey.Chain(state.PeerCertificates)
		untrusted = t.verifyPKIX(tg.Host, state.PeerCertificates)
		v.PKIX = "good"
		if untrusted != nil {
			v.PKIX = survey.ClipText(survey.CertWords(untrusted))
		}
		v.DANE = survey.HoldTLSA(tg.DANE, state)
		if p.DANE != nil {
			unnamed = p.DANE.Verify(*state)
		}
	}
	if bad := t.admit(c, p); !bad.IsZero() {
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
func (t *Transport) verifyPKIX(name string, chain []*x509.Certificate) error {
	if len(chain) == 0 {
		return errors.New("the host sent no certificate")
	}
	between := x509.NewCertPool()
	for _, each := range chain[1:] {
		between.AddCert(each)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: t.cfg.RootCAs, Intermediates: between})
	return err
}
