package tlspolicy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"dawk/mx/dns"
	"dawk/relay"
)

// The usages that count for SMTP. The PKIX usages are unusable: it is not known which authorities
// the other side trusts (RFC 7672 §3.1.3).
const (
	usageTA = 2 // DANE-TA: the authority
	usageEE = 3 // DANE-EE: the host's own key
)

// Usable says whether a record could match a certificate.
func Usable(r dns.TLSA) bool {
	if r.Usage != usageTA && r.Usage != usageEE || r.Selector > 1 {
		return false
	}
	switch r.Matching {
	case 0:
		var err error
		if r.Selector == 0 {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return err == nil
	case 1:
		return len(r.Data) == sha256.Size
	case 2:
		return len(r.Data) == sha512.Size
	}
	return false
}

// usableOf are the records that count. RFC 7671 §9, digest agility: of the digests of one usage and
// selector only the strongest kind counts, so breaking the weaker one gains nothing while both are
// published. A record with a whole certificate or key has no digest, and always counts.
func usableOf(records []dns.TLSA) []dns.TLSA {
	type key struct{ usage, selector uint8 }
	strongest := map[key]uint8{} // SHA2-512 has the higher number of the two
	var good []dns.TLSA
	for _, r := range records {
		if Usable(r) {
			good = append(good, r)
			strongest[key{r.Usage, r.Selector}] = max(strongest[key{r.Usage, r.Selector}], r.Matching)
		}
	}
	return slices.DeleteFunc(good, func(r dns.TLSA) bool {
		return r.Matching != 0 && r.Matching < strongest[key{r.Usage, r.Selector}]
	})
}

// Use says, for people, whether a record counts or why it does not.
func (d *DANE) Use(r dns.TLSA) string {
	same := func(o dns.TLSA) bool { return o.String() == r.String() }
	switch {
	case slices.ContainsFunc(d.Usable, same):
		return useful
	case Usable(r):
		return "passed over: a stronger digest stands beside it (RFC 7671 §9)"
	case r.Usage < usageTA:
		return "not usable: usages 0 and 1 do not count for mail (RFC 7672 §3.1.3)"
	}
	return "not usable: unknown numbers, or data that does not fit them"
}

const useful = "usable"

func matches(r dns.TLSA, c *x509.Certificate) bool {
	data := c.Raw
	if r.Selector == 1 {
		data = c.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return bytes.Equal(data, r.Data)
}

// DANE is what DNS says of a host's certificate. It exists only where the MX
// and address records are secure; nil: there is nothing.
type DANE struct {
	Base    string     // the TLSA base domain: SNI, and a name that the certificate may have
	Names   []string   // other names it may have (RFC 7672 §3.2.2)
	Records []dns.TLSA // as published
	Usable  []dns.TLSA // none: TLS is required, authentication is impossible (RFC 7672 §2.2)
	Err     error      // the records could not be looked up: the host is not used now (RFC 7672 §2.1)
}

// Fingerprint distinguishes sets of records.
func (d *DANE) Fingerprint() string {
	if d == nil || len(d.Usable) == 0 {
		return ""
	}
	var all []string
	for _, r := range d.Usable {
		all = append(all, r.String())
	}
	slices.Sort(all)
	return d.Base + " " + strings.Join(all, ",")
}

// LookupDANE looks the records of an MX host up, on a port; nil: there are none that count. domain
// is the one whose MX it is, by DNSSEC; addrs is the answer that the host's addresses came from. If
// it is in doubt whether the answer is signed, the records are looked up all the same.
func LookupDANE(ctx context.Context, from SecuredLookup, host string, port uint16, domain string, addrs dns.Answer[netip.Addr]) *DANE {
	names, err := daneBases(ctx, from, host, addrs)
	if err != nil {
		return &DANE{Base: host, Err: err}
	}
	for _, base := range names {
		answer, err := from.LookupTLSA(ctx, base, port)
		var e *dns.Error
		switch {
		case errors.As(err, &e) && !dns.Temporary(err):
			continue
		case err != nil:
			return &DANE{Base: base, Err: err}
		case answer.Doubt: // a time-out is no answer: an attacker who delays DNS must not gain by it
			return &DANE{Base: base, Err: errDoubt}
		case !answer.Secure: // an unsigned delegation below: as good as no record
			continue
		}
		d := &DANE{Base: base, Names: []string{host, domain}, Records: answer.Records}
		d.Usable = usableOf(answer.Records)
		return d
	}
	return nil
}

// daneBases are the names whose TLSA records count, the best first (RFC 7672 §2.2.2). If the
// addresses of only one family are secure, the records count for both: they authenticate the host,
// whichever address is used.
func daneBases(ctx context.Context, from SecuredLookup, host string, addrs dns.Answer[netip.Addr]) ([]string, error) {
	alias := addrs.Name != "" && addrs.Name != host
	switch {
	case addrs.Secure || addrs.Mixed || addrs.Doubt:
		if alias {
			return []string{addrs.Name, host}, nil
		}
		return []string{host}, nil
	case !alias: // without DNSSEC nobody knows whose records these are (RFC 7672 §2.2)
		return nil, nil
	}
	// The security of the whole chain says nothing about its first link: a signed alias may lead into
	// an unsigned zone.
	link, err := from.LookupCNAME(ctx, host)
	switch {
	case dns.Temporary(err):
		return nil, err
	case err != nil || !link.Secure && !link.Doubt:
		return nil, nil
	}
	return []string{host}, nil
}

// errDoubt: it is unknown whether the records are signed.
var errDoubt = errors.New("the name server does not answer with EDNS0, without which it is unknown whether the records are signed")

// ErrNoTLSA: the certificate is none of those that DNS names.
var ErrNoTLSA = errors.New("no TLSA record matches the certificate")

// Verify is for tls.Config.VerifyConnection: one usable record must match
// (RFC 7672 §3.1). For usage 3 neither names nor dates count.
func (d *DANE) Verify(cs tls.ConnectionState) error {
	chain := cs.PeerCertificates
	if len(chain) == 0 {
		return ErrNoTLSA
	}
	var failed error
	for _, r := range d.Usable {
		switch r.Usage {
		case usageEE:
			if matches(r, chain[0]) {
				return nil
			}
		case usageTA:
			for _, ta := range d.authorities(r, chain) {
				err := d.verifyChain(chain, ta)
				if err == nil {
					return nil
				}
				failed = err
			}
		}
	}
	if failed != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: failed}
	}
	return ErrNoTLSA
}

// authorities are the certificates that r makes trust anchors: one of the chain, or one that the
// record itself contains.
func (d *DANE) authorities(r dns.TLSA, chain []*x509.Certificate) []*x509.Certificate {
	var list []*x509.Certificate
	for _, c := range chain[1:] {
		if matches(r, c) {
			list = append(list, c)
		}
	}
	if len(list) == 0 && r.Selector == 0 && r.Matching == 0 {
		if c, err := x509.ParseCertificate(r.Data); err == nil {
			list = append(list, c)
		}
	}
	return list
}

// verifyChain checks dates, signatures and names up to an authority.
func (d *DANE) verifyChain(chain []*x509.Certificate, ta *x509.Certificate) error {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(ta)
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	var err error
	for _, name := range append([]string{d.Base}, d.Names...) {
		_, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between})
		var wrongName x509.HostnameError
		if !errors.As(err, &wrongName) {
			return err
		}
	}
	return err
}

// lookupFailed is the verdict on a host whose records could not be looked up. An attacker who can
// only suppress them must not gain by it.
func (d *DANE) lookupFailed(host string) relay.Reply {
	return relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3},
		"cannot look up the TLSA records of %s, without which the host is not used (DANE): %v", host, d.Err)
}
