package metrics_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dawk/metrics"
)

//go:generate go test -run TestPageAgreesWithRegistry -update .

var update = flag.Bool("update", false, "write the table of docs/metrics.md anew")

const page = "../docs/metrics.md"

// table is what docs/metrics.md has to say about every metric, from the
// registry itself.
func table(t *testing.T, m scraped) string {
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "dawk_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, " "), f.GetHelp())
	}
	return b.String()
}

func TestPageAgreesWithRegistry(t *testing.T) {
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"
	head, rest, ok := strings.Cut(string(text), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks around its table", page)
	}
	want := table(t, set())
	if *update {
		if err := os.WriteFile(page, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("%s is not what the registry says (go generate ./... writes it anew); want:\n%s", page, want)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(metrics.Alerts, -1) {
		if !strings.Contains(head+tail, "`"+alert[1]+"`") {
			t.Errorf("%s does not name the alert %s", page, alert[1])
		}
	}
}

// An alert on a metric that nobody exports never fires, and a panel of one is empty.
func TestAlertsNameOnlyMetricsThatExist(t *testing.T) {
	all := metrics.Alerts + metrics.Dashboard
	m := set()
	series := values(t, m)
	var exist []string
	for name := range series {
		name, _, _ = strings.Cut(name, "{")
		exist = append(exist, name)
	}

	for _, name := range regexp.MustCompile(`\b(dawk|process|go)_[a-z0-9_]+`).FindAllString(all, -1) {
		if !slices.Contains(exist, name) {
			t.Errorf("an alert or a panel names %s, which does not exist", name)
		}
	}
	// The values of labels are closed sets: an alert on another never fires.
	for _, match := range regexp.MustCompile(`(dawk_[a-z_]+)\{([^}]*)\}`).FindAllStringSubmatch(all, -1) {
		for _, l := range regexp.MustCompile(`([a-z]+)=~?\\?"([a-z_|]+)\\?"`).FindAllStringSubmatch(match[2], -1) {
			for v := range strings.SplitSeq(l[2], "|") {
				label := fmt.Sprintf("%s=%q", l[1], v)
				if !slices.ContainsFunc(mapKeys(series), func(s string) bool { return strings.HasPrefix(s, match[1]+"{") && strings.Contains(s, label) }) {
					t.Errorf("an alert or a panel asks for %s{%s}, which does not exist", match[1], label)
				}
			}
		}
	}
	for _, rule := range strings.Split(metrics.Alerts, "- alert: ")[1:] {
		name, _, _ := strings.Cut(rule, "\n")
		for _, part := range []string{"expr:", "severity:", "summary:", "description:"} {
			if !strings.Contains(rule, part) {
				t.Errorf("alert %s has no %s", name, part)
			}
		}
	}
}

func mapKeys(m map[string]float64) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

// Every reason that a client can be refused for has a series of its own.
func TestRefusalReasonsAreKnown(t *testing.T) {
	series := values(t, set())
	n := 0
	for _, file := range []string{"../relay/accept/refusal.go", "../relay/submission/guard/config.go"} {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(node ast.Node) bool {
			spec, ok := node.(*ast.ValueSpec)
			if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") || len(spec.Values) != 1 {
				return true
			}
			if value, ok := spec.Values[0].(*ast.BasicLit); ok {
				n++
				if _, ok := series["dawk_refused_total{reason="+value.Value+"}"]; !ok {
					t.Errorf("%s: %s is counted as other", file, value.Value)
				}
			}
			return true
		})
	}
	if n < 10 {
		t.Errorf("only %d reasons found: have they moved?", n)
	}
}
