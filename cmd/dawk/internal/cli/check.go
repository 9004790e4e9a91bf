package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/check"
	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay/admin"
)

func newCheckCommand(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the settings and this machine before they are used",
		Long: "Checks the configuration, certificate, users, disk, DNS, listeners, our name, SPF and DKIM records,\n" +
			"port 25 and the smart hosts' logins. It changes nothing and sends no mail. As root it makes the checks as the user that the relay runs as.\n" +
			"Exit status 1 if anything is wrong; warnings do not count.",
		Args: app.NoArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if u := check.RelayUser(a.ConfigPath); u != nil {
				if status, ok := check.As(u, a.Args, a.Raw, a.Terminal); ok {
					if status != 0 {
						return app.ErrReported
					}
					return nil
				}
				fmt.Fprintf(a.Stderr, "dawk: this program cannot be run as %s, as which the relay runs: what follows is true of root\n", u.Username)
			}
			return runCheck(a, cmd.Context(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func runCheck(a *app.App, ctx context.Context, asJSON bool) error {
	progress := show.NewProgress(a.Terminal, "check")
	findings := check.All(app.OrBackground(ctx), a.ConfigPath, func(left []string) { progress.Say("%s to come", strings.Join(left, ", ")) })
	progress.Close()
	errs, warnings := 0, 0
	for _, f := range findings {
		switch f.Level {
		case check.LevelError:
			errs++
		case check.LevelWarning:
			warnings++
		}
	}
	if asJSON {
		enc := json.NewEncoder(a.Stdout)
		enc.SetIndent("", "  ")
		if err := enc.Encode(admin.Checked{OK: errs == 0, Findings: findings}); err != nil {
			return err
		}
	} else {
		check.Print(a.Stdout, findings)
		fmt.Fprintf(a.Stdout, "\n%s, %s\n", show.Plural(errs, "error"), show.Plural(warnings, "warning"))
	}
	if errs > 0 {
		return app.ErrReported
	}
	return nil
}
