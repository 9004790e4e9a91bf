package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/server"
)

func newVersionCommand(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is, and what it was made from",
		Long: "Says the version, the commit that it was made from and its date, and the version of Go.\n" +
			"`go version -m` on the program lists every library in it.",
		Args: app.NoArguments,
		RunE: func(*cobra.Command, []string) error {
			b := server.ReadBuild()
			if asJSON {
				return json.NewEncoder(a.Stdout).Encode(b)
			}
			_, err := fmt.Fprintf(a.Stdout, "version  %s\ncommit   %s\ndate     %s\ngo       %s\n", b.Version, b.Commit, b.Date, b.Go)
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
