package configcmd

import (
	"fmt"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
)

// New is `dawk config`.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Write a first configuration, check one, show what is in force",
		Args:  app.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInit(a), newCheck(a), newShow(a))
	return cmd
}

func newCheck(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the configuration file alone",
		Long: "Checks the configuration file and the files that it names, as a start or a reload\n" +
			"would, and nothing else: no network, no ports. `dawk check` looks at all of it.\n" +
			"Exit status 1 if anything is wrong, with the place of each fault.",
		Args: app.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			c, err := config.Load(a.ConfigPath)
			if err != nil {
				return err
			}
			where := c.File()
			if where == "" {
				where = "the built-in defaults"
			}
			_, err = fmt.Fprintf(a.Stdout, "%s: no fault\n", where)
			return err
		},
	}
}
