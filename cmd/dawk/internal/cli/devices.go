package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
)

func newDevicesCommand(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "devices",
		Short: "Say which printers and scanners came, and what troubles them",
		Long: "Lists the clients of listeners with profile = \"device\" since the relay started: when each came last,\n" +
			"the TLS version it spoke, what was accepted from it, and its last trouble in plain words.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		var list []admin.Device
		if err := c.One(cmd.Context(), http.MethodGet, "/v1/devices", nil, &list); err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(a.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(list)
		}
		return printDevices(a, list, time.Now())
	}
	return cmd
}

func printDevices(a *app.App, list []admin.Device, now time.Time) error {
	if len(list) == 0 {
		fmt.Fprintln(a.Stdout, "no device has come since the relay started")
		return nil
	}
	t := show.NewTable(a.Stdout, show.Column{Name: "ADDRESS", Weight: 9}, show.Column{Name: "CALLS ITSELF", Weight: 4, Least: 8}, show.Column{Name: "SENDS AS", Weight: 2, Least: 8},
		show.Column{Name: "LAST CONTACT", Weight: 7}, show.Column{Name: "TLS", Weight: 1}, show.Column{Name: "MESSAGES", Weight: 5}, show.Column{Name: "LAST TROUBLE", Weight: 6, Least: 24})
	for _, d := range list {
		trouble := "-"
		if d.Error != "" {
			trouble = "(" + ago(now, d.ErrorAt) + ") " + d.Error
		}
		t.Row(d.Client, orDash(d.Helo), orDash(d.Identity), ago(now, d.Last),
			orDash(d.TLS), d.Messages, trouble)
	}
	return t.Flush()
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func ago(now, then time.Time) string {
	d := max(0, now.Sub(then)).Round(time.Second)
	if d > time.Hour {
		d = d.Round(time.Minute)
	}
	if d == 0 {
		return "just now"
	}
	return relay.Duration(d).String() + " ago"
}
