// Package usercmd is `dawk user`: who may log in, and what they may do. Begin reading
// at New.
package usercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/identity"
)

// New edits the file of users. It needs no running relay: one that
// runs reads the file again by itself.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, list and remove those who may log in",
		Long: "Changes the file of users that [users] file names. A running relay knows of it within a second.\n" +
			"Passwords come from a prompt or from the first line of standard input, never from the command line,\n" +
			"where every user of the machine could read them. Only an argon2id hash is kept.",
		Args: app.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newUserAddCommand(a),
		&cobra.Command{
			Use: "passwd NAME", Short: "Give a user another password", Args: oneName,
			RunE: func(_ *cobra.Command, args []string) error { return userPasswd(a, args[0]) },
		},
		&cobra.Command{
			Use: "remove NAME", Short: "Remove a user", Args: oneName,
			RunE: func(_ *cobra.Command, args []string) error { return userRemove(a, args[0]) },
		},
		newUserTokenCommand(a),
		newUserListCommand(a),
		newUserReleaseCommand(a),
	)
	return cmd
}

func oneName(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	hint := ""
	if len(args) == 2 && (cmd.Name() == "add" || cmd.Name() == "passwd") {
		hint = "; the password is not given here, you will be asked for it"
	}
	return fmt.Errorf("`dawk user %s` takes one name%s", cmd.Name(), hint)
}

// usersFile is where the configuration says that the users are. Mistakes
// elsewhere in the configuration do not matter here: one of them may be that
// there is no file of users yet.
func usersFile(a *app.App) (identity.Editor, error) {
	c, err := config.Read(a.ConfigPath)
	if err != nil {
		return identity.Editor{}, err
	}
	if !c.Clean("users") || c.Users.File == "" {
		return identity.Editor{}, fmt.Errorf("%s does not say where the users are: correct [users] file", c.File())
	}
	return identity.Editor{Path: c.Users.File}, nil
}

func userPasswd(a *app.App, name string) error {
	users, err := usersFile(a)
	if err != nil {
		return err
	}
	switch u, err := findUser(users, name); {
	case err != nil:
		return err
	case u == nil:
		return noSuchUser(name, users.Path)
	}
	hash, err := a.NewPassword(name)
	if err != nil {
		return err
	}
	if err := users.SetPassword(name, hash); err != nil {
		return fmt.Errorf("%s: %w", users.Path, err)
	}
	fmt.Fprintf(a.Stdout, "%s has a new password in %s\n", name, users.Path)
	return nil
}

func userRemove(a *app.App, name string) error {
	users, err := usersFile(a)
	if err != nil {
		return err
	}
	err = users.Remove(name)
	switch {
	case errors.Is(err, identity.ErrUnknown):
		return noSuchUser(name, users.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", users.Path, err)
	}
	fmt.Fprintf(a.Stdout, "%s removed from %s\n", name, users.Path)
	return nil
}

// findUser is nil when there is none of that name.
func findUser(users identity.Editor, name string) (*identity.User, error) {
	list, err := users.List()
	if err != nil {
		return nil, err
	}
	for _, u := range list {
		if strings.EqualFold(u.Name, name) {
			return u, nil
		}
	}
	return nil, nil
}

func noSuchUser(name, path string) error {
	return fmt.Errorf("there is no user %s in %s", relay.Sanitize(name), path)
}

// Listed is a user as `dawk user list --json` prints it.
type Listed struct {
	Name           string       `json:"name"`
	Password       string       `json:"password"` // kind of hash
	Senders        []string     `json:"senders,omitempty"`
	FromAny        bool         `json:"from_any,omitempty"`
	Networks       []string     `json:"networks,omitempty"`
	MaxMessageSize int64        `json:"max_message_bytes,omitempty"`
	MaxAge         relay.Millis `json:"max_age_ms,omitempty"`
	Certificates   []string     `json:"certificates,omitempty"`

	PerHour           int    `json:"per_hour,omitempty"`
	PerDay            int    `json:"per_day,omitempty"`
	Burst             int    `json:"burst,omitempty"`
	RecipientsPerHour int    `json:"recipients_per_hour,omitempty"`
	RecipientsPerDay  int    `json:"recipients_per_day,omitempty"`
	RewriteFrom       string `json:"rewrite_from,omitempty"`
	Redirect          string `json:"redirect,omitempty"`
	Hold              bool   `json:"hold,omitempty"`
	NoDelayNotices    bool   `json:"no_delay_notices,omitempty"`
	HoldCopies        int    `json:"hold_copies,omitempty"`
	HoldNewRecipients int    `json:"hold_new_recipients,omitempty"`
	Priority          string `json:"priority"`
	SignedReturn      bool   `json:"signed_return,omitempty"` // its mail leaves with signed return addresses
	Unsubscribe       string `json:"unsubscribe,omitempty"`   // the link that its mail gets; absent: none
}

// newListed is a user in that form, but for the password.
func newListed(u *identity.User) Listed {
	p := u.Policy
	j := Listed{Name: u.Name, Senders: u.SenderNames(), FromAny: u.FromAny, MaxMessageSize: u.MaxMessageSize, MaxAge: relay.Millis(u.MaxAge), Certificates: u.Certificates,
		PerHour: p.PerHour, PerDay: p.PerDay, Burst: p.Burst, RecipientsPerHour: p.RecipientsPerHour, RecipientsPerDay: p.RecipientsPerDay,
		Hold: p.Hold, NoDelayNotices: p.NoDelayNotes,
		HoldCopies: p.HoldCopies, HoldNewRecipients: p.HoldNewRecipients, Priority: p.Priority.String(),
		SignedReturn: u.SignedReturn, Unsubscribe: p.Unsubscribe}
	for _, n := range u.Networks {
		j.Networks = append(j.Networks, n.String())
	}
	if !p.RewriteFrom.IsNull() {
		j.RewriteFrom = p.RewriteFrom.String()
	}
	if !p.Redirect.IsNull() {
		j.Redirect = p.Redirect.String()
	}
	return j
}

// limits says in a few words what else holds for a user.
func (j Listed) limits() string {
	var w []string
	number := func(n int, what string) {
		if n > 0 {
			w = append(w, fmt.Sprintf("%d %s", n, what))
		}
	}
	number(j.PerHour, "messages/h")
	number(j.PerDay, "messages/d")
	number(j.RecipientsPerHour, "recipients/h")
	number(j.RecipientsPerDay, "recipients/d")
	if j.Burst != j.PerHour {
		number(j.Burst, "messages at once")
	}
	if j.MaxMessageSize > 0 {
		w = append(w, "at most "+show.Size(j.MaxMessageSize))
	}
	if j.MaxAge > 0 {
		w = append(w, "kept "+relay.Duration(j.MaxAge).String())
	}
	number(j.HoldCopies, "copies/h, then on hold")
	number(j.HoldNewRecipients, "new recipients/h, then on hold")
	if j.NoDelayNotices {
		w = append(w, "no delay notices")
	}
	if len(j.Certificates) > 0 {
		w = append(w, "certificates "+strings.Join(j.Certificates, " "))
	}
	if j.RewriteFrom != "" {
		w = append(w, "from "+j.RewriteFrom)
	}
	if j.FromAny {
		w = append(w, "header from anybody")
	}
	if j.Redirect != "" {
		w = append(w, "all to "+j.Redirect)
	}
	if j.Hold {
		w = append(w, "on hold")
	}
	if j.SignedReturn {
		w = append(w, "signed return addresses")
	}
	if j.Unsubscribe != "" {
		w = append(w, "unsubscribe at "+j.Unsubscribe)
	}
	if j.Priority != relay.PriorityNormal.String() {
		w = append(w, j.Priority+" priority")
	}
	if len(w) == 0 {
		return "-"
	}
	return strings.Join(w, ", ")
}

func newUserListCommand(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use: "list", Short: "List the users and what they may do", Args: app.NoArguments,
		RunE: func(*cobra.Command, []string) error { return userList(a, asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func userList(a *app.App, asJSON bool) error {
	users, err := usersFile(a)
	if err != nil {
		return err
	}
	list, err := users.List()
	if err != nil {
		return err
	}
	out := []Listed{}
	for _, u := range list {
		j := newListed(u)
		j.Password = u.PasswordKind()
		out = append(out, j)
	}
	if asJSON {
		enc := json.NewEncoder(a.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}
	if len(out) == 0 {
		fmt.Fprintf(a.Stdout, "no users in %s; add one with `dawk user add NAME`\n", users.Path)
		return nil
	}
	w := show.NewTable(a.Stdout, show.Column{Name: "NAME", Weight: 9}, show.Column{Name: "MAY SEND AS", Weight: 7, Least: 16}, show.Column{Name: "FROM NETWORKS", Weight: 2, Least: 8},
		show.Column{Name: "PASSWORD", Weight: 1}, show.Column{Name: "LIMITS", Weight: 6, Least: 20})
	for _, j := range out {
		w.Row(j.Name, orAny(j.Senders), orAny(j.Networks), j.Password, j.limits())
	}
	return w.Flush()
}

func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, " ")
}
