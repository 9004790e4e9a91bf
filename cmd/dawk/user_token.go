package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dawk/relay/identity"
)

// newUserTokenCommand makes tokens for HTTP.
func newUserTokenCommand(a *app) *cobra.Command {
	remove := false
	cmd := &cobra.Command{
		Use: "token NAME", Short: "Make a token for submission over HTTP", Args: oneName,
		Long: "Makes a token with which a program sends over HTTP as this user, and shows it once:\nthe file keeps only a hash. A user may have several. docs/api.md has the rest.",
		RunE: func(_ *cobra.Command, args []string) error { return a.userToken(args[0], remove) },
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "remove all tokens of the user instead")
	return cmd
}

func (a *app) userToken(name string, remove bool) error {
	users, err := a.usersFile()
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
		fmt.Fprintf(a.stdout, "%s has no tokens any more\n", name)
	default:
		fmt.Fprintln(a.stdout, token)
		fmt.Fprintf(a.stderr, "This is the only time that the token of %s is shown.\n", name)
	}
	return nil
}
