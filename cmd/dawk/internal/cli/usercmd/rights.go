package usercmd

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay/admin"
	"dawk/relay/identity"
)

// newUserTokenCommand makes tokens for HTTP.
func newUserTokenCommand(a *app.App) *cobra.Command {
	remove := false
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token for submission over HTTP", Args: oneName,
		Long: "Makes a token with which a program sends over HTTP as this user, and shows it once:\nthe file keeps only a hash. A user may have several. docs/api.md has the rest.",
		RunE: func(_ *cobra.Command, args []string) error { return userToken(a, args[0], remove) },
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove all tokens of the user instead")
	return cmd
}

func userToken(a *app.App, name string, remove bool) error {
	users, err := usersFile(a)
	if err != nil {
		return err
	}
	token, hash := identity.NewToken()
	if remove {
		err = users.RemoveTokens(name)
	} else {
		err = users.AddToken(name, hash)
	}
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return noSuchUser(name, users.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", users.Path, err)
	case remove:
		fmt.Fprintf(a.Stdout, "%s has no tokens any more\n", name)
	default:
		fmt.Fprintln(a.Stdout, token)
		fmt.Fprintf(a.Stderr, "This is the only time that the token of %s is shown.\n", name)
	}
	return nil
}

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

func newUserReleaseCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use: "release NAME", Short: "End the hold of a user whose mail looked like a flood", Args: oneName,
		Long: "Ends the hold that hold_copies or hold_new_recipients put on a user: its new mail is delivered again.\n" +
			"What was held meanwhile stays on hold, so that you can look at it first.",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.Client()
			if err != nil {
				return err
			}
			var h admin.UserHold
			if err := c.One(cmd.Context(), http.MethodPost, "/v1/holds/release", url.Values{"name": {args[0]}}, &h); err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s may send again. It was on hold since %s: %s.\n", h.Name, h.Since.Local().Format("2006-01-02 15:04:05"), h.Rule)
			fmt.Fprintf(a.Stdout, "Its mail of that time is still held:\n"+
				"  dawk queue list %[1]s held=true     look at it\n"+
				"  dawk queue release %[1]s held=true  deliver it\n"+
				"  dawk queue delete %[1]s held=true   throw it away\n", mailOf(h.Name))
			return nil
		},
	}
}
