// Package mancmd is `dawk man`: it writes a manual page for each command, out of the
// same table that the commands and their help come from. The packages for Debian and
// others have them. It has no goroutines. Begin reading at New.
package mancmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/server"
)

// New is `dawk man`.
func New(*app.App) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the manual pages of all commands into a directory",
		Args:   app.Arguments(1, 1, "DIR"),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, c := range all(cmd.Root()) {
				file := filepath.Join(args[0], strings.ReplaceAll(c.CommandPath(), " ", "-")+".1")
				if err := os.WriteFile(file, []byte(Page(c, server.ReadBuild())), 0o644); err != nil {
					return fmt.Errorf("write a manual page: %w", err)
				}
			}
			return nil
		},
	}
}

// all is c and the commands below it that people see.
func all(c *cobra.Command) []*cobra.Command {
	found := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			found = append(found, all(sub)...)
		}
	}
	return found
}

// Page is the manual page of c, in the man macros of roff.
func Page(c *cobra.Command, b server.Build) string {
	var w strings.Builder
	name := strings.ReplaceAll(c.CommandPath(), " ", "-")
	date, _, _ := strings.Cut(b.Date, "T")
	fmt.Fprintf(&w, ".TH %s 1 %q %q \"dawk\"\n", escape(strings.ToUpper(name)), date, "dawk "+b.Version)
	fmt.Fprintf(&w, ".SH NAME\n%s \\- %s\n", escape(name), escape(c.Short))
	fmt.Fprintf(&w, ".SH SYNOPSIS\n.B %s\n", escape(c.CommandPath()))
	if _, rest, ok := strings.Cut(c.UseLine(), c.CommandPath()+" "); ok {
		fmt.Fprintf(&w, "%s\n", escape(rest))
	}
	if c.Long != "" {
		fmt.Fprintf(&w, ".SH DESCRIPTION\n%s", paragraphs(c.Long))
	}
	flags(&w, "OPTIONS", c.LocalFlags())
	flags(&w, "OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	if c.Example != "" {
		fmt.Fprintf(&w, ".SH EXAMPLES\n%s", paragraphs(c.Example))
	}
	if subs := all(c)[1:]; len(subs) > 0 {
		fmt.Fprint(&w, ".SH COMMANDS\n")
		for _, sub := range subs {
			fmt.Fprintf(&w, ".TP\n.BR %s (1)\n%s\n", escape(strings.ReplaceAll(sub.CommandPath(), " ", "-")), escape(sub.Short))
		}
	}
	if c.HasParent() {
		fmt.Fprintf(&w, ".SH SEE ALSO\n.BR %s (1)\n", escape(strings.ReplaceAll(c.Parent().CommandPath(), " ", "-")))
	}
	return w.String()
}

func flags(w *strings.Builder, title string, set *pflag.FlagSet) {
	first := true
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		if first {
			fmt.Fprintf(w, ".SH %s\n", title)
			first = false
		}
		what, usage := pflag.UnquoteUsage(f)
		text := "--" + f.Name
		if f.Shorthand != "" {
			text = "-" + f.Shorthand + ", " + text
		}
		if what != "" {
			text += " " + what
		}
		fmt.Fprintf(w, ".TP\n%s\n%s\n", line(text), line(usage))
	})
}

// paragraphs is text with its blank lines; lines that are indented stay as they are.
func paragraphs(text string) string {
	var w strings.Builder
	asIs := false
	for _, l := range strings.Split(text, "\n") {
		if indented := strings.HasPrefix(l, " "); indented != asIs && l != "" {
			asIs = indented
			w.WriteString(map[bool]string{true: ".nf\n", false: ".fi\n"}[asIs])
		}
		if l == "" {
			w.WriteString(".PP\n")
			continue
		}
		w.WriteString(line(l) + "\n")
	}
	if asIs {
		w.WriteString(".fi\n")
	}
	return w.String()
}

// line is text that stands at the beginning of a line, where a dot or an apostrophe
// would begin a request.
func line(text string) string {
	text = escape(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}

// escape is text as roff prints it.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ", "`", `\(ga`).Replace(text)
}
