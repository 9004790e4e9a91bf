package sendmail_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dawk/relay"
	"dawk/relay/sendmail"
)

func open(t testing.TB, text string) (*sendmail.Aliases, string, *bytes.Buffer) {
	t.Helper()
	path, log := filepath.Join(t.TempDir(), "aliases"), new(bytes.Buffer)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	a, err := sendmail.OpenAliases(path, "office.test", slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return a, path, log
}

func expand(t testing.TB, a *sendmail.Aliases, address string) string {
	t.Helper()
	p, err := relay.ParsePath(address)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, q := range a.Expand(p) {
		list = append(list, q.String())
	}
	return strings.Join(list, " ")
}

func TestAliases(t *testing.T) {
	a, path, log := open(t, `# people
Postmaster:	root
root:	admin@b.test, ops,
	night@b.test   # who is there
ops: one@b.test, "two words"@b.test, root
"quoted name" : three@b.test
self: self, four@b.test
real: \real, five@b.test
a: b
b: a
nobody: /dev/null
news: |/usr/bin/newsd, "| sort", :include:/etc/list, six@b.test
bad: jim@
no alias
`)
	for address, want := range map[string]string{
		"root@office.test":          `admin@b.test one@b.test "two words"@b.test root@office.test night@b.test`,
		"ROOT@office.test":          `admin@b.test one@b.test "two words"@b.test root@office.test night@b.test`,
		"postmaster":                `admin@b.test one@b.test "two words"@b.test root@office.test night@b.test`,
		"root@b.test":               "root@b.test",
		`"quoted name"@office.test`: "three@b.test",
		"self@office.test":          "self@office.test four@b.test",
		"real@office.test":          "real@office.test five@b.test",
		"a@office.test":             "a@office.test",
		"nobody@office.test":        "nobody@office.test",
		"news@office.test":          "six@b.test",
		"bad@office.test":           "bad@office.test",
		"other@office.test":         "other@office.test",
	} {
		if diff := cmp.Diff(want, expand(t, a, address)); diff != "" {
			t.Errorf("%s: %s", address, diff)
		}
	}
	for _, why := range []string{"nobody: files are not written", "news: programs are not run", "news: lists in other files", "bad: this is not an address", "line 14"} {
		if !strings.Contains(log.String(), why) {
			t.Errorf("the log lacks %q:\n%s", why, log)
		}
	}
	// A changed file holds at once; one that has gone changes nothing.
	if err := os.WriteFile(path, []byte("root: new@b.test\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if got := expand(t, a, "root@office.test"); got != "new@b.test" {
		t.Errorf("after a change: %s", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := expand(t, a, "root@office.test"); got != "new@b.test" {
		t.Errorf("without the file: %s", got)
	}
}

// Aliases that name each other end, and no recipient becomes a flood.
func TestAliasesAreBounded(t *testing.T) {
	var b strings.Builder
	for i := range 100 {
		fmt.Fprintf(&b, "n%d: ", i)
		for j := range 50 {
			fmt.Fprintf(&b, "n%d, x%d-%d@b.test, ", (i+j)%100, i, j)
		}
		b.WriteString("\n")
	}
	a, _, _ := open(t, b.String())
	if n := len(strings.Fields(expand(t, a, "n0@office.test"))); n > 1000 {
		t.Errorf("%d recipients", n)
	}
}

// FuzzAliases: whatever the file says, a recipient becomes some recipients, all
// of which are addresses.
func FuzzAliases(f *testing.F) {
	f.Add("root: a@b.test, \\b, \"|x\"\n c #d\n\"q\" : /f\n", "root")
	f.Fuzz(func(t *testing.T, text, name string) {
		p, err := relay.NewPath(name, "office.test")
		if err != nil {
			return
		}
		a, _, _ := open(t, text)
		list := a.Expand(p)
		if len(list) == 0 || len(list) > 1000 {
			t.Fatalf("%d recipients", len(list))
		}
		for _, q := range list {
			if q.IsNull() || q.Domain() == "" {
				t.Errorf("%q", q)
			}
		}
	})
}
