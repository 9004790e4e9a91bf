package returnpath

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// Tag names one recipient of one message.
type Tag struct {
	ID        relay.QueueID
	Recipient int // index into Message.Recipients, as the message was accepted
}

// prefix begins the local part of a signed address.
const prefix = "bounces+"

// A tag is the key of the queue ID (7 octets), its directory (3), the recipient (2) and
// the first 12 octets of an HMAC of these: 39 letters and digits. With the prefix they
// are 47 octets of the 64 that a local part may have (RFC 5321 §4.5.3.1.1).
const (
	namesOctets = 12
	macOctets   = 12
	keyOctets   = 32
)

// alphabet is in lower case: some hosts change letters to it (RFC 4648 §6).
var alphabet = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// secret is what tags are signed with.
type secret []byte

// openSecret reads the key of a data directory, which is made if it is missing.
func openSecret(dir string) (secret, error) {
	path := filepath.Join(dir, "return-path.key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, keyOctets)
		_, _ = rand.Read(key) // never fails (crypto/rand)
		err = durable.Write(path, key, 0o600)
	}
	if err == nil && len(key) < keyOctets {
		err = fmt.Errorf("%s is cut short: put it back from a backup, or remove it, and addresses sent out so far are not known any more", path)
	}
	return key, err
}

func (s secret) mac(names []byte) []byte {
	m := hmac.New(sha256.New, s)
	m.Write([]byte("return address\x00"))
	m.Write(names)
	return m.Sum(nil)[:macOctets]
}

func (s secret) encode(t Tag) string {
	b := binary.BigEndian.AppendUint64(nil, t.ID.Key)[1:]
	b = append(b, byte(t.ID.Dir>>16), byte(t.ID.Dir>>8), byte(t.ID.Dir), byte(t.Recipient>>8), byte(t.Recipient))
	return alphabet.EncodeToString(append(b, s.mac(b)...))
}

var (
	errForeign = errors.New("it is no return address of this relay")
	errExpired = errors.New("the return address has expired")
)

// decode reads a tag that is at most valid old at now.
func (s secret) decode(tag string, now time.Time, valid time.Duration) (t Tag, err error) {
	b, err := alphabet.DecodeString(strings.ToLower(tag))
	if err != nil || len(b) != namesOctets+macOctets || !hmac.Equal(b[namesOctets:], s.mac(b[:namesOctets])) {
		return t, errForeign
	}
	if alphabet.EncodeToString(b) != strings.ToLower(tag) {
		return t, errForeign // with other bits behind the last octet
	}
	t.ID.Key = binary.BigEndian.Uint64(append([]byte{0}, b[:7]...))
	t.ID.Dir = uint32(b[7])<<16 | uint32(b[8])<<8 | uint32(b[9])
	t.Recipient = int(b[10])<<8 | int(b[11])
	if now.Sub(t.ID.Time()) > valid {
		return t, errExpired
	}
	return t, nil
}
