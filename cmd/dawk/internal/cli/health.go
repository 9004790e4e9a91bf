package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"context"

	"github.com/spf13/cobra"

	"dawk/relay/admin"
)

func newHealthCommand(a *app) *cobra.Command {
	var asJSON bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Say whether the relay works: exit status 0 or 1, for containers",
		Long: "Say whether the relay with this configuration runs, has loaded its queue and\n" +
			"trusts its disk. A full disk is only a warning: delivery goes on and makes room,\n" +
			"and a restart would not help.",
		Args: noArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Second, "how long to wait for the answer")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.client()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		h, err := c.health(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			err = json.NewEncoder(a.stdout).Encode(h)
		} else {
			err = printHealth(a, h)
		}
		if err == nil && !h.OK {
			err = errReported
		}
		return err
	}
	return cmd
}

// health is the one question whose answer counts with status 503 too.
func (c *client) health(ctx context.Context) (*admin.Health, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://dawk/v1/health", nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.Explain(err)
	}
	defer resp.Body.Close()
	var h admin.Health
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return nil, refusal(resp)
	}
	if err := json.NewDecoder(resp.Body).Decode(&h); err != nil {
		return nil, fmt.Errorf("read the relay's answer: %w", err)
	}
	return &h, nil
}

func printHealth(a *app, h *admin.Health) error {
	for _, s := range h.Warnings {
		fmt.Fprintf(a.stderr, "dawk: warning: %s\n", s)
	}
	if h.OK {
		_, err := fmt.Fprintln(a.stdout, "ok")
		return err
	}
	for _, s := range h.Problems {
		fmt.Fprintf(a.stderr, "dawk: %s\n", s)
	}
	return nil
}
