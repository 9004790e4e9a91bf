package submission_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"dawk/relay/identity"
)

// users are those of a real file, where "alice" has the password "secret", may
// send as example.org and at most 1000 octets; "bob" may send what he likes, and
// what "scanner" sends is from scanner@example.org. "broken" cannot be looked up.
type users struct{ *identity.Users }

var secretHash = sync.OnceValue(func() string {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return string(hash)
})

func newUsers(t testing.TB) users {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users.toml")
	check(t, os.WriteFile(file, []byte(`
[[user]]
name = "alice"
password = "`+secretHash()+`"
senders = ["@example.org"]
certificates = ["pc7.example.org"]
max_message_size = "1000"
[[user]]
name = "bob"
password = "`+secretHash()+`"
[[user]]
name = "scanner"
password = "`+secretHash()+`"
rewrite_from = "scanner@example.org"
`), 0o600))
	u, err := identity.Open(file, nil)
	check(t, err)
	return users{u}
}

func (u users) Authenticate(ctx context.Context, name, password string, client netip.Addr) (*identity.User, error) {
	if name == "broken" {
		return nil, errors.New("users.toml: open /etc/secret/path: permission denied")
	}
	return u.Users.Authenticate(ctx, name, password, client)
}
