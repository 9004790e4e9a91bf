package queuecmd

import (
	"errors"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/filter"
)

func newRerouteCommand(a *app.App) *cobra.Command {
	var all, dryRun, asJSON bool
	cmd := &cobra.Command{
		Use:   "reroute FILTER… ROUTE",
		Short: "Send messages by another route from now on",
		Long: "Send what a filter picks by ROUTE, whatever the conditions of the routes say, at once and at each attempt\n" +
			"that follows. ROUTE is the name of a route with a smart host, or mx for the MX hosts of each domain. When the\n" +
			"route has gone from the configuration the messages go as others do. New mail is not concerned; what is on hold\n" +
			"stays there. " + pickRecipients + "\n\n" + filter.Queue.Help(),
		Example: "  dawk queue reroute --dry-run route=office spare\n  dawk queue reroute provider=outlook.com 'age>1h' mx",
	}
	cmd.Flags().BoolVar(&all, "all", false, "the whole queue, instead of a filter")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New("queue reroute needs a filter and a route, as in: dawk queue reroute to=@example.com mx")
		}
		filter, err := parseFilterArgs(args[:len(args)-1])
		if err != nil {
			return err
		}
		if filter.Empty() && !all {
			return errors.New("queue reroute needs to know which messages: give a filter before the route, or --all for the whole queue")
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		req := admin.ActRequest{Verb: relay.VerbReroute, Filter: filter.String(), All: all, DryRun: dryRun, Route: args[len(args)-1]}
		return runAct(c, cmd, a, req, asJSON)
	}
	return cmd
}
