package oauth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/relay/durable"
)

// KeyName is the file of the key, beside the tokens.
const KeyName = "key"

// kept is what is stored of a login.
type kept struct {
	Refresh string    `json:"refresh_token"`
	Seed    string    `json:"seed,omitempty"` // SHA-256 of the refresh_token_file that it descends from
	At      time.Time `json:"at"`
}

// store is one login's file in the data directory: AES-256-GCM with a key in the same directory.
// That keeps tokens out of backups of single files, support bundles and logs; whoever can read the
// whole directory has both.
type store struct {
	dir, path string
	bound     []byte // authenticated: a file that was moved to another login does not open
}

func newStore(c Config) *store {
	bound := strings.Join([]string{"dawk oauth 1", c.Route, c.User, c.TokenURL, c.ClientID}, "\x00")
	sum := sha256.Sum256([]byte(bound))
	return &store{dir: c.Dir, path: filepath.Join(c.Dir, hex.EncodeToString(sum[:8])+".token"), bound: []byte(bound)}
}

// load is the zero value when nothing is stored.
func (s *store) load() (k kept, err error) {
	sealed, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return kept{}, nil
	}
	if err != nil {
		return kept{}, fmt.Errorf("read the stored token: %w", err)
	}
	gcm, err := s.cipher(false)
	if err != nil {
		return kept{}, err
	}
	n := gcm.NonceSize()
	if len(sealed) < n {
		return kept{}, s.damaged()
	}
	plain, err := gcm.Open(nil, sealed[:n], sealed[n:], s.bound)
	if err != nil || json.Unmarshal(plain, &k) != nil {
		return kept{}, s.damaged()
	}
	return k, nil
}

func (s *store) damaged() error {
	return fmt.Errorf("the stored token %s does not fit the key beside it: log in again with dawk oauth login", s.path)
}

// save is durable when it returns: a rotated token is worth nothing if a
// crash leaves only the old one.
func (s *store) save(k kept) error {
	gcm, err := s.cipher(true)
	if err != nil {
		return err
	}
	plain, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encode the token: %w", err)
	}
	nonce := make([]byte, gcm.NonceSize())
	rand.Read(nonce) //nolint:errcheck // it never fails
	if err := WriteSecret(s.path, gcm.Seal(nonce, nonce, plain, s.bound)); err != nil {
		return fmt.Errorf("store the token: %w", err)
	}
	return nil
}

func (s *store) cipher(make bool) (cipher.AEAD, error) {
	key, err := s.key(make)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("the key of stored tokens: %w", err)
	}
	return cipher.NewGCM(block)
}

const keySize = 32

// key reads the key, or makes it if it may. If two processes make it at the same time, both use the
// key of one of them.
func (s *store) key(create bool) ([]byte, error) {
	path := filepath.Join(s.dir, KeyName)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		err := durable.MkdirAll(s.dir, 0o700)
		if err == nil {
			err = durable.SyncDir(filepath.Dir(s.dir))
		}
		if err != nil {
			return nil, fmt.Errorf("make the directory of tokens: %w", err)
		}
		fresh := make([]byte, keySize)
		rand.Read(fresh) //nolint:errcheck // it never fails
		if err := durable.New(path, fresh); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make the key of stored tokens: %w", err)
		}
		return s.key(false)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of stored tokens: %w", err)
	}
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of stored tokens %s is damaged: remove it and log in again with dawk oauth login", path)
	}
	return key, nil
}

// WriteSecret replaces a file with a secret, atomically and on stable storage, and keeps mode and
// owner of the file that was there. A token that root wrote must be readable for the relay, so root
// gives a new file to the owner of its directory. Other users cannot keep a foreign owner, and
// write the file all the same: a rotated token that is not stored is lost.
func WriteSecret(path string, data []byte) error {
	f, err := durable.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Inherit(); err != nil && !errors.Is(err, durable.ErrOwner) {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}
