package cli

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay/admin/audit"
	"dawk/relay/filter"
	"dawk/relay/history"
	"dawk/relay/suppression"
)

//go:generate go test -run "TestCommandsPage|TestFiltersPage" -update .

var update = flag.Bool("update", false, "write docs/commands.md, docs/filters.md and docs/json.md")

// docs/commands.md is every command with its flags, from the table that the commands,
// their help and their manual pages come from.
func TestCommandsPage(t *testing.T) {
	const file = "../../../../docs/commands.md"
	var b strings.Builder
	b.WriteString(`<!-- Written by go generate from the commands. -->

# Commands

` + "`dawk COMMAND --help` and `man dawk-COMMAND` say more about each. `-c FILE`, before or after the name, names the configuration; without it `/etc/dawk/dawk.toml`, else built-in defaults." + `

| command | what it does |
|---|---|
`)
	root := newRootCommand(app.New(strings.NewReader(""), &strings.Builder{}, &strings.Builder{}))
	commands := leaves(root)
	if len(commands) < 40 {
		t.Errorf("only %d commands", len(commands))
	}
	for _, c := range commands {
		use := strings.ReplaceAll(strings.TrimSuffix(c.UseLine(), " [flags]"), "|", `\|`)
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", use, c.Short, flagsOf(c))
	}
	compare(t, file, b.String())
}

// docs/filters.md is what a filter can say, from the tables that filters are read with.
func TestFiltersPage(t *testing.T) {
	page := "<!-- Written by go generate from the tables of terms. -->\n\n# Filters\n\n" +
		"Commands, API and pages read one grammar. A filter is one or more terms, and all of them must hold. What terms there are depends on what is picked.\n\n" +
		"`=` is equality and `~` is \"contains\"; `!=` and `!~` are their opposites; `<`, `<=`, `>` and `>=` compare ages, sizes and numbers. Case is ignored. " +
		"`*` in a value stands for anything, and `a,b` means either. Put a value with spaces in double quotes; within them `\\` takes the next character as it is. " +
		"**Put terms with `<` or `>` in single quotes**, `'from=<>'` included: the shell takes these signs for redirections. " +
		"A domain may be written in its own script. A time without a zone is local. An incomplete or unknown term is refused, with its place.\n"
	for _, of := range [...]struct{ title, terms string }{
		{"Queued mail: `dawk queue`, `GET /v1/queue`, `POST /v1/queue/act`", filter.Queue.Terms()},
		{"What became of mail: `dawk history`, `dawk webhook replay`, `GET /v1/history`", history.Terms.Terms()},
		{"The suppression list: `dawk suppression`, `GET /v1/suppression`", suppression.Terms.Terms()},
		{"Who did what: `dawk audit`, `GET /v1/audit`", audit.Terms.Terms()},
	} {
		page += "\n## " + of.title + "\n\n```text\n" + of.terms + "```\n"
	}
	compare(t, "../../../../docs/filters.md", page)
}

// compare writes a page, with -update, or says that it is old.
func compare(t *testing.T, file, page string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != page {
		t.Errorf("%s is not what the program says: run go generate ./... (%v)", file, err)
	}
}

// leaves are the commands below c that do something.
func leaves(c *cobra.Command) (found []*cobra.Command) {
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			if !sub.HasAvailableSubCommands() {
				found = append(found, sub)
			}
			found = append(found, leaves(sub)...)
		}
	}
	return found
}

func flagsOf(c *cobra.Command) string {
	var b strings.Builder
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		what, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, "<br>`%s`: %s", strings.TrimSpace("--"+f.Name+" "+what), strings.ReplaceAll(usage, "|", `\|`))
	})
	return b.String()
}
