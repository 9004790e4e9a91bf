package bounce_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"dawk/bounce"
	"dawk/relay/replies"
)

// docs/bounces.md lists every category with the words that senders read.
func TestPageAgreesWithCategories(t *testing.T) {
	const page, begin, end = "../docs/bounces.md", "<!-- categories: begin -->\n", "<!-- categories: end -->\n"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	want.WriteString("| category | \"… was not delivered, because\" | what the sender is told to do |\n|---|---|---|\n")
	for _, c := range replies.Categories() {
		w := bounce.WordsFor(c)
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", c, w.Why, w.Do)
	}
	head, rest, _ := strings.Cut(string(text), begin)
	got, tail, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatalf("%s has no marks around its table", page)
	}
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+want.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want.String() {
		t.Errorf("%s is not what package bounce says (go test ./bounce -update writes it anew)", page)
	}
}
