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
)

//go:generate go test -run TestCommandsPage -update .

var update = flag.Bool("update", false, "write docs/commands.md and docs/json.md")

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
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if now, err := os.ReadFile(file); err != nil || string(now) != b.String() {
		t.Errorf("docs/commands.md is not what the commands say: run go generate ./... (%v)", err)
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
