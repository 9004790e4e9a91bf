package mx

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"

	"dawk/mx/dns"
	"dawk/relay"
)

// judge says what a delivery would make of a session: why it would send
// nothing, or how private it would be.
func (t *Transport) judge(c *link, v *SessionView, tg target, p policy, state *tls.ConnectionState, failed relay.Reply) relay.Reply {
	v.TLS = c.tls
	var untrusted, unnamed error
	if state != nil {
		v.Cipher = tls.CipherSuiteName(state.CipherSuite)
		v.Chain = viewChain(state.PeerCertificates)
		untrusted = t.verifyPKIX(tg.host, state.PeerCertificates)
		v.PKIX = "good"
		if untrusted != nil {
			v.PKIX = clipText(certWords(untrusted))
		}
		v.DANE = matchAll(tg.dane, state)
		if p.dane != nil {
			unnamed = p.dane.verify(*state)
		}
	}
	if bad := t.admit(c, p); !bad.IsZero() {
		if !failed.IsZero() && bad.Stage == relay.StageTLS {
			return failed
		}
		return bad
	}
	no := func(format string, args ...any) relay.Reply {
		return c.named(relay.Failure(relay.StageTLS, statusTLS, format, args...))
	}
	switch {
	case !failed.IsZero() && failed.Code == 0 && failed.Status == statusInjected:
		return failed
	case c.tls == "" && !failed.IsZero():
		v.Reached = "in the clear, on a fresh connection: TLS fails"
	case c.tls == "" || p.level == LevelOff:
		v.Reached = "in the clear"
	case p.dane != nil && unnamed != nil:
		return no("the certificate of %s is none of those that DNS names (DANE): %s", tg.host, certWords(unnamed))
	case p.dane != nil:
		v.Reached = "encrypted, and the host verified by DANE"
	case p.level >= LevelVerified && untrusted != nil:
		return no("the certificate does not stand for %s: %s", tg.host, certWords(untrusted))
	case p.level >= LevelVerified:
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

// certWords is why a certificate does not do.
func certWords(err error) string {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return "it is signed by an authority that we do not know"
	}
	return strings.TrimPrefix(err.Error(), "x509: ")
}

// matchAll holds each TLSA record by itself against what the host sent.
func matchAll(d *dane, state *tls.ConnectionState) []Match {
	if d == nil {
		return nil
	}
	var all []Match
	for i, r := range d.records {
		if i == maxTLSAShown {
			break
		}
		m := Match{TLSAView: TLSAView{Record: clipText(r.String()), Use: d.use(r)}}
		if usable(r) {
			alone := &dane{base: d.base, names: d.names, usable: []dns.TLSA{r}}
			m.Matches = alone.verify(*state) == nil
		}
		all = append(all, m)
	}
	return all
}

func viewChain(chain []*x509.Certificate) []CertView {
	var all []CertView
	for i, c := range chain {
		if i == maxCertsShown {
			break
		}
		v := CertView{Subject: clipText(c.Subject.String()), Issuer: clipText(c.Issuer.String()), NotBefore: c.NotBefore, NotAfter: c.NotAfter}
		names := c.DNSNames
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
		for j, n := range names {
			if j == maxNamesShown {
				v.Names = append(v.Names, fmt.Sprintf("and %d more", len(names)-j))
				break
			}
			v.Names = append(v.Names, clipText(n))
		}
		all = append(all, v)
	}
	return all
}
