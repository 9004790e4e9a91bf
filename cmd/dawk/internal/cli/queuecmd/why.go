package queuecmd

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/explain"
	"dawk/relay"
	"dawk/relay/admin"
)

func NewWhy(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a message is still here, or what became of it",
		Long: "Say why a message is still here: its route, every attempt with the replies, the\n" +
			"next try and the rule that set it, and what would unblock it; of a message that is\n" +
			"finished what became of it, as long as the history is kept ([history] keep).",
		Args: app.OneID,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := relay.ParseQueueID(args[0])
		if err != nil {
			return err
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		var why admin.Why
		if err := c.Get(cmd.Context(), "/v1/queue/"+id.String()+"/why", nil, &why); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(why)
		}
		return explain.NewPrinter(a.Stdout, why.Now).Why(&why)
	}
	return cmd
}
