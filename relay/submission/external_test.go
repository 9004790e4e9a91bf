package submission_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/submission"
)

// authority signs client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return authority{cert, key}
}

func (a authority) issue(t testing.TB, name string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	check(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A client certificate logs its user in, if the file of users names it; one of
// another authority is none, and its owner may log in by password.
func TestExternal(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	f := start(t, options{listener: submission.Listener{TLS: "implicit", ClientCAs: pool}})
	dial := func(certs ...tls.Certificate) *client {
		c := f.dial()
		tc := tls.Client(c.c, &tls.Config{RootCAs: f.roots, ServerName: hostname, Certificates: certs})
		check(t, tc.Handshake())
		c.c, c.br = tc, bufio.NewReader(tc)
		return c
	}
	alice := base64.StdEncoding.EncodeToString([]byte("alice"))
	f.more(dial(ours.issue(t, "PC7.example.org")), `
		<- 220
		-> EHLO pc7
		<- 250
		-> AUTH EXTERNAL =
		<- 235 2.7.0
		-> MAIL FROM:<a@example.org>
		<- 250
		-> QUIT
		<- 221`)
	f.more(dial(ours.issue(t, "pc7.example.org")), `
		<- 220
		-> EHLO pc7
		<- 250
		-> AUTH EXTERNAL
		<- 334
		-> `+alice+`
		<- 235 2.7.0
		-> QUIT
		<- 221`)
	f.more(dial(ours.issue(t, "pc7.example.org")), `
		<- 220
		-> EHLO pc7
		<- 250
		-> AUTH EXTERNAL Ym9i
		<- 535 5.7.8
		-> QUIT
		<- 221`)
	f.more(dial(ours.issue(t, "pc8.example.org")), `
		<- 220
		-> EHLO pc8
		<- 250
		-> AUTH EXTERNAL =
		<- 535 5.7.8
		-> QUIT
		<- 221`)
	f.more(dial(), `
		<- 220
		-> EHLO pc8
		<- 250
		-> AUTH EXTERNAL =
		<- 504 5.5.4
		-> QUIT
		<- 221`)
	f.more(dial(ours.issue(t, "pc7.example.org")), `
		<- 220
		-> EHLO curl
		<- 250
		-> AUTH EXTERNAL
		<- 334
		-> =
		<- 235 2.7.0
		-> QUIT
		<- 221`)
	f.more(dial(theirs.issue(t, "pc7.example.org")), `
		<- 220
		-> EHLO pc7
		<- 250
		-> AUTH EXTERNAL =
		<- 504 5.5.4
		-> AUTH PLAIN QUxJQ0UAYWxpY2UAc2VjcmV0
		<- 235 2.7.0
		-> QUIT
		<- 221`)
	if e := f.seen.Wait(relay.EventLogin, 5); e[0].Reason != "ok" || e[0].Identity != "alice" || e[3].Reason != "credentials" || e[3].Identity != "pc8.example.org" {
		t.Errorf("%+v", e)
	}
}
