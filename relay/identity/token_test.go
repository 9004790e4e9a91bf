package identity_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dawk/relay/identity"
)

func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.toml")
	h := hash(t, "correct horse")
	write(t, path, "[[user]]\nname = \"app\"\npassword = '"+h+"' # hers\nnetworks = [\"192.0.2.0/24\"]\n[[user]]\nname = \"other\"\npassword = '"+h+"'\ntokens = [\n] # none")
	e := identity.Editor{Path: path}
	made := map[string]string{}
	for _, name := range []string{"app", "other", "APP", "other"} {
		token, hash := identity.NewToken()
		if err := e.AddToken(name, hash); err != nil {
			t.Fatal(err)
		}
		made[token] = strings.ToLower(name)
		if b, _ := os.ReadFile(path); strings.Contains(string(b), token) {
			t.Fatal("the file holds the token itself")
		}
	}
	if err := e.AddToken("nobody", "sha256:"+strings.Repeat("0", 64)); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("a token for nobody: %v", err)
	}
	users, err := identity.Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for token, name := range made {
		if u, err := users.AuthenticateToken(token, home); err != nil || u.Name != name || u.Tokens() != 2 {
			t.Errorf("%s: %v, %v", name, u, err)
		}
		for _, wrong := range []string{"", token[:len(token)-1], token + "A", strings.ToLower(token), strings.TrimPrefix(token, "dawk_")} {
			if _, err := users.AuthenticateToken(wrong, home); !errors.Is(err, identity.ErrCredentials) {
				t.Errorf("%q: %v", wrong, err)
			}
		}
		_, err := users.AuthenticateToken(token, netip.MustParseAddr("198.51.100.1"))
		if (name == "app") != errors.Is(err, identity.ErrCredentials) {
			t.Errorf("%s from elsewhere: %v", name, err)
		}
	}
	if err := e.RemoveTokens("app"); err != nil {
		t.Fatal(err)
	}
	list, err := e.List()
	if err != nil || list[0].Tokens() != 0 || list[1].Tokens() != 2 {
		t.Errorf("after removal: %v", err)
	}
	_, h2 := identity.NewToken()
	if err := e.AddToken("app", h2); err != nil { // into the list that is empty now
		t.Error(err)
	}
	if !strings.Contains(read(t, path), "' # hers\n") {
		t.Errorf("a comment is gone:\n%s", read(t, path))
	}
}

// A token instead of its hash is refused, and not repeated.
func TestTokenInFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.toml")
	token, _ := identity.NewToken()
	write(t, path, "[[user]]\nname = \"app\"\npassword = '"+hash(t, "correct horse")+"'\ntokens = [\""+token+"\"]\n")
	_, err := identity.Open(path, nil)
	if err == nil || strings.Contains(err.Error(), token) {
		t.Errorf("%v", err)
	}
}
