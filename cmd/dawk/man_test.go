package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every command that help lists has a manual page and is offered by the completions
// of each shell, and no text of a page begins a request of roff by accident.
func TestManualPagesAndCompletions(t *testing.T) {
	dir := t.TempDir()
	dawk := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("dawk", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("dawk %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	dawk("man", dir)
	pages, err := filepath.Glob(filepath.Join(dir, "*.1"))
	if err != nil || len(pages) < 30 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	requests := map[string]bool{"TH": true, "SH": true, "B": true, "BR": true, "TP": true, "PP": true, "nf": true, "fi": true}
	for _, page := range pages {
		for line := range strings.Lines(read(t, page)) {
			if word, ok := strings.CutPrefix(line, "."); ok && !requests[strings.Fields(word + " ?")[0]] || strings.HasPrefix(line, "'") {
				t.Errorf("%s: a request that none of ours is: %s", page, line)
			}
		}
	}
	root := read(t, filepath.Join(dir, "dawk.1"))
	for line := range strings.Lines(dawk("help")) {
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "  "), " ")
		if !ok || !strings.HasPrefix(line, "  ") || strings.HasPrefix(name, "-") || name == "" || name == "dawk" || name == "help" {
			continue
		}
		if !strings.Contains(root, ".BR dawk\\-"+name+" (1)") {
			t.Errorf("dawk(1) does not list %s", name)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if script := dawk("completion", shell); !strings.Contains(script, "__complete") {
			t.Errorf("%s: no completion: %.100s", shell, script)
		}
	}
	if offered := dawk("__complete", "queue", ""); !strings.Contains(offered, "list\t") {
		t.Errorf("completions of queue: %s", offered)
	}
}
