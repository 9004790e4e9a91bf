package show_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"dawk/cmd/dawk/internal/show"
)

// What matters most is not cut: it goes on below.
func TestTableWraps(t *testing.T) {
	t.Setenv("COLUMNS", "40")
	var b bytes.Buffer
	table := show.NewTable(&b, show.Column{Name: "PROVIDER", Weight: 9, Least: 10}, show.Column{Name: "MOST"}, show.Column{Name: "WHY", Weight: 7, Least: 20, Wrap: true})
	table.Row("google", 10, "throttled: it asked us to slow down, the next attempt is in 20s")
	table.Row("home.test", 2, "its turn comes at once")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	want := "PROVIDER   MOST  WHY\ngoogle     10    throttled: it asked us\n                 to slow down, the next\n                 attempt is in 20s\nhome.test  2     its turn comes at once\n"
	if b.String() != want {
		t.Errorf("%s", b.String())
	}
}

// At every width no line is longer than the terminal, and what matters most stays.
func TestTableGivesWayByImportance(t *testing.T) {
	print := func(columns string) string {
		t.Setenv("COLUMNS", columns)
		var b bytes.Buffer
		table := show.NewTable(&b, show.Column{Name: "ID", Weight: 9}, show.Column{Name: "SIZE"}, show.Column{Name: "NEXT", Weight: 8},
			show.Column{Name: "FROM", Weight: 1, Least: 10}, show.Column{Name: "LAST REPLY", Weight: 5, Least: 20})
		table.Row("1RK3ZC8Q9D4-7ABC", "3.5 MiB", "suspended", "scanner-of-the-third-floor@example.org", "452 4.2.2 the mailbox of the recipient is full, try again later")
		table.Row("1RK3ZC8Q9D4-7ABD", "1 B", "in 5m", "ä@example.org", "")
		if err := table.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, x := range []struct {
		columns   string
		width     int
		has, lost []string
	}{
		{"20", 20, []string{"1RK3ZC8Q9D4-7ABC"}, []string{"NEXT", "SIZE"}},
		{"60", 60, []string{"suspended", "452 4.2.2 the mailb"}, []string{"SIZE", "try again later"}},
		{"80", 80, []string{"suspended", "452 4.2.2 the mailbox", "3.5 MiB", "FROM"}, []string{"third-floor@example.org"}},
		{"120", 120, []string{"suspended", "try again later", "3.5 MiB", "scanner-of"}, []string{"third-floor@example.org"}},
		{"200", 200, []string{"scanner-of-the-third-floor@example.org", "try again later"}, nil},
		{"", 1 << 20, []string{"scanner-of-the-third-floor@example.org", "try again later"}, nil},
	} {
		out := print(x.columns)
		for line := range strings.Lines(out) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > x.width {
				t.Errorf("%s columns: a line of %d:\n%s", x.columns, n, out)
			}
		}
		for _, want := range x.has {
			if !strings.Contains(out, want) {
				t.Errorf("%s columns: without %q:\n%s", x.columns, want, out)
			}
		}
		for _, lost := range x.lost {
			if strings.Contains(out, lost) {
				t.Errorf("%s columns: %q is there:\n%s", x.columns, lost, out)
			}
		}
	}
}
