package submission

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"

	"dawk/relay/durable"
)

// Certificates is a certificate with its key, in two PEM files, that is read
// again when the files change. It is safe for concurrent use.
type Certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	checked time.Time
	state   [2]fileState // of the files that were read last, whether they could be used or not
	refused error        // why the files that were read last are not in use; nil: they are
	ended   bool         // that the one in use has expired was logged
}

type fileState struct {
	modified time.Time
	size     int64
}

const certCheckEvery = time.Second

// LoadCertificates reads the pair. The error says which file and what to do.
func LoadCertificates(certFile, keyFile string, log *slog.Logger) (*Certificates, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Certificates{certFile: certFile, keyFile: keyFile, log: log, checked: time.Now(), state: states(certFile, keyFile)}
	var err error
	if c.current, err = loadPair(certFile, keyFile); err != nil {
		return c, err
	}
	c.tellEnd(time.Now())
	return c, nil
}

func loadPair(certFile, keyFile string) (*tls.Certificate, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", certFile, keyFile, err)
	}
	return &cert, nil
}

func states(files ...string) (s [2]fileState) {
	for i, f := range files {
		if fi, err := os.Stat(f); err == nil {
			s[i] = fileState{fi.ModTime(), fi.Size()}
		}
	}
	return s
}

// Get is for tls.Config.GetCertificate. It looks at the files at most once a
// second. A new pair that cannot be read, perhaps because only one half is
// written yet, is logged and leaves the old one in use.
func (c *Certificates) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return c.current, nil
}

// look reads the files again if they have changed. One that has expired never
// takes the place of one that has not.
func (c *Certificates) look() {
	now := time.Now()
	if now.Sub(c.checked) < certCheckEvery {
		return
	}
	c.checked = now
	defer c.tellEnd(now)
	state := states(c.certFile, c.keyFile)
	fresh := state != c.state
	if !fresh && c.refused == nil {
		return
	}
	c.state = state
	cert, err := loadPair(c.certFile, c.keyFile)
	if err == nil && !valid(cert, now) && valid(c.current, now) {
		err = fmt.Errorf("certificate %s is valid from %s to %s only", c.certFile, day(cert.Leaf.NotBefore), day(cert.Leaf.NotAfter))
	}
	if c.refused = err; err != nil { // it is looked at again: its time may come, or its other half
		if fresh {
			c.log.Error("the new certificate cannot be used; the old one stays in use", "err", err)
		}
		return
	}
	c.current, c.ended = cert, false
	c.log.Info("certificate loaded again", "file", c.certFile, "until", cert.Leaf.NotAfter)
}

func valid(c *tls.Certificate, now time.Time) bool {
	return !now.Before(c.Leaf.NotBefore) && !now.After(c.Leaf.NotAfter)
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02") }

// tellEnd logs, once, that the certificate in use has expired.
func (c *Certificates) tellEnd(now time.Time) {
	if now.After(c.current.Leaf.NotAfter) && !c.ended {
		c.ended = true
		c.log.Error("the certificate has expired, and clients that check it do not send; renew it", "file", c.certFile, "until", c.current.Leaf.NotAfter)
	}
}

// Trouble says what is wrong with the certificate, or with the files that were to
// replace it; nil: nothing is.
func (c *Certificates) Trouble() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	now := time.Now()
	switch {
	case c.refused != nil:
		return fmt.Errorf("%w; the one from before stays in use until %s", c.refused, day(c.current.Leaf.NotAfter))
	case now.After(c.current.Leaf.NotAfter):
		return fmt.Errorf("certificate %s has expired on %s", c.certFile, day(c.current.Leaf.NotAfter))
	case now.Before(c.current.Leaf.NotBefore):
		return fmt.Errorf("certificate %s is not valid before %s", c.certFile, day(c.current.Leaf.NotBefore))
	}
	return nil
}

// Valid says whether the certificate in use is valid now.
func (c *Certificates) Valid() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return valid(c.current, time.Now())
}

// File is where the certificate is.
func (c *Certificates) File() string { return c.certFile }

// NotAfter is when the certificate in use expires.
func (c *Certificates) NotAfter() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current.Leaf.NotAfter
}

const (
	selfSignedLife  = 10 * 365 * 24 * time.Hour
	selfSignedRenew = 30 * 24 * time.Hour // before its end
)

// SelfSigned gives the files of a self-signed certificate for hostname in
// dir, and makes them if they are missing, about to expire, or for another
// name. No client that checks certificates can trust it; it protects passwords
// only from those who listen on the wire.
func SelfSigned(dir, hostname string) (certFile, keyFile string, made bool, err error) {
	certFile, keyFile = filepath.Join(dir, "self-signed.crt"), filepath.Join(dir, "self-signed.key")
	if pair, err := loadPair(certFile, keyFile); err == nil &&
		pair.Leaf.VerifyHostname(hostname) == nil && time.Until(pair.Leaf.NotAfter) > selfSignedRenew {
		return certFile, keyFile, false, nil
	}
	cert, key, err := makeSelfSigned(hostname, time.Now())
	if err != nil {
		return "", "", false, fmt.Errorf("make a self-signed certificate: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{{keyFile, key, 0o600}, {certFile, cert, 0o644}} {
		if err := durable.Write(f.name, f.data, f.mode); err != nil {
			return "", "", false, fmt.Errorf("write the self-signed certificate: %w", err)
		}
	}
	return certFile, keyFile, true, nil
}

func makeSelfSigned(hostname string, now time.Time) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: hostname}, DNSNames: []string{hostname},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedLife), // clients' clocks may be slow
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), nil
}
