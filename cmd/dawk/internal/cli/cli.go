// Package cli is the commands of dawk, one file a command. Words and tables are
// printed with package show; client.go talks to a relay that runs. Its goroutines
// are those of `dawk serve` and `dawk demo`. Begin reading at Run.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/server"
	"dawk/cmd/dawk/internal/show"
)

// app is what every command shares: where the configuration is, and what the
// command reads and writes.
type app struct {
	configPath     string   // -c; "": see config.Load
	args           []string // of the program
	stdin          io.Reader
	stdout, stderr io.Writer // both show what strangers wrote: see show.NewEscaped
	raw            io.Writer // standard output, octet by octet: for content and dialogues
	terminal       io.Writer // standard error, octet by octet: for prompts
}

// errReported ends a command with exit status 1 when it has said why already.
var errReported = errors.New("already reported")

// Run is the whole program; its result is the exit status.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := newApp(stdin, stdout, stderr)
	a.args = args
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.Execute()
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errReported):
		// Several faults of a configuration come one a line, each with its place.
		fmt.Fprintf(a.stderr, "dawk: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ndawk: "))
	}
	return exitStatus(err)
}

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{stdin: stdin, stdout: show.NewEscaped(stdout), stderr: show.NewEscaped(stderr), raw: stdout, terminal: stderr}
}

// newRootCommand makes the command tree. Each command stands in a file of its
// own; -c works before and after its name.
func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:           "dawk",
		Version:       server.Version(),
		Short:         "An outbound mail relay that loses nothing and explains itself",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(wrongFlag)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.configPath == "" && cmd.Flags().Changed("config") {
			return errors.New("-c is empty: name a file, or leave -c out for the default")
		}
		return nil
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVarP(&a.configPath, "config", "c", "",
		"configuration file (default "+config.DefaultFile+" if it exists, else built-in defaults)")
	root.AddCommand(
		newServeCommand(a),
		newDemoCommand(a),
		newUserCommand(a),
		newCheckCommand(a),
		newDKIMCommand(a),
		newQueueCommand(a),
		newOAuthCommand(a),
		newWhyCommand(a),
		newHistoryCommand(a),
		newExplainCommand(a),
		newProbeCommand(a),
		newSendmailCommand(a),
		newHealthCommand(a),
		newReloadCommand(a),
		newDevicesCommand(a),
	)
	return root
}
