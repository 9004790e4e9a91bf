package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Budget is what the smart host of a route lets us send, and how much of it is
// used. Limits that are 0 do not exist.
type Budget struct {
	PerMinute, MessagesPerDay, RecipientsPerDay             int
	UsedPerMinute, UsedMessagesPerDay, UsedRecipientsPerDay int
	Until                                                   time.Time // until when mail waits for it; zero: it need not
}

var (
	budgetDesc     = desc("dawk_route_budget", "What the smart host of the route lets us send, by kind of limit.", "route", "limit")
	budgetUsedDesc = desc("dawk_route_budget_used", "How much of dawk_route_budget is used, of the last minute or the last day.", "route", "limit")
	budgetWaitDesc = desc("dawk_route_budget_wait_seconds", "How long the mail of the route waits for its budget from now; 0: it need not.", "route")
)

func budgets(all map[string]Budget, gauge func(d *prometheus.Desc, v float64, labels ...string)) {
	for route, b := range all {
		for _, l := range []struct {
			name       string
			most, used int
		}{
			{"messages_per_minute", b.PerMinute, b.UsedPerMinute},
			{"messages_per_day", b.MessagesPerDay, b.UsedMessagesPerDay},
			{"recipients_per_day", b.RecipientsPerDay, b.UsedRecipientsPerDay},
		} {
			if l.most > 0 {
				gauge(budgetDesc, float64(l.most), route, l.name)
				gauge(budgetUsedDesc, float64(l.used), route, l.name)
			}
		}
		wait := 0.0
		if !b.Until.IsZero() {
			wait = max(0, time.Until(b.Until).Seconds())
		}
		gauge(budgetWaitDesc, wait, route)
	}
}
