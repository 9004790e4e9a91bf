// Package unsubscribe makes the tokens of List-Unsubscribe fields (RFC 8058 §3.1): a token
// is opaque to everybody but this relay, and names whose mail which recipient does not
// want. It has no goroutines and no locks. Begin reading at Tokens.Make.
package unsubscribe

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dawk/relay/durable"
)

// Placeholder is what stands in a URL for the token.
const Placeholder = "{token}"

// Tokens makes tokens and reads them.
type Tokens struct {
	seal  cipher.AEAD
	nonce []byte // key of the HMAC that nonces are: a token is the same each time
}

// ErrToken says that a token is none of this relay.
var ErrToken = errors.New("this is no token of an unsubscribe link of this relay")

const keyOctets = 32

// Open reads the key in a data directory, which is made if it is missing.
func Open(dir string) (*Tokens, error) {
	path := filepath.Join(dir, "unsubscribe.key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, keyOctets)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		err = durable.Write(path, key, 0o600)
	}
	if err == nil && len(key) < keyOctets {
		err = fmt.Errorf("%s is cut short: put it back from a backup, or remove it, and links sent out so far do not work any more", path)
	}
	if err != nil {
		return nil, fmt.Errorf("tokens of unsubscribe links: %w", err)
	}
	block, err := aes.NewCipher(derive(key, "seal"))
	if err != nil {
		return nil, err
	}
	seal, err := cipher.NewGCM(block)
	return &Tokens{seal: seal, nonce: derive(key, "nonce")}, err
}

func derive(key []byte, what string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte("unsubscribe " + what))
	return m.Sum(nil)
}

// Make is the token for a recipient of the mail of an identity.
func (t *Tokens) Make(identity, address string) string {
	plain := []byte(identity + "\x00" + address)
	m := hmac.New(sha256.New, t.nonce)
	m.Write(plain)
	nonce := m.Sum(nil)[:t.seal.NonceSize()]
	return base64.RawURLEncoding.EncodeToString(t.seal.Seal(nonce, nonce, plain, nil))
}

// Read gives back what Make was given, or ErrToken.
func (t *Tokens) Read(token string) (identity, address string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	n := t.seal.NonceSize()
	if err != nil || len(b) < n {
		return "", "", ErrToken
	}
	plain, err := t.seal.Open(nil, b[:n], b[n:], nil)
	if err != nil {
		return "", "", ErrToken
	}
	identity, address, _ = strings.Cut(string(plain), "\x00")
	return identity, address, nil
}
