package queuecmd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/show"
	"dawk/mx"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin"
)

func newQueueProvidersCommand(a *app.App) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "providers",
		Short: "List the providers that mail is waiting for, and why it waits",
		Long: "List the providers that mail is going to or waiting for: how many connections each\n" +
			"has, how many it may have now and when all is well, its rates, and what slowed it.\n" +
			"A provider is all domains whose MX hosts it runs, or one route: docs/shaping.md.",
		Args: app.NoArguments,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := a.Client()
		if err != nil {
			return err
		}
		var got admin.Providers
		if err := c.Get(cmd.Context(), "/v1/providers", nil, &got); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(got)
		}
		return printProviders(a.Stdout, got)
	}
	return cmd
}

// maxWaiting is how many providers stand below a list of mail.
const maxWaiting = 5

// printWaiting says below a list of mail which providers it waits for. It is
// an extra: without an answer nothing is printed. A list of some mail names only
// the providers that it concerns.
func printWaiting(c *app.Client, ctx context.Context, w io.Writer, concerns func(provider string) bool) {
	var got admin.Providers
	if c.Get(ctx, "/v1/providers", nil, &got) != nil {
		return
	}
	n := 0
	for _, p := range got.Providers { // those with most waiting come first
		waiting := p.Ready
		if p.State == relay.LoadHeld || p.State == relay.LoadSuspended {
			waiting = p.Queued // those too that wait for their time
		}
		if waiting == 0 || !concerns(p.Name) {
			continue
		}
		if n++; n > maxWaiting {
			fmt.Fprintln(w, "More: dawk queue providers")
			return
		}
		fmt.Fprintf(w, "%s for %s: %s.\n", countedWaiting(waiting), relay.Sanitize(p.Called()), p.Said)
		if fix := p.Failure.Remedy; fix != "" {
			fmt.Fprintf(w, "  → %s\n", relay.Sanitize(fix))
		}
	}
}

func countedWaiting(n int) string {
	if n == 1 {
		return "1 delivery waits"
	}
	return fmt.Sprintf("%d deliveries wait", n)
}

func printProviders(w io.Writer, got admin.Providers) error {
	if len(got.Providers) == 0 {
		_, err := fmt.Fprintln(w, "No mail is going out or ready to, and no provider has slowed us down lately.")
		return err
	}
	t := show.NewTable(w, show.Column{Name: "PROVIDER", Weight: 9, Least: 20}, show.Column{Name: "STATE", Weight: 8}, show.Column{Name: "READY", Weight: 6},
		show.Column{Name: "QUEUED", Weight: 5}, show.Column{Name: "DOMAINS"}, show.Column{Name: "IN USE", Weight: 4}, show.Column{Name: "NOW", Weight: 2},
		show.Column{Name: "MOST", Weight: 1}, show.Column{Name: "WHY IT WAITS", Weight: 7, Least: 24, Wrap: true})
	for _, p := range got.Providers {
		name := relay.Sanitize(p.Name)
		if name == "" {
			name = "(not known yet)"
		}
		t.Row(name, p.State, p.Ready, p.Queued, p.Domains, p.Connections, p.Limit, p.Most, p.Said)
	}
	return t.Flush()
}

// What the mailboxes of routes have sent, of what their providers allow.

// ListedItem is a line of `dawk queue list --json`.
type ListedItem struct {
	*relay.Item
	Budget map[string]time.Time `json:"waiting_for_budget,omitempty"` // until when, by the destination of Deliveries
}

// budgetWaits is until when destinations wait for their budget. It is an
// addition: an error here is not reported.
func budgetWaits(c *app.Client, ctx context.Context, now time.Time) map[string]time.Time {
	var all []shaping.BudgetState
	if c.Get(ctx, "/v1/budgets", nil, &all) != nil {
		return nil
	}
	waits := map[string]time.Time{}
	for _, b := range all {
		if b.Until.After(now) {
			waits[mx.RoutePrefix+b.Route] = b.Until
		}
	}
	return waits
}

// waitsOf are those of the Deliveries of a message that a hold does not stop.
func waitsOf(item *relay.Item, all map[string]time.Time) map[string]time.Time {
	waits := map[string]time.Time{}
	for _, d := range item.Deliveries {
		if until, ok := all[d.Destination]; ok && !d.Held {
			waits[d.Destination] = until
		}
	}
	return waits
}

// printBudgets says below a list of the queue which routes wait for their
// budget. It is an addition: an error here is not reported.
func printBudgets(c *app.Client, ctx context.Context, w io.Writer, concerns func(provider string) bool) {
	var all []shaping.BudgetState
	if c.Get(ctx, "/v1/budgets", nil, &all) != nil {
		return
	}
	for _, b := range all {
		if b.Until.After(time.Now()) && concerns(mx.RoutePrefix+b.Route) {
			fmt.Fprintf(w, "Route %s is waiting for its budget until %s (%s).\n", b.Route, b.Until.Local().Format("2006-01-02 15:04:05 MST"), budgetUsed(b))
		}
	}
}

// budgetUsed says how much of a budget is used.
func budgetUsed(b shaping.BudgetState) string {
	s := ""
	for _, l := range []struct {
		used, most int
		what       string
	}{
		{b.Used.PerMinute, b.Limit.PerMinute, "messages a minute"},
		{b.Used.MessagesPerDay, b.Limit.MessagesPerDay, "messages a day"},
		{b.Used.RecipientsPerDay, b.Limit.RecipientsPerDay, "recipients a day"},
	} {
		if l.most > 0 {
			if s != "" {
				s += ", "
			}
			s += fmt.Sprintf("%d of %d %s", l.used, l.most, l.what)
		}
	}
	return s
}
