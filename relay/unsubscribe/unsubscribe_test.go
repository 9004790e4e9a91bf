package unsubscribe

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A token is the same each time, also after a restart, tells nobody anything, and comes
// back as what it was made of; no other text is one.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	a, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	token := a.Make("shop", "reader@example.com")
	if url.PathEscape(token) != token || strings.Contains(token, "reader") || token == a.Make("crm", "reader@example.com") {
		t.Errorf("%q", token)
	}
	b, err := Open(dir)
	if err != nil || b.Make("shop", "reader@example.com") != token {
		t.Errorf("%v: another token after a restart", err)
	}
	if who, to, err := b.Read(token); err != nil || who != "shop" || to != "reader@example.com" {
		t.Error(who, to, err)
	}
	for i := range token {
		forged := []byte(token)
		if forged[i]++; string(forged) == token {
			continue
		}
		if who, to, err := b.Read(string(forged)); err == nil && (who != "shop" || to != "reader@example.com") {
			t.Errorf("%q names %q %q", forged, who, to)
		}
	}
	for _, bad := range []string{"", "x", "====", token + token, token[:20]} {
		if _, _, err := b.Read(bad); err != ErrToken {
			t.Errorf("%q: %v", bad, err)
		}
	}
	foreign, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := foreign.Read(token); err != ErrToken {
		t.Error("another relay reads it")
	}
	if info, err := os.Stat(filepath.Join(dir, "unsubscribe.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the key is not private", err)
	}
	os.WriteFile(filepath.Join(dir, "unsubscribe.key"), nil, 0o600)
	if _, err := Open(dir); err == nil {
		t.Error("an empty key is taken")
	}
}
