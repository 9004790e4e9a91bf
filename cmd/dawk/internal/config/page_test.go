package config

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dawk/relay"
)

//go:generate go test -run TestConfigurationPage -update .

var update = flag.Bool("update", false, "write docs/configuration.md")

const pageFile = "../../../../docs/configuration.md"

// docs/configuration.md is configuration.md with a table of keys in each place
// that asks for one. A row comes from the field of a section: its name in the
// file, what its comment says, and its default, which is the code's unless the
// comment says another.
func TestConfigurationPage(t *testing.T) {
	prose, err := os.ReadFile("configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := fieldsOfSections(t)
	place := regexp.MustCompile(`<!-- keys of (\w+)(?:: ([^>]+))? -->`)
	page := place.ReplaceAllFunc(prose, func(m []byte) []byte {
		parts := place.FindSubmatch(m)
		what := string(parts[2])
		if what == "" {
			what = "meaning"
		}
		table := tableOf(t, sections, string(parts[1]), what)
		return []byte(strings.TrimSuffix(table, "\n"))
	})
	page = append([]byte("<!-- Written by go generate from the sections in cmd/dawk/internal/config, and from configuration.md there. -->\n\n"), page...)
	if *update {
		if err := os.WriteFile(pageFile, page, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now, err := os.ReadFile(pageFile); err != nil || string(now) != string(page) {
		t.Errorf("docs/configuration.md is not what the sections say: run go generate ./... (%v)", err)
	}
}

// sectionFields are those of one struct of the package.
type sectionFields struct {
	fields []*ast.Field
}

func fieldsOfSections(t *testing.T) map[string]sectionFields {
	t.Helper()
	sections := map[string]sectionFields{}
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if spec, ok := n.(*ast.TypeSpec); ok {
				if s, ok := spec.Type.(*ast.StructType); ok {
					sections[spec.Name.Name] = sectionFields{s.Fields.List}
				}
			}
			return true
		})
	}
	return sections
}

// defaultsOf are the sections as they are before a file is read.
func defaultsOf() map[string]reflect.Value {
	c := newConfig()
	listener, route, source, webhook := ListenerConfig{}, RouteConfig{}, SourceConfig{}, WebhookConfig{}
	listener.SetDefaults()
	route.SetDefaults()
	source.SetDefaults()
	webhook.SetDefaults()
	values := map[string]reflect.Value{}
	for _, v := range []any{*c, listener, c.TLS, c.Users, c.Limits, c.Queue, c.Cluster, c.DNS, c.Delivery, c.Delivery.Timeouts, source, route,
		ProviderConfig{}, DKIMConfig{}, c.Bounce, c.History, c.Suppression, c.ReturnPath, webhook, c.Outbox, c.HTTP, c.Admin, c.Sendmail, c.Check, c.Log} {
		values[reflect.TypeOf(v).Name()] = reflect.ValueOf(v)
	}
	return values
}

func tableOf(t *testing.T, sections map[string]sectionFields, name, what string) string {
	t.Helper()
	defaults, ok := defaultsOf()[name]
	if !ok || len(sections[name].fields) == 0 {
		t.Fatalf("there is no section %s", name)
	}
	type row struct{ keys, fallback, meaning string }
	var rows []row
	for _, f := range sections[name].fields {
		keys := keysOf(sections, f)
		if len(keys) == 0 {
			continue
		}
		names := "`" + strings.Join(keys, "`, `") + "`"
		if f.Doc == nil { // it shares the row before
			rows[len(rows)-1].keys += ", " + names
			continue
		}
		meaning, fallback, written := strings.Cut(strings.Join(strings.Fields(f.Doc.Text()), " "), " Default: ")
		if !written && len(f.Names) > 0 {
			fallback = shownDefault(defaults.FieldByName(f.Names[0].Name))
		}
		rows = append(rows, row{names, fallback, meaning})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| key | default | %s |\n|---|---|---|\n", what)
	for _, r := range rows {
		if r.fallback == "" {
			t.Errorf("%s: %s has no default", name, r.keys)
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.keys, r.fallback, r.meaning)
	}
	return b.String()
}

// keysOf are the keys of a field: none of a section of its own, those of its
// fields of a struct that it embeds.
func keysOf(sections map[string]sectionFields, f *ast.Field) (keys []string) {
	if f.Tag == nil {
		if id, ok := f.Type.(*ast.Ident); ok && len(f.Names) == 0 {
			for _, inner := range sections[id.Name].fields {
				keys = append(keys, keysOf(sections, inner)...)
			}
		}
		return keys
	}
	tag, _ := strconv.Unquote(f.Tag.Value)
	if f.Doc == nil && sectionType(f.Type) {
		return nil
	}
	return []string{reflect.StructTag(tag).Get("toml")}
}

// sectionType says whether a field is a section or several.
func sectionType(e ast.Expr) bool {
	if a, ok := e.(*ast.ArrayType); ok {
		e = a.Elt
	}
	id, ok := e.(*ast.Ident)
	return ok && strings.HasSuffix(id.Name, "Config")
}

// shownDefault is a default as it would be written in the file; "" for a pointer.
func shownDefault(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case string:
		return "`" + strconv.Quote(x) + "`"
	case relay.Duration:
		return "`" + strconv.Quote(x.String()) + "`"
	case relay.Size:
		return "`" + strconv.Quote(x.String()) + "`"
	case int, bool:
		return fmt.Sprintf("`%v`", x)
	}
	if v.Kind() == reflect.Slice {
		var parts []string
		for i := range v.Len() {
			parts = append(parts, strings.Trim(shownDefault(v.Index(i)), "`"))
		}
		return "`[" + strings.Join(parts, ", ") + "]`"
	}
	return ""
}
