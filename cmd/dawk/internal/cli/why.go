package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/explain"
	"dawk/relay"
	"dawk/relay/admin"
)

func newWhyCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a message is still here, or what became of it",
		Long: "Say why a message is still here: its route, every attempt with the replies, the\n" +
			"next try and the rule that set it, and what would unblock it; of a message that is\n" +
			"finished what became of it, as long as the history is kept ([history] keep).",
		Args: oneID,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := relay.ParseQueueID(args[0])
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var why admin.Why
		if err := c.get(cmd.Context(), "/v1/queue/"+id.String()+"/why", nil, &why); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.stdout).Encode(why)
		}
		return explain.NewPrinter(a.stdout, why.Now).Why(&why)
	}
	return cmd
}

// oneID checks the arguments of a command about one message.
func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one queue ID, such as 1RK3ZC8Q9D4-7ABC: it is in the client's 250 reply, in the log under qid, and in dawk queue list", cmd.CommandPath())
	}
	return nil
}
