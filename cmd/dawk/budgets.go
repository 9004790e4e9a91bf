package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"dawk/mx"
	"dawk/mx/shaping"
	"dawk/relay"
)

// What the mailboxes of routes have sent, of what their providers allow.

// listedItem is a line of `dawk queue list --json`.
type listedItem struct {
	*relay.Item
	Budget map[string]time.Time `json:"waiting_for_budget,omitempty"` // until when, by the destination of Deliveries
}

// budgetWaits is until when destinations wait for their budget. It is an
// addition: trouble with it is no trouble.
func (c *client) budgetWaits(ctx context.Context, now time.Time) map[string]time.Time {
	var all []shaping.BudgetState
	if c.get(ctx, "/v1/budgets", nil, &all) != nil {
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
// budget. It is an addition: trouble with it is no trouble.
func (c *client) printBudgets(ctx context.Context, w io.Writer) {
	var all []shaping.BudgetState
	if c.get(ctx, "/v1/budgets", nil, &all) != nil {
		return
	}
	for _, b := range all {
		if b.Until.After(time.Now()) {
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
