package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"dawk/relay/admin"
)

// mailOf is the filter for the mail of a user: of one that stands for a client
// without a login, by the address.
func mailOf(name string) string {
	address, ok := strings.CutPrefix(name, "network:")
	if !ok {
		return "identity=" + name
	}
	if site, ok := strings.CutSuffix(address, ":/64"); ok { // 2001:db8:1:2::/64
		return "client~" + site
	}
	return "client=" + address
}

func newUserReleaseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "release NAME", Short: "End the hold of a user whose mail looked like a flood", Args: oneName,
		Long: "Ends the hold that hold_copies or hold_new_recipients put on a user: its new mail is delivered again.\n" +
			"What was held meanwhile stays on hold, so that you can look at it first.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			var h admin.UserHold
			if err := c.one(cmd.Context(), http.MethodPost, "/v1/holds/release", url.Values{"name": {args[0]}}, &h); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s may send again. It was on hold since %s: %s.\n", h.Name, h.Since.Local().Format("2006-01-02 15:04:05"), h.Rule)
			fmt.Fprintf(a.stdout, "Its mail of that time is still held:\n"+
				"  dawk queue list %[1]s held=true     look at it\n"+
				"  dawk queue release %[1]s held=true  deliver it\n"+
				"  dawk queue delete %[1]s held=true   throw it away\n", mailOf(h.Name))
			return nil
		},
	}
}
