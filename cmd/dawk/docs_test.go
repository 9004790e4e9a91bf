package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pagesOf are the pages that people read: README.md and all below docs.
func pagesOf(t *testing.T) (pages []string) {
	t.Helper()
	pages = []string{"../../README.md"}
	err := filepath.WalkDir("../../docs", func(file string, _ fs.DirEntry, err error) error {
		if filepath.Ext(file) == ".md" {
			pages = append(pages, file)
		}
		return err
	})
	if err != nil || len(pages) < 15 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	return pages
}

// TestLinksInPages follows every link within the repository: the file is there,
// and so is the heading that it names.
func TestLinksInPages(t *testing.T) {
	for _, page := range pagesOf(t) {
		text := read(t, page)
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(withoutCode(text), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			file, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if file != "" {
				target = filepath.Join(filepath.Dir(page), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: there is no %s", page, m[1])
			} else if anchor != "" && !headingsOf(read(t, target))[anchor] {
				t.Errorf("%s: %s has no such heading", page, m[1])
			}
		}
	}
}

// TestStaticBinary: who builds as a page or an image says gets the static binary that is
// spoken of.
func TestStaticBinary(t *testing.T) {
	build := regexp.MustCompile(`(?m)^.*\bgo build .*-o \S*dawk"? .*$`)
	found := 0
	for _, file := range []string{"../../docs/install.md", "../../Dockerfile", "../../.ci/package"} {
		for _, line := range build.FindAllString(read(t, file), -1) {
			if found++; !strings.Contains(line, "CGO_ENABLED=0 ") {
				t.Errorf("%s: this makes a binary that needs the system's libraries: %s", file, line)
			}
		}
	}
	if found < 3 {
		t.Errorf("%d commands build the binary", found)
	}
}

// TestPagesNamedInCode holds that comments and messages name only pages that are
// in the repository.
func TestPagesNamedInCode(t *testing.T) {
	known := map[string]bool{}
	for _, page := range pagesOf(t) {
		rel, err := filepath.Rel("../..", page)
		if err != nil {
			t.Fatal(err)
		}
		known[filepath.ToSlash(rel)] = true
	}
	name := regexp.MustCompile(`\b(?:docs/[\w/]+\.md|[A-Z]{2,}\.md)(?:#([\w-]+))?`)
	err := filepath.WalkDir("../..", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(file) != ".go" {
			return err
		}
		for _, m := range name.FindAllStringSubmatch(read(t, file), -1) {
			page, anchor, _ := strings.Cut(m[0], "#")
			if !known[page] {
				t.Errorf("%s: there is no %s", file, page)
			} else if anchor != "" && !headingsOf(read(t, filepath.Join("../..", page)))[anchor] {
				t.Errorf("%s: %s has no such heading", file, m[0])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingIsSaidTwiceOnAPage finds headings that a page has twice, and lines
// that a section has, as a merge may leave them.
func TestNothingIsSaidTwiceOnAPage(t *testing.T) {
	for _, page := range pagesOf(t) {
		headings, lines := map[string]bool{}, map[string]bool{}
		for line := range strings.Lines(withoutCode(read(t, page))) {
			seen := lines
			if strings.HasPrefix(line, "#") {
				seen = headings
				clear(lines)
			} else if len(line) < 60 || strings.HasPrefix(line, "|--") {
				continue
			}
			if seen[line] {
				t.Errorf("%s says twice: %s", page, line)
			}
			seen[line] = true
		}
	}
}

// maxWords is what people read in five minutes.
const maxWords = 1200

// TestPagesAreShort counts the words of each page. What is looked up and not
// read is not counted: tables and examples.
func TestPagesAreShort(t *testing.T) {
	for _, page := range pagesOf(t) {
		words := 0
		for line := range strings.Lines(withoutCode(read(t, page))) {
			if !strings.HasPrefix(line, "|") {
				words += len(strings.Fields(line))
			}
		}
		if words > maxWords {
			t.Errorf("%s has %d words beside tables and examples, more than %d: shorten it, or make it two pages", page, words, maxWords)
		}
	}
}

// TestRecipesHaveOneForm: the situation, the whole configuration, three commands that show
// that it works, and what goes wrong most often.
func TestRecipesHaveOneForm(t *testing.T) {
	index := read(t, "../../docs/README.md")
	_, list, _ := strings.Cut(index, "\n## Recipes\n")
	list, _, _ = strings.Cut(list, "\n## ")
	recipes := regexp.MustCompile(`\]\(([\w-]+\.md)\) \|`).FindAllStringSubmatch(list, -1)
	if len(recipes) < 10 {
		t.Errorf("docs/README.md lists %d recipes", len(recipes))
	}
	form := regexp.MustCompile("(?s)\\A# Recipe: [^\n]+\n\n## Situation\n\n.+\n## Configuration\n\n.*```(?:toml|sh)\n.+" +
		"\n## Three commands that show it works\n\n```sh\n(?:[^\n#][^\n]*\n){3}```\n.*\n## What goes wrong\n\n.*\\|---\\|")
	for _, r := range recipes {
		if !form.MatchString(read(t, "../../docs/"+r[1])) {
			t.Errorf("docs/%s has not the form of a recipe", r[1])
		}
	}
}

// TestClaims: whatever README.md says that dawk does, a test of the name beside it holds.
func TestClaims(t *testing.T) {
	_, list, _ := strings.Cut(read(t, "../../README.md"), "\n## What it does")
	list, _, _ = strings.Cut(list, "\n## ")
	tests := map[string]bool{}
	err := filepath.WalkDir("../..", func(file string, _ fs.DirEntry, err error) error {
		switch {
		case err != nil:
		case filepath.Ext(file) == ".txtar":
			tests[filepath.Base(file)] = true
		case strings.HasSuffix(file, "_test.go"):
			for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t `).FindAllStringSubmatch(read(t, file), -1) {
				tests[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	claims := strings.Split(list, "\n- ")[1:]
	if len(claims) < 5 {
		t.Errorf("README.md has %d claims", len(claims))
	}
	for _, claim := range claims {
		names := regexp.MustCompile(`<!-- (.+) -->`).FindStringSubmatch(claim)
		if names == nil {
			t.Errorf("no test is named beside: %s", claim)
			continue
		}
		for _, name := range strings.Fields(names[1]) {
			if !tests[name] {
				t.Errorf("there is no %s, which is to hold: %s", name, claim)
			}
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// withoutCode leaves out the blocks between fences.
func withoutCode(text string) string {
	return regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
}

// headingsOf are the headings of a page as links name them: in lower case,
// without punctuation, with "-" for each space.
func headingsOf(text string) map[string]bool {
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(withoutCode(text), -1) {
		a := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(a, " ", "-")] = true
	}
	return anchors
}
