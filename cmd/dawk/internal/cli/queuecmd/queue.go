// Package queuecmd is `dawk queue` and `dawk why`: what waits, why, and what is done
// about it. It asks the relay that runs; verify and compact also work where none does.
// Begin reading at New.
package queuecmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/cmd/dawk/internal/cli/app"
	"dawk/cmd/dawk/internal/explain"
	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/filter"
)

// listLimit is how many Deliveries a table shows unless told otherwise: more
// than anybody reads.
const listLimit = 1000

// pickRecipients is said of the verbs that end mail.
const pickRecipients = "Only the recipients that the filter picks are concerned, each looked at alone; the\n" +
	"others of the same message stay. (retry, hold and release are for all of a delivery.)"

func New(a *app.App) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "queue",
		Short: "Look at the queue of the running relay, and act on what is in it",
		Long:  "Look at the queue of the running relay, and act on what is in it.\n\n" + filter.Queue.Help(),
		Args:  app.KnownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newQueueListCommand(a), newQueueShowCommand(a), newQueueProvidersCommand(a))
	for _, v := range []struct {
		verb        relay.Verb
		short, long string
	}{
		{relay.VerbRetry, "Try messages now instead of at their time", "What is on hold stays there: release it instead."},
		{relay.VerbHold, "Keep messages in the queue without trying them", "Time on hold does not count towards the age at which a message is returned."},
		{relay.VerbRelease, "End a hold, and try the messages now", ""},
		{relay.VerbDelete, "Delete messages; nobody is told", pickRecipients + "\nFor 24 hours dawk queue undo brings them back, unless --purge is given. Look first with --dry-run."},
		{relay.VerbBounce, "Give up on messages, and tell their senders", "The senders get the notice that they would get at the end of the message's lifetime.\n" + pickRecipients},
	} {
		cmd.AddCommand(newQueueActCommand(a, v.verb, v.short, v.long))
	}
	cmd.AddCommand(newRerouteCommand(a), newUndoCommand(a), newExportCommand(a), newImportCommand(a))
	cmd.AddCommand(newQueueStoreCommands(a)...)
	return cmd
}

func newQueueListCommand(a *app.App) *cobra.Command {
	var asJSON bool
	var limit int
	var by string
	cmd := &cobra.Command{
		Use:   "list [FILTER…]",
		Short: "List what is waiting, one line for each destination of a message",
		Long:  "List what is waiting, one line for each destination of a message.\n\n" + filter.Queue.Help(),
		Example: "  dawk queue list to=@example.com 'age>1h'\n  dawk queue list --by dest\n" +
			"  dawk queue list --json | jq -r .message.id",
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a message and line")
	cmd.Flags().IntVarP(&limit, "limit", "n", listLimit, "lines at most; 0: all (with --json the default is all)")
	cmd.Flags().StringVar(&by, "by", "", "count instead of listing, by age: provider, domain, reason, identity, route, state, dest or age")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := parseFilterArgs(args)
		if err != nil {
			return err
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		if by != "" {
			return printShapeOf(c, cmd, a.Stdout, by, filter, asJSON)
		}
		if asJSON && !cmd.Flags().Changed("limit") {
			limit = 0
		}
		return listQueue(c, cmd, a, filter, limit, asJSON)
	}
	return cmd
}

// parseFilterArgs reads the filter here already, so that its errors need no
// running relay.
func parseFilterArgs(args []string) (filter.Of[filter.Queued], error) {
	return filter.Queue.Args(args, time.Now())
}

func listQueue(c *app.Client, cmd *cobra.Command, a *app.App, picks filter.Of[filter.Queued], limit int, asJSON bool) error {
	query := url.Values{"filter": {picks.String()}, "limit": {strconv.Itoa(limit)}}
	table := newListTable(a.Stdout)
	encoder := json.NewEncoder(a.Stdout)
	now := time.Now()
	listed := map[string]bool{} // the providers that what is listed goes to
	var budgets map[string]time.Time
	if asJSON {
		budgets = budgetWaits(c, cmd.Context(), now)
	}
	end, err := c.Lines(cmd.Context(), http.MethodGet, "/v1/queue", query, nil, func(l admin.Line) error {
		switch {
		case l.Error != "":
			fmt.Fprintf(a.Stderr, "dawk: %s\n", l.Error)
			return nil
		case l.Item == nil:
			return nil // of a newer relay
		case asJSON:
			return encoder.Encode(ListedItem{Item: l.Item, Budget: waitsOf(l.Item, budgets)})
		}
		for _, d := range l.Item.Deliveries {
			listed[d.Provider] = true
		}
		return table.add(l.Item, now)
	})
	if err != nil {
		return err
	}
	if !asJSON {
		if err := table.Flush(); err != nil {
			return err
		}
		fmt.Fprintln(a.Stdout, listSummary(end, picks.Empty()))
		concerns := func(provider string) bool { return picks.Empty() || listed[provider] }
		printBudgets(c, cmd.Context(), a.Stdout, concerns)
		printWaiting(c, cmd.Context(), a.Stdout, concerns)
	}
	if end.Failed > 0 {
		return fmt.Errorf("%s could not be read; see dawk queue verify", show.Plural(end.Failed, "record"))
	}
	return nil
}

func printShapeOf(c *app.Client, cmd *cobra.Command, w io.Writer, by string, picks filter.Of[filter.Queued], asJSON bool) error {
	var s admin.Shape
	if err := c.Get(cmd.Context(), "/v1/shape", url.Values{"by": {by}, "filter": {picks.String()}}, &s); err != nil {
		return err
	}
	switch {
	case asJSON:
		return json.NewEncoder(w).Encode(s)
	case by == "age":
		return printAges(w, &s)
	}
	return printShape(w, &s)
}

func newQueueShowCommand(a *app.App) *cobra.Command {
	var asJSON, content, headers bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one message: envelope, recipients, attempts; or its content",
		Args:  app.OneID,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.Flags().BoolVar(&content, "content", false, "print the whole message as it will be sent")
	cmd.Flags().BoolVar(&headers, "headers", false, "print its header fields")
	cmd.MarkFlagsMutuallyExclusive("json", "content", "headers")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := relay.ParseQueueID(args[0])
		if err != nil {
			return err
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		if content || headers {
			return printContent(c, cmd, a.Raw, id, headers)
		}
		var item relay.Item
		if err := c.Get(cmd.Context(), "/v1/queue/"+id.String(), nil, &item); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.Stdout).Encode(item)
		}
		return explain.NewPrinter(a.Stdout, time.Now()).Item(&item)
	}
	return cmd
}

func printContent(c *app.Client, cmd *cobra.Command, w io.Writer, id relay.QueueID, headers bool) error {
	part := "/content"
	if headers {
		part = "/headers"
	}
	resp, err := c.Call(cmd.Context(), http.MethodGet, "/v1/queue/"+id.String()+part, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if show.IsTerminal(w) { // a message may hold what steers a terminal
		w = show.NewEscaped(w)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("read the content of %s: %w", id, err)
	}
	return nil
}

func newQueueActCommand(a *app.App, verb relay.Verb, short, long string) *cobra.Command {
	var all, dryRun, asJSON, now, purge bool
	cmd := &cobra.Command{
		Use:   string(verb) + " FILTER…",
		Short: short,
		Long:  strings.TrimSpace(short+".\n"+long) + "\n\n" + filter.Queue.Help(),
	}
	cmd.Flags().BoolVar(&all, "all", false, "the whole queue, instead of a filter")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object a line")
	if verb == relay.VerbDelete {
		cmd.Flags().BoolVar(&purge, "purge", false, "keep nothing for undo")
	}
	if verb == relay.VerbRetry {
		cmd.Flags().BoolVar(&now, "now", false, "cut an attempt that is under way, unless it has sent the whole message, and begin another")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		filter, err := parseFilterArgs(args)
		if err != nil {
			return err
		}
		if filter.Empty() && !all {
			return fmt.Errorf("queue %s needs to know which messages: give a queue ID or a filter such as to=@example.com, or --all for the whole queue", verb)
		}
		c, err := a.Client()
		if err != nil {
			return err
		}
		req := admin.ActRequest{Verb: verb, Filter: filter.String(), All: all, DryRun: dryRun, Now: now, Purge: purge}
		return runAct(c, cmd, a, req, asJSON)
	}
	return cmd
}

func runAct(c *app.Client, cmd *cobra.Command, a *app.App, req admin.ActRequest, asJSON bool) error {
	return runLines(c, cmd, a, "/v1/queue/act", nil, req, req, " deliveries", asJSON)
}

// runLines sends body and prints what comes back; req says what it is. Of is said after the
// number of lines, on the terminal of whoever has the lines elsewhere.
func runLines(c *app.Client, cmd *cobra.Command, a *app.App, path string, query url.Values, body any, req admin.ActRequest, of string, asJSON bool) error {
	encoder := json.NewEncoder(a.Stdout)
	progress := &show.Progress{}
	if !show.IsTerminal(a.Stdout) {
		progress = show.NewProgress(a.Terminal, string(req.Verb))
	}
	defer progress.Close()
	lines := 0
	end, err := c.Lines(cmd.Context(), http.MethodPost, path, query, body, func(l admin.Line) error {
		lines++
		progress.Say("%d%s", lines, of)
		switch {
		case asJSON && (l.Acted != nil || l.Error != ""):
			return encoder.Encode(l)
		case l.Error != "":
			fmt.Fprintf(a.Stderr, "dawk: %s\n", l.Error)
		case l.Acted != nil && l.Acted.Error != "":
			fmt.Fprintf(a.Stderr, "dawk: %s (to %s)\n", relay.Sanitize(l.Acted.Error), relay.Sanitize(l.Acted.Destination))
		case l.Acted != nil:
			return printActed(a.Stdout, req, l.Acted)
		}
		return nil
	})
	progress.Close()
	if err != nil {
		return err
	}
	if asJSON {
		if err := encoder.Encode(admin.Line{End: end}); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(a.Stdout, actSummary(req, end))
	}
	picks, _ := filter.Queue.Parse(req.Filter, time.Now()) // the relay has read it
	switch {
	case end.Failed > 0:
		return app.ErrReported
	case end.Skipped > 0 && end.Deliveries == 0 && req.Verb == relay.VerbRetry:
		return app.ErrReported
	case end.Deliveries+end.Gone+end.Skipped == 0 && len(picks.IDs()) > 0:
		return errors.New("the message is not in the queue, or another term of the filter does not hold for it; see dawk why ID")
	}
	return nil
}
