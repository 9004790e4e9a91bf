package main_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// A symptom is a row of docs/troubleshooting.md: what the person sees, the command, what
// it says, what that means and what to do. Its script is testdata/script/symptom_NAME.txtar.
type symptom struct{ name, sees, command, says string }

func symptomsOf(text string) (all []symptom) {
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		m := regexp.MustCompile(`<!-- (\w+) -->`).FindStringSubmatch(line)
		if m != nil && len(cells) == 4 {
			all = append(all, symptom{m[1], cells[0], cells[1], cells[2]})
		}
	}
	return all
}

// TestEverySymptomHasItsScript: each row of the page is produced by a script, and no
// script is without a row.
func TestEverySymptomHasItsScript(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	all := symptomsOf(string(page))
	if len(all) < 12 {
		t.Errorf("the page has %d symptoms", len(all))
	}
	var rows []string
	for _, s := range all {
		rows = append(rows, "testdata/script/symptom_"+s.name+".txtar")
	}
	slices.Sort(rows)
	scripts, err := filepath.Glob("testdata/script/symptom_*.txtar")
	if err != nil || !slices.Equal(rows, scripts) {
		t.Errorf("the page has the rows\n%s\nand there are the scripts\n%s\n(%v)", strings.Join(rows, "\n"), strings.Join(scripts, "\n"), err)
	}
	for _, s := range all {
		script, err := os.ReadFile("testdata/script/symptom_" + s.name + ".txtar")
		if err == nil && !regexp.MustCompile(`(?m)^symptom `+s.name+`$`).Match(script) {
			t.Errorf("the script of %s does not run the command of its row", s.name)
		}
	}
}

// symptomCommand runs the command of a row, and holds that it says what the row says.
func symptomCommand(page string) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 {
			ts.Fatalf("usage: symptom NAME")
		}
		text, err := os.ReadFile(page)
		ts.Check(err)
		all := symptomsOf(string(text))
		i := slices.IndexFunc(all, func(s symptom) bool { return s.name == args[0] })
		if i < 0 {
			ts.Fatalf("docs/troubleshooting.md has no row %s", args[0])
		}
		quoted := regexp.MustCompile("`([^`]+)`")
		command := quoted.FindStringSubmatch(all[i].command)
		words := quoted.FindAllStringSubmatch(all[i].says, -1)
		if command == nil || words == nil {
			ts.Fatalf("the row %s has no command, or not what it says", args[0])
		}
		run := strings.NewReplacer("1RK3ZC8Q9D4-7ABC", ts.Getenv("ID"), "127.0.0.1:8025", ts.Getenv("HTTP"), "dawk ", "dawk -c "+ts.Getenv("CONF")+" ").Replace(command[1])
		end := time.Now().Add(patience)
		for missing := "-"; missing != ""; { // what happens is told a moment later
			_ = ts.Exec("sh", "-c", run+" 2>&1") // trouble is an exit status too
			out := strings.Join(strings.Fields(ts.ReadFile("stdout")), " ")
			missing = ""
			for _, w := range words {
				var parts []string
				for part := range strings.SplitSeq(w[1], "…") {
					parts = append(parts, regexp.QuoteMeta(strings.TrimSpace(part)))
				}
				if !regexp.MustCompile(strings.Join(parts, ".*")).MatchString(out) {
					missing = w[1]
				}
			}
			if missing != "" && time.Now().After(end) {
				ts.Fatalf("%s says\n%s\nbut not, as docs/troubleshooting.md has it:\n%s", command[1], ts.ReadFile("stdout"), missing)
			}
		}
	}
}
