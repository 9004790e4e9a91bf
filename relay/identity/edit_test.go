package identity_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"dawk/relay/identity"

	"github.com/google/go-cmp/cmp"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Whatever a person wrote around a user stays, octet for octet.
func TestEditorChangesOnlyItsOwnLines(t *testing.T) {
	h1, h2 := hash(t, "first password"), hash(t, "other password")
	const head = "\uFEFF# é our users\r\n\n"
	alice := fmt.Sprintf("[[user]] # alice\n  name = 'alice' # her\n# between\npassword   =   %q   # old\nsenders = [\n \"@example.org\", # all\n]\n", h1)
	const middle = "\n# the next one is the printer\n"
	printer := fmt.Sprintf("[[user]]\npassword = '''%s'''\nname = \"printer\"", h1)
	path := filepath.Join(t.TempDir(), "users.toml")
	write(t, path, head+alice+middle+printer)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	e := identity.Editor{Path: path}

	if err := e.SetPassword("ALICE", h2); err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(alice, h1, h2, 1)
	if diff := cmp.Diff(head+changed+middle+printer, read(t, path)); diff != "" {
		t.Error(diff)
	}
	if err := e.SetPassword("printer", h2); err != nil {
		t.Fatal(err)
	}
	printer2 := fmt.Sprintf("[[user]]\npassword = %q\nname = \"printer\"", h2)
	if diff := cmp.Diff(head+changed+middle+printer2, read(t, path)); diff != "" {
		t.Error(diff)
	}
	if err := e.Add("new@example.org", h1, identity.Policy{}); err != nil {
		t.Fatal(err)
	}
	added := fmt.Sprintf("\n\n[[user]]\nname = \"new@example.org\"\npassword = %q\n", h1)
	if diff := cmp.Diff(head+changed+middle+printer2+added, read(t, path)); diff != "" {
		t.Error(diff)
	}
	if err := e.Remove("alice"); err != nil {
		t.Fatal(err)
	}
	// The blank line above alice went with her.
	if diff := cmp.Diff("\uFEFF# é our users\r\n"+middle+printer2+added, read(t, path)); diff != "" {
		t.Error(diff)
	}
	if err := e.Remove("new@example.org"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("\uFEFF# é our users\r\n"+middle+printer2+"\n", read(t, path)); diff != "" {
		t.Error(diff)
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if names, _ := os.ReadDir(filepath.Dir(path)); len(names) != 1 {
		t.Errorf("something was left beside the file: %v", names)
	}
}

func TestEditorRefuses(t *testing.T) {
	h := hash(t, "first password")
	dir := t.TempDir()
	path := filepath.Join(dir, "users.toml")
	e := identity.Editor{Path: path}
	if err := e.Remove("a"); !errors.Is(err, identity.ErrUnknown) {
		t.Errorf("remove from no file: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a refused change made the file")
	}
	if err := e.Add("a", h, identity.Policy{}); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("a new file has mode %v, %v", st.Mode(), err)
	}
	if err := e.Add("A", h, identity.Policy{}); !errors.Is(err, identity.ErrExists) {
		t.Errorf("twice: %v", err)
	}
	for _, name := range []string{"", "a b", "a\nb", "a\"\n[[user]]", "\xff", "-c", "dawk"} {
		if err := e.Add(name, h, identity.Policy{}); err == nil {
			t.Errorf("%q was added", name)
		}
	}
	for _, name := range []string{`quo"te`, `back\slash`, "বাংলা@example.org", "'"} {
		if err := e.Add(name, h, identity.Policy{}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	users, err := e.List()
	if err != nil || len(users) != 5 || users[1].Name != `quo"te` {
		t.Errorf("%d users, %v", len(users), err)
	}
	for _, broken := range []string{
		fmt.Sprintf("user = [{name = \"a\", password = %[1]q}, {name = \"b\", password = %[1]q}]\n", h),
		"[[user]]\nname = 3\n",
	} {
		write(t, path, broken)
		if err := e.Remove("a"); err == nil {
			t.Errorf("removed from %q", broken)
		}
		if got := read(t, path); got != broken {
			t.Errorf("a refused change left %q", got)
		}
	}
}

func TestEditorsWaitForEachOther(t *testing.T) {
	h := hash(t, "first password")
	real := filepath.Join(t.TempDir(), "real.toml")
	write(t, real, "# here\n")
	link := filepath.Join(filepath.Dir(real), "users.toml")
	if err := os.Symlink("real.toml", link); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if err := (identity.Editor{Path: link}).Add(fmt.Sprint("u", i), h, identity.Policy{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	users, err := identity.Editor{Path: real}.List()
	if err != nil || len(users) != 10 {
		t.Errorf("%d users, %v", len(users), err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link was replaced: %v, %v", st, err)
	}
}
