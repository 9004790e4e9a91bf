package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// The house stays one that a newcomer can walk through: rooms of bounded size,
// functions that fit on a screen, nothing that happens before main. A bound is
// not raised to fit a change; the change is cut in two.
const (
	maxPackageFiles  = 25
	maxPackageLines  = 3500
	maxFileLines     = 400
	maxFunctionLines = 80
)

func TestShape(t *testing.T) {
	files, lines := map[string]int{}, map[string]int{}
	productFiles(t, func(path string, set *token.FileSet, f *ast.File) {
		dir := filepath.Dir(path)
		n := set.Position(f.FileEnd).Line
		files[dir]++
		lines[dir] += n
		if n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", path, n, maxFileLines)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s: an init function; wiring is done in internal/server", set.Position(fn.Pos()))
			}
			if long := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1; long > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", set.Position(fn.Pos()), fn.Name.Name, long, maxFunctionLines)
			}
		}
	})
	if len(files) < 10 {
		t.Fatalf("only %d packages were found", len(files))
	}
	for dir, n := range files {
		if n > maxPackageFiles || lines[dir] > maxPackageLines {
			t.Errorf("package %s has %d files and %d lines, more than %d or %d", dir, n, lines[dir], maxPackageFiles, maxPackageLines)
		}
	}
}

// productFiles calls f with every Go file of the product: neither tests, nor
// packages for tests, nor the benchmark program, nor what CI is made of.
func productFiles(t *testing.T, f func(path string, set *token.FileSet, file *ast.File)) {
	t.Helper()
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() {
			if path != root && (strings.HasPrefix(name, ".") || strings.HasSuffix(name, "test") || name == "testdata" || name == "dawkbench") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f(rel, set, file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
