// Package operatorcmd is `dawk operator` and `dawk token`: the people and programs
// who may use the pages and the API. They change the file that [admin] operators
// names, and need no running relay. It has no goroutines. Begin reading at New.
package operatorcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/operator"
	"dawk/relay/identity"
)

const roles = "the role: read (look), operate (act on mail and read it) or admin (also reload and maintain)"

// New is `dawk operator`.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "operator",
		Short: "Add, list and remove the people who may use the pages",
		Long: "Changes the file that [admin] operators names. A running relay knows of it at once.\n" +
			"Passwords come from a prompt or from the first line of standard input. Only an argon2id hash is kept.",
		Args: app.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	role := ""
	add := &cobra.Command{
		Use: "add NAME", Short: "Add a person", Args: app.Arguments(1, 1, "NAME"),
		Example: "  dawk operator add alice --role operate",
		RunE:    func(_ *cobra.Command, args []string) error { return add(a, args[0], role) },
	}
	add.Flags().StringVar(&role, "role", "read", roles)
	cmd.AddCommand(add,
		&cobra.Command{
			Use: "passwd NAME", Short: "Give a person another password; it ends the sessions", Args: app.Arguments(1, 1, "NAME"),
			RunE: func(_ *cobra.Command, args []string) error { return passwd(a, args[0]) },
		},
		newList(a, "List the people", func(f *operator.File) []Listed {
			var all []Listed
			for _, o := range f.Operators {
				all = append(all, Listed{Name: o.Name, Role: o.Role})
			}
			return all
		}),
		&cobra.Command{
			Use: "remove NAME", Short: "Remove a person; it ends the sessions", Args: app.Arguments(1, 1, "NAME"),
			RunE: func(_ *cobra.Command, args []string) error {
				return change(a, args[0], "operator-remove", args[0], "removed from", func(e operator.Editor) error { return e.Remove(args[0]) })
			},
		},
	)
	return cmd
}

// NewToken is `dawk token`.
func NewToken(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Add, list and remove the tokens of programs that use the API",
		Long: "Changes the file that [admin] operators names. A token is shown once; only its hash is kept.\n" +
			"Tokens for sending mail are others: dawk user token.",
		Args: app.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	role, expires := "", ""
	add := &cobra.Command{
		Use: "add NAME", Short: "Make a token and show it", Args: app.Arguments(1, 1, "NAME"),
		Example: "  dawk token add grafana --role read --expires 365d",
		RunE:    func(_ *cobra.Command, args []string) error { return addToken(a, args[0], role, expires) },
	}
	add.Flags().StringVar(&role, "role", "read", roles)
	add.Flags().StringVar(&expires, "expires", "", "it ends after this time, such as 90d; without it: never")
	cmd.AddCommand(add,
		newList(a, "List the tokens", func(f *operator.File) []Listed {
			var all []Listed
			for _, t := range f.Tokens {
				all = append(all, Listed{Name: t.Name, Role: t.Role, Expires: t.Expires})
			}
			return all
		}),
		&cobra.Command{
			Use: "remove NAME", Short: "End a token", Args: app.Arguments(1, 1, "NAME"),
			RunE: func(_ *cobra.Command, args []string) error {
				return change(a, args[0], "token-remove", args[0], "removed from", func(e operator.Editor) error { return e.RemoveToken(args[0]) })
			},
		},
	)
	return cmd
}

// editor is where the configuration says that operators are. Mistakes elsewhere in it
// do not matter here.
func editor(a *app.App) (operator.Editor, error) {
	c, err := config.Read(a.ConfigPath)
	if err != nil {
		return operator.Editor{}, err
	}
	if c.Admin.Operators == "" {
		where := c.File()
		if where == "" {
			where = "the configuration (there is no file, see -c)"
		}
		return operator.Editor{}, fmt.Errorf("%s does not say where operators are kept: write [admin] operators = \"/etc/dawk/operators.toml\", and `dawk reload`", where)
	}
	return operator.Editor{Path: c.Admin.Operators}, nil
}

func add(a *app.App, name, role string) error {
	r, err := operator.ParseRole(role)
	if err != nil {
		return fmt.Errorf("--role: %w", err)
	}
	if err := identity.CheckName(name); err != nil {
		return err
	}
	if _, err := editor(a); err != nil { // before asking for a password
		return err
	}
	hash, err := a.NewPassword(name)
	if err != nil {
		return err
	}
	return change(a, name, "operator-add", fmt.Sprintf("%s with the role %s", name, r), "added to", func(e operator.Editor) error {
		return e.Add(operator.Operator{Name: name, Role: r, Password: hash})
	})
}

func passwd(a *app.App, name string) error {
	if _, err := editor(a); err != nil {
		return err
	}
	hash, err := a.NewPassword(name)
	if err != nil {
		return err
	}
	return change(a, name, "operator-passwd", name, "has a new password in", func(e operator.Editor) error { return e.SetPassword(name, hash) })
}

func addToken(a *app.App, name, role, expires string) error {
	r, err := operator.ParseRole(role)
	if err != nil {
		return fmt.Errorf("--role: %w", err)
	}
	token, hash := identity.NewToken()
	t := operator.Token{Name: name, Role: r, Hash: hash}
	if expires != "" {
		d, err := relay.ParseDuration(expires)
		if err != nil || d <= 0 {
			return fmt.Errorf("--expires %q is not a time from now, such as 90d", relay.Clip(expires))
		}
		t.Expires = time.Now().Add(time.Duration(d)).Truncate(time.Second)
	}
	e, err := editor(a)
	if err != nil {
		return err
	}
	if err := edited(e, name, e.AddToken(t)); err != nil {
		return err
	}
	note(a, "token-add", fmt.Sprintf("%s with the role %s", name, r))
	fmt.Fprintf(a.Stderr, "This is the only time that the token %s is shown.\n", name)
	fmt.Fprintln(a.Stdout, token)
	return nil
}

// change edits the file and says what was done.
func change(a *app.App, name, verb, what, done string, edit func(operator.Editor) error) error {
	e, err := editor(a)
	if err != nil {
		return err
	}
	if err := edited(e, name, edit(e)); err != nil {
		return err
	}
	note(a, verb, what)
	fmt.Fprintf(a.Stdout, "%s %s %s\n", name, done, e.Path)
	return nil
}

// note has the audit log tell what was changed, where there is one: a relay has run here.
func note(a *app.App, verb, what string) {
	c, err := config.Read(a.ConfigPath)
	if err != nil {
		return
	}
	if _, err := os.Stat(c.AuditDir()); errors.Is(err, fs.ErrNotExist) {
		return
	}
	r := audit.Record{Time: time.Now(), Who: fmt.Sprintf("uid:%d", os.Getuid()), Verb: verb, Filter: what}
	if err := audit.Append(c.AuditDir(), r); err != nil {
		fmt.Fprintf(a.Stderr, "dawk: the change is not in the audit log: %v\n", err)
	}
}

// edited says for people why an edit failed.
func edited(e operator.Editor, name string, err error) error {
	switch {
	case errors.Is(err, operator.ErrUnknown):
		return fmt.Errorf("there is no %s in %s", relay.Sanitize(name), e.Path)
	case errors.Is(err, operator.ErrExists):
		return fmt.Errorf("there is a %s already in %s", relay.Sanitize(name), e.Path)
	case err != nil:
		return fmt.Errorf("%s: %w", e.Path, err)
	}
	return nil
}

// Listed is a line of a list.
type Listed struct {
	Name    string        `json:"name"`
	Role    operator.Role `json:"role"`
	Expires time.Time     `json:"expires,omitzero"`
}

func newList(a *app.App, short string, of func(*operator.File) []Listed) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{Use: "list", Short: short, Args: app.NoArguments}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(*cobra.Command, []string) error {
		e, err := editor(a)
		if err != nil {
			return err
		}
		f, err := operator.ReadFile(e.Path)
		if err != nil {
			return err
		}
		return printList(a, of(f), asJSON)
	}
	return cmd
}

func printList(a *app.App, all []Listed, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Stdout).Encode(append([]Listed{}, all...))
	}
	w := show.NewTable(a.Stdout, show.Column{Name: "NAME", Weight: 3}, show.Column{Name: "ROLE", Weight: 1}, show.Column{Name: "EXPIRES", Weight: 2})
	for _, t := range all {
		expires := "never"
		if !t.Expires.IsZero() {
			expires = t.Expires.Local().Format(time.DateTime)
		}
		w.Row(t.Name, strings.ToLower(t.Role.String()), expires)
	}
	return w.Flush()
}
