package notice

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestCorpus reads real notices and compares what is made of them with tables that people wrote who
// had read them: at least nine tenths have the right class, and 97 of a hundred the right recipients.
func TestCorpus(t *testing.T) {
	// Debian's package python3-flufl.bounce, which .ci/run installs; the table names each recipient.
	compare(t, "corpus", "/usr/lib/python3/dist-packages/flufl/bounce/tests/data", ".txt", os.Getenv("DAWK_CORPUS") == "required", func(n *Notice, want string) bool {
		to := sentTo(n)
		slices.Sort(to)
		list := strings.Split(want, ",")
		slices.Sort(list)
		return want == "-" && len(to) == 0 || slices.Equal(to, list)
	})
	// maildir/bsd of github.com/sisimai/set-of-emails, where that variable says, as in .ci/long; the table has
	// the number of recipients.
	emails := os.Getenv("DAWK_BOUNCES")
	compare(t, "emails", emails, ".eml", emails != "", func(n *Notice, want string) bool {
		number, err := strconv.Atoi(want)
		return err != nil || len(sentTo(n)) == number
	})
}

func compare(t *testing.T, table, dir, suffix string, required bool, right func(n *Notice, want string) bool) {
	if _, err := os.Stat(dir); err != nil {
		if t.Logf("the mails of %s are not here", table); required {
			t.Error(err)
		}
		return
	}
	b, err := os.ReadFile("testdata/" + table + ".tsv")
	if err != nil {
		t.Fatal(err)
	}
	all, classes, recipients := 0, 0, 0
	for line := range strings.Lines(string(b)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) != 3 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f[0]+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		all++
		n := Read(b)
		if class := classOf(&n); f[1] == "*" || slices.Contains(strings.Split(f[1], "|"), class) {
			classes++
		} else {
			t.Logf("%s: %s, by hand %s", f[0], class, f[1])
		}
		if right(&n, f[2]) {
			recipients++
		} else {
			t.Logf("%s: recipients %q, by hand %s", f[0], sentTo(&n), f[2])
		}
	}
	t.Logf("of %d notices of %s %d have the right class and %d the right recipients", all, table, classes, recipients)
	if all < 100 || classes*100 < 90*all || recipients*100 < 97*all {
		t.Errorf("that is too few")
	}
}

// classOf is the category of the first recipient that failed, else the kind.
func classOf(n *Notice) string {
	for i := range n.Recipients {
		if r := &n.Recipients[i]; n.Kind == Failed && r.Kind == Failed {
			return string(r.Category)
		}
	}
	return n.Kind.String()
}

// sentTo are the recipients that a notice is about, in lower case.
func sentTo(n *Notice) (to []string) {
	for i := range n.Recipients {
		if a := strings.ToLower(n.Recipients[i].Sent()); n.Recipients[i].Kind == n.Kind && a != "" && !slices.Contains(to, a) {
			to = append(to, a)
		}
	}
	return to
}
