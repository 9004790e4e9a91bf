package cli

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay/admin"
)

func newReloadCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running relay read its configuration again",
		Long: "Have the running relay read its configuration file again. A file with a fault\n" +
			"changes nothing: exit status 1. Else what can change without a restart is in force\n" +
			"when the command ends, and it says key by key what has changed and what waits for\n" +
			"a restart. SIGHUP does the same, and the log tells what came of it.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		var out admin.Reloaded
		if err := c.One(cmd.Context(), http.MethodPost, "/v1/reload", nil, &out); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(out)
		}
		printReloaded(a, out)
		return nil
	}
	return cmd
}

func printReloaded(a *app.App, r admin.Reloaded) {
	if len(r.Changes) == 0 {
		fmt.Fprintln(a.Stdout, "no key has changed")
	}
	restart := 0
	for _, c := range r.Changes {
		line := fmt.Sprintf("%s: %s → %s", c.Key, orNothing(c.From), orNothing(c.To))
		if c.Restart {
			line += "   needs a restart"
			restart++
		}
		fmt.Fprintln(a.Stdout, line)
	}
	if restart > 0 {
		fmt.Fprintf(a.Stdout, "%d of %d changes wait for a restart of the relay\n", restart, len(r.Changes))
	}
}

func orNothing(s string) string {
	if s == "" {
		return "(nothing)"
	}
	return s
}
