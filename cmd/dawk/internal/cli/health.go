package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"context"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay"
	"dawk/relay/admin"
)

func newHealthCommand(a *app.App) *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether the relay works: exit status 0 or 1, for containers",
		Long: "Say whether the relay with this configuration runs, has loaded its queue and\n" +
			"trusts its disk. A full disk is only a warning: delivery goes on and makes room,\n" +
			"and a restart would not help.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		h, err := c.Health(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			err = json.NewEncoder(a.Stdout).Encode(h)
		} else {
			err = printHealth(a, h)
		}
		if err == nil && !h.OK {
			err = app.ErrReported
		}
		return err
	}
	return cmd
}

func printHealth(a *app.App, h *admin.Health) error {
	for _, t := range h.Warnings {
		fmt.Fprintf(a.Stderr, "dawk: warning: %s\n", relay.Advised(t.Text, t.Remedy))
	}
	if h.OK {
		_, err := fmt.Fprintln(a.Stdout, "ok")
		return err
	}
	for _, t := range h.Problems {
		fmt.Fprintf(a.Stderr, "dawk: %s\n", relay.Advised(t.Text, t.Remedy))
	}
	return nil
}
