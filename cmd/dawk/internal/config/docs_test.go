package config

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dawk/relay/identity"

	"github.com/google/go-cmp/cmp"
)

// docs/configuration.md has every key that the parser takes in the table of
// its section, and no other: what the parser knows it says itself, of a key
// that is like none.
func TestEveryKeyIsDocumentedAndNoOther(t *testing.T) {
	const stranger = "qqqqqqqqqqqqqqqqqqqq"
	page, err := os.ReadFile("../../../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := tablesOf(string(page))
	sections := knownKeys(t, stranger+" = 1")
	for _, top := range []string{"data_dir", "hostname", "postmaster"} {
		if i := slices.Index(sections, top); i >= 0 {
			sections = slices.Delete(sections, i, i+1)
		}
	}
	if diff := cmp.Diff([]string{"data_dir", "hostname", "postmaster"}, documented["At the top of the file"]); diff != "" {
		t.Error(diff)
	}
	for _, name := range append(sections, "delivery.timeouts") {
		header := "[" + name + "]"
		if slices.Contains([]string{"listener", "source", "route", "provider", "dkim", "webhook"}, name) {
			header = "[[" + name + "]]"
		}
		known := knownKeys(t, header+"\n"+stranger+" = 1")
		known = slices.DeleteFunc(known, func(key string) bool { return name+"."+key == "delivery.timeouts" })
		if diff := cmp.Diff(known, documented[header]); diff != "" {
			t.Errorf("%s, of the parser (-) and of docs/configuration.md (+):\n%s", header, diff)
		}
		delete(documented, header)
	}
	users := filepath.Join(t.TempDir(), "users.toml")
	if err := os.WriteFile(users, []byte("[[user]]\n"+stranger+" = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = identity.Open(users, nil)
	if diff := cmp.Diff(keysIn(t, err), documented["users.toml"]); diff != "" {
		t.Errorf("users.toml: %s", diff)
	}
	delete(documented, "users.toml")
	delete(documented, "At the top of the file")
	for header := range documented {
		t.Errorf("docs/configuration.md has a table of %s, which the parser does not know", header)
	}
}

// tablesOf is the keys in the first column of each table, by its heading.
func tablesOf(page string) map[string][]string {
	key := regexp.MustCompile("`([a-z0-9_]+)`")
	tables, heading := map[string][]string{}, ""
	for line := range strings.Lines(page) {
		if h, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			heading = strings.TrimSpace(h)
			continue
		}
		cells := strings.Split(line, " | ")
		if first, ok := strings.CutPrefix(cells[0], "| "); ok && len(cells) > 1 {
			for _, m := range key.FindAllStringSubmatch(first, -1) {
				tables[heading] = append(tables[heading], m[1])
			}
		}
	}
	for _, keys := range tables {
		slices.Sort(keys)
	}
	return tables
}

// knownKeys is what the parser names beside a key that it does not know.
func knownKeys(t *testing.T, file string) []string {
	t.Helper()
	c, err := parseConfig("dawk.toml", []byte(file+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	return keysIn(t, c.doc.Err())
}

func keysIn(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		t.Fatal("the stranger was taken for a key")
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	_, list, ok := strings.Cut(first, "; known are ")
	if !ok {
		t.Fatalf("no keys in %q", first)
	}
	return strings.Split(list, ", ")
}
