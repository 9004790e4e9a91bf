package main_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestWhatPartsBuy holds the figures in the table that says what the lines of each
// part buy. New packages need a row once they are many.
func TestWhatPartsBuy(t *testing.T) {
	const page, unnamed = "docs/internals/architecture.md", 5000
	text, err := os.ReadFile(filepath.Join("../..", page))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## What each part buys\n")
	table, _, _ = strings.Cut(table, "\n## ")
	owner, says := map[string]string{}, map[string]int{}
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 {
			continue
		}
		n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(cells[2]), ",", ""))
		if err != nil {
			continue // the head of the table
		}
		for i, name := range strings.Split(cells[1], "`") {
			if i%2 == 1 {
				owner[name] = cells[1]
			}
		}
		says[cells[1]] = n
	}
	lines := map[string]int{}
	productFiles(t, func(file string, set *token.FileSet, f *ast.File) {
		pkg := filepath.ToSlash(filepath.Dir(file))
		of := owner[pkg]
		for up := path.Dir(pkg); of == "" && up != "relay" && up != "queue" && up != "."; up = path.Dir(up) {
			of = owner[up]
		}
		lines[of] += set.Position(f.FileEnd).Line
	})
	for part, n := range says {
		if diff := lines[part] - n; max(diff, -diff) > max(400, n*15/100) {
			t.Errorf("%s: the row of%shas %d lines, and the code %d: write that, and what they buy", page, part, n, lines[part])
		}
	}
	if lines[""] > unnamed {
		t.Errorf("%s: packages without a row have %d lines: give them rows that say what they buy", page, lines[""])
	}
}
