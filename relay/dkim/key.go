package dkim

import (
	"cmp"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/durable"
)

// Key names a private key and where its public half is published.
type Key struct {
	Domain   string // d=; any form that relay.NormalizeDomain takes
	Selector string // s=
	File     string // PEM: PKCS #8, or PKCS #1 for RSA

	Identities []string // whose mail it signs, as relay.Message.SubmittedBy wants them
}

// Signs says whether the key signs mail of whoever submitted m. It always signs
// what the relay itself writes.
func (k Key) Signs(m *relay.Message) bool {
	return m.Notice || m.Identity == "dawk" || m.SubmittedBy(k.Identities)
}

// RecordName is where DNS holds the public half (RFC 6376 §3.6.2.1).
func (k Key) RecordName() string { return k.Selector + "._domainkey." + k.Domain }

// Normalize checks the names and puts the domain into A-labels.
func (k Key) Normalize() (Key, error) {
	d, err := relay.NormalizeDomain(k.Domain)
	if err != nil || strings.HasPrefix(d, "[") {
		return k, fmt.Errorf("domain %q is not a domain: write it like \"example.org\"", relay.Clip(k.Domain))
	}
	k.Domain, k.Selector = d, strings.ToLower(k.Selector)
	if !isSelector(k.Selector) {
		return k, fmt.Errorf("selector %q is not a label of DNS: letters, digits and hyphens, like \"2026a\"", relay.Clip(k.Selector))
	}
	return k, nil
}

// isSelector follows RFC 6376 §3.1: sub-domain *("." sub-domain).
func isSelector(s string) bool {
	d, err := relay.NormalizeDomain(s)
	return err == nil && d == s && len(s) <= 200 && !strings.ContainsAny(s, "_[")
}

// Sizes of RSA keys, in bits (RFC 8301 §3.2). Above the largest, a record does
// not fit what resolvers carry, and verifiers give up.
const (
	minRSA     = 1024
	maxRSA     = 4096
	defaultRSA = 2048
)

const maxKeyFile = 64 << 10 // octets

// LoadKey reads a private key file. Its error never holds the content.
func LoadKey(file string) (crypto.Signer, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, durable.Unreadable(file, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	var key crypto.Signer
	if err == nil {
		key, err = parseKey(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return key, nil
}

var errNoKey = errors.New("it holds no private key for DKIM: a PEM file with an RSA or Ed25519 key is needed, as `dawk dkim new` makes it")

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errNoKey
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED PRIVATE KEY":
		return nil, errors.New("the key is encrypted; nobody is there to type its password, so it must not be")
	}
	if key == nil || err != nil {
		return nil, errNoKey
	}
	switch k := key.(type) {
	case *rsa.PrivateKey:
		if n := k.N.BitLen(); n < minRSA || n > maxRSA {
			return nil, fmt.Errorf("the RSA key has %d bits; verifiers take %d to %d, best 2048 (RFC 8301)", n, minRSA, maxRSA)
		}
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	}
	return nil, errNoKey
}

// NewKey makes a private key: "rsa" (2048 bits) or "ed25519". It returns the
// key and its file's content, PKCS #8 in PEM.
func NewKey(kind string) (crypto.Signer, []byte, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case "rsa":
		key, err = rsa.GenerateKey(rand.Reader, defaultRSA)
	case "ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, nil, fmt.Errorf("%q is not a kind of key: it is rsa or ed25519", relay.Clip(kind))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Record is the content of the TXT record for a key (RFC 6376 §3.6.1). RSA
// keys stand there as SubjectPublicKeyInfo, Ed25519 keys bare (RFC 8463 §4.2).
func Record(key crypto.Signer) string {
	kind, public := "rsa", []byte(nil)
	switch k := key.Public().(type) {
	case ed25519.PublicKey:
		kind, public = "ed25519", k
	case *rsa.PublicKey:
		public, _ = x509.MarshalPKIXPublicKey(k) // cannot fail for RSA
	}
	return "v=DKIM1; k=" + kind + "; p=" + base64.StdEncoding.EncodeToString(public)
}

// Errors of CheckRecord; tested with errors.Is.
var (
	ErrRevoked = errors.New("the record says that the key is revoked (empty p=)")
	ErrOther   = errors.New("the record holds another key")
	ErrTesting = errors.New("the record says that signatures are a test (t=y): receivers treat the mail as unsigned")
	ErrInvalid = errors.New("the record is not a DKIM key")
)

// CheckRecord says whether a TXT record publishes the public half of key.
// With ErrTesting alone, it does.
func CheckRecord(record string, key crypto.Signer) error {
	tags := map[string]string{}
	for tag := range strings.SplitSeq(record, ";") {
		name, value, _ := strings.Cut(tag, "=")
		tags[strings.TrimSpace(name)] = strings.Map(func(r rune) rune {
			if strings.ContainsRune(" \t\r\n", r) {
				return -1 // RFC 6376 §3.2: folding white space means nothing
			}
			return r
		}, value)
	}
	published, ok := tags["p"]
	want := Record(key)
	kind, services := cmp.Or(tags["k"], "rsa"), strings.Split(tags["s"], ":")
	switch {
	case tags["v"] != "" && tags["v"] != "DKIM1", !ok:
		return ErrInvalid
	case published == "":
		return ErrRevoked
	case !strings.HasSuffix(want, "k="+kind+"; p="+published):
		return ErrOther
	case tags["s"] != "" && !slices.Contains(services, "*") && !slices.Contains(services, "email"):
		return fmt.Errorf("%w for mail: it says s=%s", ErrInvalid, relay.Clip(relay.Sanitize(tags["s"])))
	}
	if slices.Contains(strings.Split(tags["t"], ":"), "y") {
		return ErrTesting
	}
	return nil
}
