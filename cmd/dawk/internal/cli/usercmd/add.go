package usercmd

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/relay"
	"dawk/relay/identity"
)

// newUser is what the flags of `dawk user add` say.
type newUser struct {
	senders     []string
	from        string
	rewriteFrom string
	priority    string
	policy      identity.Policy
}

func newUserAddCommand(a *app.App) *cobra.Command {
	var n newUser
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Add a user", Args: oneName,
		Long: "Adds a user and asks for a password. Without --senders the user may send as anybody.\n" +
			"The flags are keys of users.toml, where everything can be changed later.",
		Example: "  dawk user add printer --senders printer@example.org --per-hour 60\n  dawk user add shop --senders @shop.example.org,orders@example.org",
		RunE:    func(cmd *cobra.Command, args []string) error { return userAdd(a, cmd, args[0], &n) },
	}
	f := cmd.Flags()
	f.StringSliceVar(&n.senders, "senders", nil, "whom the user may send as: addresses, or @domain for a whole domain")
	f.StringVar(&n.from, "from", "", `"any": the header may name anybody, and --senders binds the reverse-path alone`)
	f.StringVar(&n.rewriteFrom, "rewrite-from", "", "the address that its mail is sent from, whatever the client says")
	f.StringVar(&n.priority, "priority", "", `"high" or "bulk": its mail gets its turn before or after that of others`)
	p := &n.policy
	for _, flag := range []struct {
		name  string
		value *int
		what  string
	}{
		{"per-hour", &p.PerHour, "messages in an hour"},
		{"per-day", &p.PerDay, "messages in a day"},
		{"burst", &p.Burst, "messages at once, of --per-hour"},
		{"recipients-per-hour", &p.RecipientsPerHour, "recipients in an hour"},
		{"recipients-per-day", &p.RecipientsPerDay, "recipients in a day"},
		{"hold-copies", &p.HoldCopies, "recipients of the same text in an hour before all its mail is held"},
		{"hold-new-recipients", &p.HoldNewRecipients, "recipients in an hour that it never wrote to before, likewise"},
	} {
		f.IntVar(flag.value, flag.name, 0, flag.what+"; without it: no limit")
	}
	return cmd
}

// complete reads the flags that are no numbers, and refuses those that say
// nothing: whoever writes 0 may mean "none" or "no limit".
func (n *newUser) complete(cmd *cobra.Command) error {
	p := &n.policy
	for _, name := range []string{"per-hour", "per-day", "burst", "recipients-per-hour", "recipients-per-day", "hold-copies", "hold-new-recipients"} {
		if value, _ := cmd.Flags().GetInt(name); value < 1 && cmd.Flags().Changed(name) {
			return fmt.Errorf("--%s is %d; it must be at least 1: leave it out for no limit", name, value)
		}
	}
	for _, s := range n.senders {
		sender, err := identity.ParseSender(s)
		if err != nil {
			return fmt.Errorf("--senders: %w", err)
		}
		p.Senders = append(p.Senders, sender)
	}
	if cmd.Flags().Changed("senders") && len(p.Senders) == 0 {
		return errors.New("--senders is an empty list: leave it out to allow all")
	}
	if p.FromAny = n.from == "any"; n.from != "" && !p.FromAny {
		return fmt.Errorf("--from %q is unknown; the only value is any", relay.Clip(n.from))
	}
	priority, err := relay.ParsePriority(n.priority)
	if err != nil {
		return fmt.Errorf("--priority: %w", err)
	}
	p.Priority = priority
	if n.rewriteFrom != "" {
		box, err := relay.ParsePath(n.rewriteFrom)
		if err != nil {
			return fmt.Errorf("--rewrite-from: %w", err)
		}
		p.RewriteFrom = box
	}
	return nil
}

func userAdd(a *app.App, cmd *cobra.Command, name string, n *newUser) error {
	if err := identity.CheckName(name); err != nil {
		return err
	}
	if err := n.complete(cmd); err != nil {
		return err
	}
	users, err := usersFile(a)
	if err != nil {
		return err
	}
	switch u, err := findUser(users, name); { // before asking for a password
	case err != nil:
		return err
	case u != nil:
		return fmt.Errorf("there is a user %s already in %s; `dawk user passwd %[1]s` gives another password", u.Name, users.Path)
	}
	hash, err := a.NewPassword(name)
	if err != nil {
		return err
	}
	if err := users.Add(name, hash, n.policy); err != nil {
		return fmt.Errorf("%s: %w", users.Path, err)
	}
	fmt.Fprintf(a.Stdout, "%s added to %s\n", name, users.Path)
	return nil
}
