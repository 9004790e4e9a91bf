package main_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The path of a message, as docs/internals/architecture.md tells a newcomer to step
// through it, exists as it is told and stays short enough to be read.
func TestMainPathIsAsDocumented(t *testing.T) {
	const maxFunctions, maxFiles, maxLines = 20, 14, 900
	page, err := os.ReadFile("../../docs/internals/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\|[^|]*\\| `([A-Za-z.]+)` \\| `([a-z/]+\\.go)` \\|$").FindAllStringSubmatch(string(page), -1)
	if len(rows) < 12 {
		t.Fatalf("only %d steps found in docs/internals/architecture.md", len(rows))
	}
	files, lines := map[string]bool{}, 0
	for _, row := range rows {
		n := functionLines(t, "../../"+row[2], row[1])
		if n == 0 {
			t.Errorf("docs/internals/architecture.md: %s has no function %s", row[2], row[1])
		}
		files[row[2]] = true
		lines += n
	}
	if len(rows) > maxFunctions || len(files) > maxFiles || lines > maxLines {
		t.Errorf("the main path has %d functions in %d files with %d lines; at most %d, %d and %d can be held in mind",
			len(rows), len(files), lines, maxFunctions, maxFiles, maxLines)
	}
	t.Logf("%d functions, %d files, %d lines", len(rows), len(files), lines)
}

// functionLines is the length of a function, or of "type.method"; 0: it is
// not there.
func functionLines(t *testing.T, file, name string) int {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, nil, 0)
	if err != nil {
		t.Error(err)
		return 0
	}
	recv, method, isMethod := strings.Cut(name, ".")
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv == nil == isMethod {
			continue
		}
		if isMethod {
			star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
			if !ok || fn.Name.Name != method || star.X.(*ast.Ident).Name != recv {
				continue
			}
		} else if fn.Name.Name != name {
			continue
		}
		return fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
	}
	return 0
}
