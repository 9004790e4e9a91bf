package relay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"testing"

	"dawk/relay"
)

// TestStatesAreListed: DeliveryStates, by which the tests of the views go, has every constant of
// its type.
func TestStatesAreListed(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "load.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		of, _ := v.Type.(*ast.Ident)
		literal, _ := v.Values[0].(*ast.BasicLit)
		if of == nil || literal == nil || of.Name != "DeliveryState" {
			return true
		}
		found++
		if value, _ := strconv.Unquote(literal.Value); !slices.Contains(relay.DeliveryStates(), relay.DeliveryState(value)) {
			t.Errorf("the list lacks %s, %q", v.Names[0].Name, value)
		}
		return true
	})
	if found != len(relay.DeliveryStates()) {
		t.Errorf("%d constants, %d in the list", found, len(relay.DeliveryStates()))
	}
}
