package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay/admin/operator"
	"dawk/relay/identity"
)

func TestCheckOperators(t *testing.T) {
	path := filepath.Join(t.TempDir(), "operators.toml")
	cfg := &config.Config{}
	c := &checker{cfg: cfg}
	if got := c.operators(t.Context()); got != nil {
		t.Errorf("without operators: %v", lines(got))
	}
	cfg.Admin.Operators = path
	says := func(want string) {
		t.Helper()
		if got := lines(c.operators(t.Context())); len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	says("warning: " + path + " holds nobody")
	_, hash := identity.NewToken()
	if err := (operator.Editor{Path: path}).AddToken(operator.Token{Name: "look", Role: operator.Read, Hash: hash}); err != nil {
		t.Fatal(err)
	}
	says("ok: 0 operators and 1 token")
	for mode, want := range map[os.FileMode]string{0o644: "warning: every user", 0o666: "error: others may write", 0o660: "error: others may write"} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		says(want)
	}
	writeFile(t, path, "[[token]\n")
	says("error: " + path + ":")
}
