package identity

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What new passwords are hashed with (RFC 9106 §4; OWASP's figures): about
// 48 ms of one core and 19 MiB.
const (
	defaultMemory  = 19 << 10 // KiB
	defaultTime    = 2
	defaultThreads = 1
	saltLen        = 16
	digestLen      = 32

	minPassword = 8       // characters
	maxMemory   = 1 << 20 // KiB; more would let one login take the machine's memory
	maxTime     = 64
)

// passwordHash is the value of `password`: an argon2id PHC string or bcrypt.
type passwordHash struct {
	text   string
	argon  *argonParams // nil: bcrypt
	salt   []byte
	digest []byte
}

type argonParams struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

var errHash = errors.New("it is not a password hash: set it with `dawk user passwd NAME`, which keeps only the argon2id hash (bcrypt is accepted too)")

// parseHash reads what the file holds. Its errors never quote it: somebody may have written the
// password itself.
func parseHash(s string) (*passwordHash, error) {
	switch {
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		cost, err := bcrypt.Cost([]byte(s))
		if err != nil || len(s) != 60 {
			return nil, errHash
		}
		if cost > 16 { // 5 s of a core
			return nil, fmt.Errorf("its bcrypt cost %d is too high; at most 16", cost)
		}
		return &passwordHash{text: s}, nil
	}
	return nil, errHash
}

// CheckHash says what is wrong with a stored hash, without quoting it.
func CheckHash(s string) error {
	_, err := parseHash(s)
	return err
}

// parseArgon reads $argon2id$v=19$m=19456,t=2,p=1$salt$digest.
func parseArgon(s string) (*passwordHash, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, errHash
	}
	var p argonParams
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.memory, &p.time, &p.threads); err != nil || parts[3] != p.String() {
		return nil, errHash
	}
	if p.memory < 8*uint32(p.threads) || p.memory > maxMemory || p.time < 1 || p.time > maxTime || p.threads < 1 {
		return nil, fmt.Errorf("its argon2id parameters %s are out of range", p)
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	digest, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(digest) < 16 || len(digest) > 64 {
		return nil, errHash
	}
	return &passwordHash{text: s, argon: &p, salt: salt, digest: digest}, nil
}

func (p argonParams) String() string {
	return fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads)
}

func (h *passwordHash) matches(password string) bool {
	if h.argon == nil {
		return bcrypt.CompareHashAndPassword([]byte(h.text), []byte(password)) == nil
	}
	sum := argon2.IDKey([]byte(password), h.salt, h.argon.time, h.argon.memory, h.argon.threads, uint32(len(h.digest)))
	return equalDigest(sum, h.digest)
}

// kind is the name of the algorithm, for lists.
func (h *passwordHash) kind() string {
	if h.argon == nil {
		return "bcrypt"
	}
	return "argon2id"
}

// HashPassword makes the PHC string to store. Its error is a sentence about
// what is wrong with the password.
func HashPassword(password string) (string, error) {
	switch {
	case !utf8.ValidString(password) || strings.ContainsAny(password, "\x00\r\n"):
		return "", errors.New("the password must be one line of UTF-8 text")
	case utf8.RuneCountInString(password) < minPassword:
		return "", fmt.Errorf("the password is too short: it needs at least %d characters", minPassword)
	case len(password) > maxPassword:
		return "", fmt.Errorf("the password is too long: it may have at most %d octets", maxPassword)
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	p := argonParams{defaultMemory, defaultTime, defaultThreads}
	sum := argon2.IDKey([]byte(password), salt, p.time, p.memory, p.threads, digestLen)
	enc := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$%s$%s$%s", argon2.Version, p, enc(salt), enc(sum)), nil
}
