// Package suppressioncmd is `dawk suppression`: who gets no mail any more. It asks the
// relay that runs; where none does, it changes the list in data_dir itself, and the lock
// of the directory keeps a relay from starting meanwhile. It has no goroutines. Begin
// reading at New.
package suppressioncmd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin/suppressed"
	"dawk/relay/filter"
	"dawk/relay/suppression"
	"dawk/relay/unsubscribe"
)

// New is `dawk suppression`.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "suppression",
		Short: "List, add and remove recipients that get no mail any more",
		Long: "Lists and changes who gets no mail any more, as [suppression] has it. It asks the relay that\n" +
			"runs; where none does, it uses the list in data_dir.",
		Args: app.KnownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newList(a), newAdd(a), newRemove(a), newImport(a), newExport(a), newWhose(a))
	return cmd
}

func newList(a *app.App) *cobra.Command {
	asJSON, limit := false, 0
	cmd := &cobra.Command{Use: "list [TERM…]", Short: "Print who is on the list, the oldest entry first", Long: "Prints who is on the list.\n\n" + suppression.Terms.Help(),
		Example: "  dawk suppression list to=@example.com\n  dawk suppression list 'age<1d' --json"}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON, one entry a line")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most this many; 0: all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return with(a, cmd.Context(), func(d desk) error {
			out := bufio.NewWriter(a.Stdout)
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			t := show.NewTable(out, show.Column{Name: "ADDRESS", Weight: 9, Least: 20}, show.Column{Name: "IDENTITY", Weight: 6, Least: 8},
				show.Column{Name: "SINCE", Weight: 8}, show.Column{Name: "EXPIRES", Weight: 7}, show.Column{Name: "REASON", Weight: 4, Least: 12})
			shown := 0
			found, err := d.each(filter.Join(args), limit, func(e suppression.Entry) error {
				shown++
				if asJSON {
					return enc.Encode(e)
				}
				whose := relay.Sanitize(e.Identity)
				if whose == "" {
					whose = "(all)"
				}
				t.Row(relay.Sanitize(e.Address), whose, e.Since.Local().Format("2006-01-02 15:04"), e.Expires.Local().Format("2006-01-02"), relay.Sanitize(e.Reason))
				return nil
			})
			if err != nil {
				return err
			}
			if !asJSON {
				err = t.Flush()
				if found > shown {
					fmt.Fprintf(out, "The first %d of %s.\n", shown, entries(found))
				}
			}
			return errors.Join(err, out.Flush())
		})
	}
	return cmd
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func newAdd(a *app.App) *cobra.Command {
	var req suppressed.AddRequest
	expires := ""
	cmd := &cobra.Command{Use: "add ADDRESS…", Short: "Put addresses on the list", Args: app.Arguments(1, 1000, "ADDRESS…"),
		Example: "  dawk suppression add reader@example.com --reason 'asked by telephone'"}
	cmd.Flags().StringVar(&req.Identity, "identity", "", "whose mail it concerns; without it: everybody's")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for whoever reads the list")
	cmd.Flags().StringVar(&expires, "expires", "", "it ends after this time, such as 30d; without it: as [suppression] says")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		req.Addresses = args
		if expires != "" {
			if req.Expires, err = relay.ParseDuration(expires); err != nil || req.Expires <= 0 {
				return fmt.Errorf("--expires %q is not a time such as 30d", relay.Clip(expires))
			}
		}
		return with(a, cmd.Context(), func(d desk) error {
			c, err := d.add(req)
			return say(a, err, "On the suppression list: %s.\n", entries(c.Count))
		})
	}
	return cmd
}

// say prints a line unless there is an error.
func say(a *app.App, err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.Stdout, format, args...)
	return err
}

func newRemove(a *app.App) *cobra.Command {
	req := suppressed.RemoveRequest{}
	cmd := &cobra.Command{Use: "remove ADDRESS…|TERM…", Short: "Take entries off the list", Args: app.Arguments(1, 1000, "ADDRESS…, or TERM…"),
		Long:    "Takes entries off the list: of these addresses, for every identity, or those that the terms pick.\n\n" + suppression.Terms.Help(),
		Example: "  dawk suppression remove reader@example.com\n  dawk suppression remove to=@example.com 'age<1d' --dry-run"}
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "only show what would be removed")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if req.Filter, err = filterOf(args); err != nil {
			return err
		}
		return with(a, cmd.Context(), func(d desk) error {
			c, err := d.remove(req)
			if err != nil {
				return err
			}
			for _, e := range c.Entries {
				fmt.Fprintf(a.Stdout, "%s (%s, since %s)\n", relay.Sanitize(e.Address), relay.Sanitize(e.Reason), e.Since.Local().Format("2006-01-02"))
			}
			switch {
			case c.Count == 0:
				fmt.Fprintln(a.Stderr, "No entry matches; nothing was removed.")
				return app.ErrReported
			case c.DryRun:
				return say(a, nil, "Would be removed: %s.\n", entries(c.Count))
			}
			return say(a, nil, "Removed from the suppression list: %s.\n", entries(c.Count))
		})
	}
	return cmd
}

// filterOf is the filter for addresses, or the terms as they are.
func filterOf(args []string) (string, error) {
	var addresses []string
	for _, arg := range args {
		_, none := suppression.Terms.Parse(arg, time.Now())
		if p, err := relay.ParsePath(arg); err == nil && none != nil && p.Domain() != "" && !strings.ContainsAny(arg, "<>~") {
			addresses = append(addresses, p.String())
		}
	}
	switch len(addresses) {
	case 0:
		return filter.Join(args), nil
	case len(args):
		return suppression.FilterFor(addresses), nil
	}
	return "", errors.New("give either addresses or terms: with terms an address is written to=reader@example.com")
}

func newImport(a *app.App) *cobra.Command {
	format, identity := "csv", ""
	cmd := &cobra.Command{Use: "import FILE", Short: "Put the entries of a file on the list, all or none", Args: app.Arguments(1, 1, "FILE, or - for standard input"),
		Long: "Puts the entries of a file on the list. With one fault in it nothing is imported, and each fault is told\n" +
			"with its line. csv is what export writes; sendgrid and mailgun are what these providers give out, as CSV or JSON.",
		Example: "  dawk suppression import bounces.csv --format sendgrid"}
	cmd.Flags().StringVar(&format, "format", format, "csv, sendgrid or mailgun")
	cmd.Flags().StringVar(&identity, "identity", "", "whose mail the entries concern where the file does not say it; without it: everybody's")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var in io.Reader = a.Stdin
		if args[0] != "-" {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			in = f
		}
		return with(a, cmd.Context(), func(d desk) error {
			c, err := d.importFile(format, identity, in)
			return say(a, err, "Imported: %s.\n", entries(c.Count))
		})
	}
	return cmd
}

// newWhose needs no running relay: the key is in data_dir.
func newWhose(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{Use: "whose TOKEN", Short: "Say whom the token of an unsubscribe link stands for", Args: app.Arguments(1, 1, "TOKEN")}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		cfg, err := a.Settings()
		if err != nil {
			return err
		}
		tokens, err := unsubscribe.Open(cfg.DataDir)
		if err != nil {
			return err
		}
		who, to, err := tokens.Read(args[0])
		if err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(suppressed.Link{Address: to, Identity: who})
		}
		return say(a, nil, "%s, of the mail of %s\n", relay.Sanitize(to), relay.Sanitize(who))
	}
	return cmd
}

func newExport(a *app.App) *cobra.Command {
	return &cobra.Command{Use: "export [TERM…]", Short: "Write the list as CSV", Long: "Writes the list as CSV, header first.\n\n" + suppression.Terms.Help(),
		Example: "  dawk suppression export > suppression.csv",
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(a, cmd.Context(), func(d desk) error {
				out := suppression.NewWriter(a.Raw)
				_, err := d.each(filter.Join(args), 0, out.Write)
				return errors.Join(err, out.Flush())
			})
		}}
}
