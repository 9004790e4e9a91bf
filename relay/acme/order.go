package acme

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"time"

	"golang.org/x/crypto/acme"

	"dawk/relay/durable"
)

// obtain asks the authority for a certificate and puts it into its file.
func (m *Manager) obtain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, obtainTime)
	defer cancel()
	client, err := m.client(ctx)
	if err != nil {
		return err
	}
	order, err := client.AuthorizeOrder(ctx, acme.DomainIDs(m.cfg.Names...))
	if err != nil {
		return fmt.Errorf("order a certificate at %s: %w", m.cfg.Directory, err)
	}
	prove, err := m.prover(client)
	if err != nil {
		return err
	}
	defer prove.close()
	if err := m.authorize(ctx, client, prove, order.AuthzURLs); err != nil {
		return err
	}
	place := order.URI // which later answers need not repeat (RFC 8555 §7.4)
	if order, err = client.WaitOrder(ctx, place); err != nil {
		return fmt.Errorf("wait for the order: %w", err)
	}
	order.URI = place
	// RSA, since printers and scanners that know nothing else are clients of a relay.
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: m.cfg.Names}, key)
	if err != nil {
		return err
	}
	chain, _, err := client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return fmt.Errorf("take the certificate: %w", err)
	}
	return m.keep(key, chain)
}

// keep writes key and chain as one file: nobody ever sees half a change.
func (m *Manager) keep(key crypto.Signer, chain [][]byte) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, c := range chain {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c}))
	}
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if _, err := tls.X509KeyPair(b.Bytes(), b.Bytes()); err != nil {
		return fmt.Errorf("the authority's certificate: %w", err)
	}
	return durable.Write(m.File(), b.Bytes(), 0o600)
}

// client is the authority with our account there, which is made if it is missing.
func (m *Manager) client(ctx context.Context) (*acme.Client, error) {
	key, err := m.accountKey()
	if err != nil {
		return nil, fmt.Errorf("account key: %w", err)
	}
	client := &acme.Client{Key: key, DirectoryURL: m.cfg.Directory, UserAgent: "dawk", RetryBackoff: retry,
		HTTPClient: &http.Client{Timeout: time.Minute, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment,
			TLSClientConfig: &tls.Config{RootCAs: m.cfg.Roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}}}
	account := &acme.Account{}
	if m.cfg.Email != "" {
		account.Contact = []string{"mailto:" + m.cfg.Email}
	}
	if _, err := client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		return nil, fmt.Errorf("account at %s: %w", m.cfg.Directory, err)
	}
	return client, nil
}

// retry says how long to wait after an answer that may be better the next time: a
// used nonce (RFC 8555 §6.5) or a server in trouble. A limit is not waited for here.
func retry(n int, _ *http.Request, resp *http.Response) time.Duration {
	if n > 5 || resp != nil && resp.StatusCode == http.StatusTooManyRequests {
		return 0
	}
	return time.Duration(n*n) * 100 * time.Millisecond
}

// accountKey reads the key of our account, or makes one.
func (m *Manager) accountKey() (crypto.Signer, error) {
	file := m.path("account.key")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return nil, err
		}
		return key, durable.Write(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s holds no key in PEM form: remove it, and a new account is made", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key that can sign", file)
	}
	return signer, nil
}

// authorize proves that the names of an order are ours. All proofs are shown before the
// authority looks at the first, so that DNS is waited for once.
func (m *Manager) authorize(ctx context.Context, client *acme.Client, prove *prover, urls []string) error {
	shown := make([]*acme.Challenge, len(urls)) // nil: this name was proved before
	names := make([]string, len(urls))
	for i, url := range urls {
		authz, err := client.GetAuthorization(ctx, url)
		if err != nil {
			return fmt.Errorf("authorization: %w", err)
		}
		if authz.Status == acme.StatusValid {
			continue
		}
		names[i] = authz.Identifier.Value
		if shown[i], err = prove.choose(authz); err != nil {
			return err
		}
		if err := prove.present(ctx, names[i], shown[i]); err != nil {
			return fmt.Errorf("%s by %s: %w", names[i], shown[i].Type, err)
		}
	}
	if err := prove.settle(ctx); err != nil {
		return err
	}
	for i, challenge := range shown {
		if challenge == nil {
			continue
		}
		if _, err := client.Accept(ctx, challenge); err != nil {
			return fmt.Errorf("%s by %s: %w", names[i], challenge.Type, err)
		}
		if _, err := client.WaitAuthorization(ctx, urls[i]); err != nil {
			return fmt.Errorf("the authority could not see that %s is ours, by %s: %w; %s", names[i], challenge.Type, reason(err), remedies[challenge.Type])
		}
	}
	return nil
}

// remedies are what to look at when a proof fails.
var remedies = map[string]string{
	httpProof: "port 80 of the name's address must lead to this machine, through any firewall; or set [tls] acme_dns",
	tlsProof:  "port 443 of the name's address must lead to this machine, through any firewall; or set [tls] acme_dns",
	dnsProof:  "look whether the DNS provider's credentials may change the zone",
}

// reason is the authority's own words, where it gave some.
func reason(err error) error {
	if e, ok := errors.AsType[*acme.AuthorizationError](err); ok && len(e.Errors) > 0 {
		if p, ok := errors.AsType[*acme.Error](e.Errors[0]); ok {
			return errors.New(p.Detail)
		}
		return e.Errors[0]
	}
	return err
}
