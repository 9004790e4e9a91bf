package identity

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dawk/relay/tomlfile"
)

// A token is "dawk_" and 128 random bits or more. No person has chosen it, so a plain SHA-256 of it
// cannot be guessed, and a check is so cheap that it needs no limit.
const (
	tokenPrefix = "dawk_"
	tokenHash   = "sha256:"
	maxToken    = 256 // octets
	maxTokens   = 100 // of a user
)

// NewToken makes a token, to be shown once, and the hash for the file.
func NewToken() (token, hash string) {
	token = tokenPrefix + rand.Text()
	return token, HashToken(token)
}

// HashToken is the hash of a token, as files keep it.
func HashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return tokenHash + hex.EncodeToString(sum[:])
}

// checkToken says what is wrong with an entry of `tokens`. It never quotes the entry: somebody may
// have written the token itself.
func checkToken(s string) error {
	digest, ok := strings.CutPrefix(s, tokenHash)
	raw, err := hex.DecodeString(digest)
	if !ok || err != nil || len(raw) != sha256.Size || strings.ToLower(digest) != digest {
		return errors.New("it is not a token's hash: make a token with `dawk user token NAME`, which keeps only the hash")
	}
	return nil
}

// AuthenticateToken is Authenticate for a token. Its error is ErrCredentials.
func (u *Users) AuthenticateToken(token string, client netip.Addr) (*User, error) {
	u.refresh()
	if len(token) > maxToken || !strings.HasPrefix(token, tokenPrefix) {
		return nil, fmt.Errorf("%w: not a token", ErrCredentials)
	}
	user := u.table.Load().byToken[HashToken(token)] // the comparison is of hashes, so its time discloses nothing about tokens
	switch {
	case user == nil:
		return nil, fmt.Errorf("%w: no such token", ErrCredentials)
	case !user.mayComeFrom(client):
		return nil, fmt.Errorf("%w: %s is not in the user's networks", ErrCredentials, client)
	}
	return user, nil
}

// AddToken adds the hash of a token to a user. ErrUnknown.
func (e Editor) AddToken(name, hash string) error {
	if err := checkToken(hash); err != nil {
		return err
	}
	return e.change(func(data []byte, t *table, doc *tomlfile.Document) ([]byte, error) {
		i, err := t.index(name)
		if err != nil {
			return nil, err
		}
		if len(t.list[i].tokens) >= maxTokens {
			return nil, fmt.Errorf("%s has %d tokens already; remove them with `dawk user token --remove %[1]s`", name, maxTokens)
		}
		if n := len(t.list[i].tokens); n > 0 {
			_, to, ok := doc.Span(fmt.Sprintf("user[%d].tokens[%d]", i, n-1))
			if !ok {
				return nil, fmt.Errorf("the tokens of %s are not where an editor finds them: change the file by hand", name)
			}
			return slices.Concat(data[:to], []byte(", "+strconv.Quote(hash)), data[to:]), nil
		}
		if at, ok := emptyList(data, doc.Line(fmt.Sprintf("user[%d].tokens", i))); doc.Has(fmt.Sprintf("user[%d].tokens", i)) && ok {
			return slices.Concat(data[:at], []byte(strconv.Quote(hash)), data[at:]), nil
		}
		_, at, ok := doc.Span(fmt.Sprintf("user[%d].password", i))
		if !ok {
			return nil, fmt.Errorf("the password of %s is not where an editor finds it: change the file by hand", name)
		}
		line := "tokens = [" + strconv.Quote(hash) + "]"
		if end := bytes.IndexByte(data[at:], '\n'); end >= 0 {
			at += end + 1
			return slices.Concat(data[:at], []byte(line+"\n"), data[at:]), nil
		}
		return slices.Concat(data, []byte("\n"+line+"\n")), nil
	})
}

// RemoveTokens takes all tokens from a user. ErrUnknown.
func (e Editor) RemoveTokens(name string) error {
	return e.change(func(data []byte, t *table, doc *tomlfile.Document) ([]byte, error) {
		i, err := t.index(name)
		if err != nil {
			return nil, err
		}
		n := len(t.list[i].tokens)
		if n == 0 {
			return data, nil
		}
		from, _, ok1 := doc.Span(fmt.Sprintf("user[%d].tokens[0]", i))
		_, to, ok2 := doc.Span(fmt.Sprintf("user[%d].tokens[%d]", i, n-1))
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("the tokens of %s are not where an editor finds them: change the file by hand", name)
		}
		rest := data[to:]
		if after := bytes.TrimLeft(rest, " \t\r\n"); bytes.HasPrefix(after, []byte(",")) {
			rest = after[1:]
		}
		return slices.Concat(data[:from], rest), nil
	})
}

// listBegin is the beginning of a list of tokens.
var listBegin = regexp.MustCompile(`^\s*tokens\s*=\s*\[`)

// emptyList is the position for the first entry of a list that begins in a line of data.
func emptyList(data []byte, line int) (at int, ok bool) {
	for n, l := range bytes.SplitAfter(data, []byte("\n")) {
		if n+1 == line {
			m := listBegin.Find(l)
			return at + len(m), m != nil
		}
		at += len(l)
	}
	return 0, false
}
