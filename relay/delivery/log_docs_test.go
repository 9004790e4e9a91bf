package delivery_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"

	"github.com/google/go-cmp/cmp"
)

//go:generate go test -run TestLogPage -update .

var update = flag.Bool("update", false, "write docs/log.md")

// docs/log.md has every event of the mail log with its level, and every key: they are
// what people build their filters on. It is written from the comments at the kinds of
// events and at the lines that write the keys.
func TestLogPage(t *testing.T) {
	const file = "../../docs/log.md"
	var b strings.Builder
	b.WriteString(`<!-- Written by go generate from relay/event.go and relay/delivery/log.go. -->

# The log

The log goes to standard error, one line for an event; with the systemd unit ` + "`journalctl -u dawk`" + ` shows it. What happens to mail has one line for each recipient. ` +
		"`[log] format = \"json\"`" + ` writes the same keys as JSON. Keys that do not apply are left out. With ` + "`level = \"debug\"`" + ` the log also has the dialogue with clients, without passwords.

| ` + "`msg`" + ` | level | when |
|---|---|---|
`)
	for _, kind := range commented(t, "../event.go", func(n ast.Node) string {
		if s, ok := n.(*ast.ValueSpec); ok && len(s.Values) == 1 {
			if typ, ok := s.Type.(*ast.Ident); ok && typ.Name == "EventKind" {
				return literal(s.Values[0])
			}
		}
		return ""
	}) {
		b.WriteString(eventRow(t, relay.Event{Kind: relay.EventKind(kind[0]), Reason: "ok"}, kind[1]))
		if kind[0] == string(relay.EventLogin) {
			b.WriteString(eventRow(t, relay.Event{Kind: relay.EventLogin}, "a client could not log in: `reason` says why"))
		}
	}
	b.WriteString("\n| key | what it is |\n|---|---|\n")
	keys := commented(t, "log.go", func(n ast.Node) string {
		if c, ok := n.(*ast.CallExpr); ok && len(c.Args) > 1 {
			return literal(c.Args[0])
		}
		return ""
	})
	var named []string
	for _, k := range keys {
		named = append(named, k[0])
		fmt.Fprintf(&b, "| `%s` | %s |\n", k[0], k[1])
	}
	slices.Sort(named)
	if diff := cmp.Diff(keysWritten(t), named); diff != "" {
		t.Errorf("keys as written (-) and as log.go has comments at (+):\n%s", diff)
	}
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != b.String() {
		t.Errorf("docs/log.md is not what the code says: run go generate ./... (%v)", err)
	}
}

func eventRow(t *testing.T, e relay.Event, when string) string {
	line := logLine(t, e)
	word, more, _ := strings.Cut(line["msg"].(string), ":")
	if more != "" {
		word += ": …"
	}
	return fmt.Sprintf("| `%s` | %s | %s |\n", word, strings.ToLower(line["level"].(string)), when)
}

// commented are the names that name finds in a file, each with the comment on its line.
func commented(t *testing.T, file string, name func(ast.Node) string) (found [][2]string) {
	t.Helper()
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[int]string{}
	for _, c := range parsed.Comments {
		comments[fset.Position(c.Pos()).Line] = strings.TrimSpace(c.Text())
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if n == nil {
			return true
		}
		if what := name(n); what != "" && comments[fset.Position(n.Pos()).Line] != "" {
			found = append(found, [2]string{what, comments[fset.Position(n.Pos()).Line]})
		}
		return true
	})
	return found
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		s, _ := strconv.Unquote(l.Value)
		return s
	}
	return ""
}

// keysWritten are those of an event of which everything is known.
func keysWritten(t *testing.T) (keys []string) {
	id := relay.QueueID{Key: 1_770_000_000_000_000, Dir: 99}
	e := relay.Event{Kind: relay.EventAccepted, Time: time.Unix(1, 0), ID: id, From: path("a@example.org"), Recipient: path("b@example.com"),
		Identity: "x", Client: "x", Listener: "x", Session: "x", Helo: "x", MessageID: "x", Size: 1, Count: 1, To: make([]relay.Path, 1), Destination: "x", Route: "x", Source: "x",
		Provider: "x", Host: "x", Addr: "x", TLS: "x", TLSPolicy: "x", TLSLevel: "x", TLSTry: "x", TLSFailed: "x", SentAs: path("c@example.org"), Attempt: 1, Took: relay.Millis(time.Second),
		Age: time.Second, Reply: relay.Reply{Code: 250, Text: "x", Remedy: "x"}, Unknown: true, Next: time.Unix(1, 0), Rule: "x", Reason: "x", NoticeID: id, NoticeKind: "x", Visits: make([]relay.Visit, 1)}
	for i, v := 0, reflect.ValueOf(e); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("relay.Event has the field %s, which this test does not set", v.Type().Field(i).Name)
		}
	}
	for key := range logLine(t, e) {
		if key != slog.TimeKey && key != slog.LevelKey && key != slog.MessageKey {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func logLine(t *testing.T, e relay.Event) (line map[string]any) {
	t.Helper()
	var b bytes.Buffer
	delivery.NewLogObserver(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))).Observe(e)
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v: %q", err, b.String())
	}
	return line
}
