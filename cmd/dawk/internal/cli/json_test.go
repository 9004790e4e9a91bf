package cli

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/cli/operatorcmd"
	"dawk/cmd/dawk/internal/cli/queuecmd"
	"dawk/cmd/dawk/internal/cli/usercmd"
	"dawk/cmd/dawk/internal/explain"
	"dawk/cmd/dawk/internal/server"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/queued"
	"dawk/relay/admin/suppressed"
	"dawk/relay/history"
	"dawk/relay/suppression"
	"dawk/relay/webhook"
)

//go:generate go test -run TestJSONPage . -update

const jsonPage = "../../../../docs/json.md"

// printed are the commands with --json, and what each prints.
var printed = []struct {
	commands string
	form     string // "one", "a list" or "one a line"
	of       any
}{
	{"queue list", "one a line", queuecmd.ListedItem{}},
	{"queue list --by", "one", admin.Shape{}},
	{"queue show", "one", relay.Item{}},
	{"queue providers", "one", admin.Providers{}},
	{"queue retry, queue hold, queue release, queue delete, queue bounce, queue reroute, queue undo, queue import", "one a line", queued.Line{}},
	{"queue verify, queue compact", "one", admin.Report{}},
	{"why", "one", admin.Why{}},
	{"explain", "one", admin.Explanation{}},
	{"probe", "one", explain.Probed{}},
	{"history", "one a line", history.Record{}},
	{"audit", "one a line", audit.Record{}},
	{"status", "one", admin.Status{}},
	{"health", "one", admin.Health{}},
	{"check", "one", admin.Checked{}},
	{"reload", "one", admin.Reloaded{}},
	{"config show", "one", admin.Configuration{}},
	{"devices", "a list", admin.Device{}},
	{"oauth status", "a list", admin.LoginStatus{}},
	{"oauth test", "one", admin.LoginTest{}},
	{"user list", "a list", usercmd.Listed{}},
	{"suppression list", "one a line", suppression.Entry{}},
	{"suppression whose", "one", suppressed.Link{}},
	{"webhook list", "a list", webhook.Status{}},
	{"operator list, token list", "a list", operatorcmd.Listed{}},
	{"version", "one", server.Build{}},
}

// Every command that takes --json is in the table.
func TestJSONCommandsAreListed(t *testing.T) {
	listed := map[string]bool{}
	for _, p := range printed {
		for name := range strings.SplitSeq(p.commands, ", ") {
			listed[strings.TrimSuffix(name, " --by")] = true
		}
	}
	var walk func(c *cobra.Command, name string)
	walk = func(c *cobra.Command, name string) {
		if c.Flags().Lookup("json") != nil && !listed[name] {
			t.Errorf("dawk %s --json: write what it prints into the table printed, then go generate ./...", name)
		}
		for _, sub := range c.Commands() {
			walk(sub, strings.TrimSpace(name+" "+sub.Name()))
		}
	}
	walk(newRootCommand(app.New(nil, nil, nil)), "")
}

// docs/json.md has every key that is printed, from the types and their comments.
func TestJSONPage(t *testing.T) {
	prose, err := os.ReadFile("json.md")
	if err != nil {
		t.Fatal(err)
	}
	w := &jsonWriter{t: t, comments: map[string]map[string]string{}, written: map[reflect.Type]bool{}, everywhere: map[string]string{}}
	for _, row := range regexp.MustCompile("(?m)^\\| (`[a-z_0-9`, ]+`) \\| (.*) \\|$").FindAllStringSubmatch(string(prose), -1) {
		for key := range strings.SplitSeq(row[1], ", ") {
			w.everywhere[strings.Trim(key, "`")] = row[2]
		}
	}

	var b strings.Builder
	b.WriteString("<!-- Written by go generate from the types that are printed, and from json.md in cmd/dawk/internal/cli. -->\n\n" + string(prose))
	b.WriteString("\n## Commands\n\n| command | prints | object |\n|---|---|---|\n")
	for _, p := range printed {
		of := reflect.TypeOf(p.of)
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.ReplaceAll(p.commands, ", ", "`, `"), p.form, w.link(of))
	}
	b.WriteString("\n## Objects\n")
	for len(w.queue) > 0 {
		of := w.queue[0]
		w.queue = w.queue[1:]
		w.object(&b, of)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(jsonPage, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now, err := os.ReadFile(jsonPage); err != nil || string(now) != b.String() {
		t.Errorf("docs/json.md is not what the types say: run go generate ./... (%v)", err)
	}
}

// jsonWriter writes the tables of objects, in the order in which they are met.
type jsonWriter struct {
	t          *testing.T
	queue      []reflect.Type
	written    map[reflect.Type]bool
	comments   map[string]map[string]string // by package and type, by field
	everywhere map[string]string            // key → what it means where no comment says it
}

func (w *jsonWriter) link(of reflect.Type) string {
	if !w.written[of] {
		w.written[of] = true
		w.queue = append(w.queue, of)
	}
	name := objectName(of)
	return "[" + name + "](#" + strings.ReplaceAll(name, " ", "-") + ")"
}

// objectName is what the page calls a type.
func objectName(of reflect.Type) string {
	words := regexp.MustCompile(`[A-Z]+[a-z0-9]*`).FindAllString(strings.TrimSuffix(of.Name(), "View"), -1)
	name := strings.ToLower(strings.Join(words, " "))
	if pkg := filepath.Base(of.PkgPath()); name == "listed" || name == "record" || name == "status" && pkg == "webhook" {
		name = strings.TrimSuffix(pkg, "cmd") + " " + name
	}
	return name
}

func (w *jsonWriter) object(b *strings.Builder, of reflect.Type) {
	fmt.Fprintf(b, "\n### %s\n\n| key | type | meaning |\n|---|---|---|\n", objectName(of))
	for _, f := range fieldsOf(of) {
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		kind := w.kind(f.Type)
		meaning := cmp.Or(w.meaning(f), w.everywhere[key])
		if meaning == "" {
			w.t.Errorf("%s.%s has no comment, and json.md has no %s", f.owner, f.Name, key)
		}
		if strings.HasPrefix(kind, "list") && options == "" && !alwaysMade[f.owner.Name()+"."+f.Name] {
			w.t.Errorf("%s.%s may be null: give it omitempty, or make it always and write it into alwaysMade", f.owner, f.Name)
		}
		if f.Type == reflect.TypeFor[time.Duration]() || f.Type == reflect.TypeFor[relay.Millis]() && !strings.HasSuffix(key, "_ms") {
			w.t.Errorf("%s.%s is a duration: make it a relay.Millis, under a key in _ms", f.owner, f.Name)
		}
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", key, kind, meaning)
	}
}

// alwaysMade are the lists that are [] where they are empty. Others are left out.
var alwaysMade = map[string]bool{
	"Item.Deliveries": true, "Envelope.Recipients": true, "Delivery.Open": true, "Attempt.Outcomes": true, "Shape.Bounds": true, "Shape.Rows": true,
	"ShapeRow.Ages": true, "Providers.Providers": true, "Acted.To": true, "WhyDelivery.Open": true, "WhyDelivery.Advice": true, "Explanation.Retry": true,
	"Status.Troubles": true, "Status.Providers": true, "Status.Connections": true, "Status.Ends": true, "Health.Problems": true, "Health.Warnings": true,
	"Checked.Findings": true, "Reloaded.Changes": true, "Configuration.Settings": true, "LoginTest.Findings": true, "StatusEvents.Webhooks": true, "Cluster.Nodes": true, "Survey.DNS": true,
}

// ownedField is a field and the type that declares it.
type ownedField struct {
	reflect.StructField
	owner reflect.Type
}

// fieldsOf are the fields that JSON has, those of embedded structs in their place.
func fieldsOf(of reflect.Type) (all []ownedField) {
	for i := range of.NumField() {
		f := of.Field(i)
		switch tag := f.Tag.Get("json"); {
		case f.Anonymous && tag == "":
			embedded := f.Type
			if embedded.Kind() == reflect.Pointer {
				embedded = embedded.Elem()
			}
			all = append(all, fieldsOf(embedded)...)
		case tag != "" && tag != "-":
			all = append(all, ownedField{f, of})
		}
	}
	return all
}

func (w *jsonWriter) kind(of reflect.Type) string {
	if of.Kind() == reflect.Pointer {
		return w.kind(of.Elem())
	}
	switch {
	case of == reflect.TypeFor[time.Time]():
		return "time"
	case of == reflect.TypeFor[relay.Millis]():
		return "number"
	case of.Implements(reflect.TypeFor[encoding.TextMarshaler]()) || reflect.PointerTo(of).Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return "text"
	case of.Implements(reflect.TypeFor[json.Marshaler]()):
		w.t.Errorf("%s marshals itself in a way that the page cannot tell", of)
	}
	switch of.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Struct:
		return w.link(of)
	case reflect.Slice:
		return "list of " + w.kind(of.Elem())
	case reflect.Map:
		return "object of " + w.kind(of.Elem())
	case reflect.Interface:
		return "any"
	}
	return "number"
}

// meaning is the comment of a field, with the names of other fields as JSON has them.
func (w *jsonWriter) meaning(f ownedField) string {
	id := f.owner.PkgPath() + "." + f.owner.Name()
	if w.comments[id] == nil {
		w.comments[id] = commentsOf(w.t, f.owner)
	}
	text := w.comments[id][f.Name]
	for _, other := range fieldsOf(f.owner) {
		key, _, _ := strings.Cut(other.Tag.Get("json"), ",")
		text = regexp.MustCompile(`\b`+other.Name+`\b`).ReplaceAllString(text, "`"+key+"`")
	}
	text = regexp.MustCompile(`\[([A-Z]\w*)\]`).ReplaceAllString(text, "$1")
	return strings.ReplaceAll(text, "|", `\|`)
}

// commentsOf are the comments of the fields of a struct, by name.
func commentsOf(t *testing.T, of reflect.Type) map[string]string {
	dir, _ := strings.CutPrefix(of.PkgPath(), "dawk/")
	found := map[string]string{}
	files, err := filepath.Glob(filepath.Join("../../../..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok || spec.Name.Name != of.Name() {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range s.Fields.List {
				words := f.Comment.Text()
				if words == "" {
					words = f.Doc.Text()
				}
				for _, name := range f.Names {
					found[name.Name] = strings.Join(strings.Fields(words), " ")
				}
			}
			return true
		})
	}
	return found
}
