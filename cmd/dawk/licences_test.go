package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/licensecheck"
)

// permissive are the licences that ask for no more than to be named.
var permissive = []string{"MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "ISC"}

// Every module that is linked into dawk has a permissive licence, read from its own
// text, and docs/internals/dependencies.md names the module with it.
func TestLicencesArePermissive(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}} {{.Dir}}{{end}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Fields(string(out))
	page := read(t, "../../docs/internals/dependencies.md")
	seen := map[string]bool{}
	for i := 0; i+1 < len(lines); i += 2 {
		path, dir := lines[i], lines[i+1]
		if seen[path] {
			continue
		}
		seen[path] = true
		licence := licenceOf(t, dir)
		if !slices.Contains(permissive, licence) {
			t.Errorf("%s: its licence is %q, which is none of %q", path, licence, permissive)
		}
		row := regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(path) + "`[^|]*\\| ([^ |]+)").FindStringSubmatch(page)
		if row == nil {
			t.Errorf("docs/internals/dependencies.md has no row for %s, which is under %s", path, licence)
		} else if row[1] != licence {
			t.Errorf("docs/internals/dependencies.md: %s is under %s, not %s", path, licence, row[1])
		}
	}
	if len(seen) < 20 {
		t.Errorf("only %d modules: %q", len(seen), out)
	}
}

// licenceOf is what the text in a module's folder says; "" unless all of the text is
// known to be of one licence.
func licenceOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(dir + "/[LC][IO][CP][EY][NI]*") // LICENSE, LICENCE, COPYING, with any ending
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if c := licensecheck.Scan(text); c.Percent > 80 && len(c.Match) == 1 {
			return c.Match[0].ID
		}
	}
	return ""
}
