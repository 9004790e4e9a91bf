// Package webhookcmd is `dawk webhook`: how far webhooks have come, and what can be done
// about one that fails. It asks the relay that runs. It has no goroutines. Begin
// reading at New.
package webhookcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin/webhooks"
	"dawk/relay/history"
	"dawk/relay/webhook"
)

// New is `dawk webhook`.
func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "List, test and replay webhooks",
		Long:  "Shows how far the webhooks of the configuration have come, and acts on one. It asks the relay that\nruns. What a receiver gets is in docs/webhooks.md.",
		Args:  app.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newList(a), newTest(a), newReplay(a), newEnable(a))
	return cmd
}

func newList(a *app.App) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{Use: "list", Short: "Print the webhooks, and how far each has come", Args: app.NoArguments,
		Long: "Prints each webhook with the events that wait for it and those that were given up."}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		var list []webhook.Status
		if err := c.One(cmd.Context(), http.MethodGet, "/v1/webhooks", nil, &list); err != nil {
			return err
		}
		if asJSON {
			enc := json.NewEncoder(a.Stdout)
			enc.SetIndent("", "  ")
			return enc.Encode(list)
		}
		if len(list) == 0 {
			fmt.Fprintln(a.Stdout, "no [[webhook]] is configured")
			return nil
		}
		t := show.NewTable(a.Stdout, show.Column{Name: "NAME", Weight: 9}, show.Column{Name: "STATE", Weight: 8}, show.Column{Name: "PENDING", Weight: 7},
			show.Column{Name: "FAILED", Weight: 6}, show.Column{Name: "DELIVERED", Weight: 3}, show.Column{Name: "URL", Weight: 4, Least: 20}, show.Column{Name: "LAST ERROR", Weight: 5, Least: 20})
		for _, s := range list {
			last := s.LastError
			if last == "" {
				last = "-"
			}
			t.Row(s.Name, s.Called(), s.Pending, s.Failed, s.Delivered, s.URL, last)
		}
		return t.Flush()
	}
	return cmd
}

func call(a *app.App, cmd *cobra.Command, verb string, req webhooks.Request, answer any) error {
	c, err := a.Client()
	if err != nil {
		return err
	}
	resp, err := c.Call(cmd.Context(), http.MethodPost, "/v1/webhooks/"+verb, nil, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the relay's answer: %w", err)
	}
	return nil
}

func newTest(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "test NAME", Short: "Send an event of type test, once", Args: app.Arguments(1, 1, "NAME"),
		Long: "Sends an event of type test, once. It exits 0 if the receiver took it with 2xx, else 1."}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var t webhooks.Tested
		if err := call(a, cmd, "test", webhooks.Request{Name: args[0]}, &t); err != nil {
			return err
		}
		switch {
		case t.OK:
			fmt.Fprintf(a.Stdout, "%s took the test event: HTTP status %d\n", relay.Sanitize(args[0]), t.Status)
			return nil
		case t.Error != "":
			return errors.New("the test event was not taken: " + t.Error)
		}
		return fmt.Errorf("the test event was not taken: HTTP status %d; only 2xx takes an event, and redirects are not followed", t.Status)
	}
	return cmd
}

func newReplay(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "replay NAME TERM…", Short: "Tell events again", Args: app.Arguments(2, 1000, "NAME TERM…"),
		Long:    "Tells a webhook again what the outbox keeps and all terms pick. Events have the IDs that they had.\n\n" + history.Terms.Help(),
		Example: "  dawk webhook replay crm is=failed since=2d\n  dawk webhook replay crm 1K1GAB4YBTA-FK0P"}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var c webhooks.Replayed
		err := call(a, cmd, "replay", webhooks.Request{Name: args[0], Terms: args[1:]}, &c)
		switch {
		case err != nil:
			return err
		case c.Count == 1:
			fmt.Fprintln(a.Stdout, "1 event is told again")
		default:
			fmt.Fprintf(a.Stdout, "%d events are told again\n", c.Count)
		}
		return nil
	}
	return cmd
}

func newEnable(a *app.App) *cobra.Command {
	cmd := &cobra.Command{Use: "enable NAME", Short: "Take up a webhook again whose receiver answered 410", Args: app.Arguments(1, 1, "NAME"),
		Long: "Takes up a webhook again whose receiver answered 410. It is told what has happened since, as far as\nthe outbox still has it."}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var s webhook.Status
		if err := call(a, cmd, "enable", webhooks.Request{Name: args[0]}, &s); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.Stdout, "%s is %s, %s pending\n", relay.Sanitize(s.Name), s.State, show.Plural(s.Pending, "event"))
		return err
	}
	return cmd
}
