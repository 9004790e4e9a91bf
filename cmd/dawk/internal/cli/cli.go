// Package cli is the commands of dawk: the table of all of them in newRootCommand, and
// the small ones, one file a command. Large ones have a package each beside app, which
// holds what all of them share. Words and tables are printed with package show. Its
// goroutines are those of `dawk serve` and `dawk demo`. Begin reading at Run.
package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/cli/configcmd"
	"dawk/cmd/dawk/internal/cli/mancmd"
	"dawk/cmd/dawk/internal/cli/operatorcmd"
	"dawk/cmd/dawk/internal/cli/queuecmd"
	"dawk/cmd/dawk/internal/cli/suppressioncmd"
	"dawk/cmd/dawk/internal/cli/usercmd"
	"dawk/cmd/dawk/internal/cli/webhookcmd"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/migrate"
	"dawk/cmd/dawk/internal/server"
)

// Run is the whole program; its result is the exit status.
func Run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := app.New(stdin, stdout, stderr)
	a.Args = args
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.Execute()
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, app.ErrReported):
		// Several faults of a configuration come one a line, each with its place.
		fmt.Fprintf(a.Stderr, "dawk: %s\n", strings.ReplaceAll(err.Error(), "\n", "\ndawk: "))
	}
	return exitStatus(err)
}

// newRootCommand makes the command tree, which ends with the table of commands. -c
// works before and after the name of a command.
func newRootCommand(a *app.App) *cobra.Command {
	root := &cobra.Command{
		Use:           "dawk",
		Version:       server.Version(),
		Short:         "An outbound mail relay that loses nothing and explains itself",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          app.KnownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(app.WrongFlag)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if a.ConfigPath == "" && cmd.Flags().Changed("config") {
			return errors.New("-c is empty: name a file, or leave -c out for the default")
		}
		return nil
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.PersistentFlags().StringVarP(&a.ConfigPath, "config", "c", "",
		"configuration file (default "+config.DefaultFile+" if it exists, else built-in defaults)")
	root.AddCommand(
		newServeCommand(a),
		newDemoCommand(a),
		usercmd.New(a),
		operatorcmd.New(a),
		operatorcmd.NewToken(a),
		newCheckCommand(a),
		newDKIMCommand(a),
		queuecmd.New(a),
		newOAuthCommand(a),
		queuecmd.NewWhy(a),
		newHistoryCommand(a),
		newExplainCommand(a),
		newProbeCommand(a),
		newSendmailCommand(a),
		newHealthCommand(a),
		newStatusCommand(a),
		newAuditCommand(a),
		suppressioncmd.New(a),
		webhookcmd.New(a),
		newReloadCommand(a),
		newDrainCommand(a),
		newDevicesCommand(a),
		configcmd.New(a),
		newVersionCommand(a),
		migrate.New(a),
		mancmd.New(a),
	)
	return root
}
