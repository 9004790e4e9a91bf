package mx

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"dawk/mx/session"
	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/replies"
)

// mailboxKey names a mailbox at a provider, however many routes lead to it,
// unless it counts them as different services.
func mailboxKey(r *compiled) string {
	return fmt.Sprintf("%s %s %d/%d", r.Provider, strings.ToLower(r.User), r.Budget.MessagesPerDay, r.Budget.RecipientsPerDay)
}

// mailboxes are the budgets that count by the day, which are kept.
func (way *Routing) mailboxes() map[string]*shaping.Meter {
	all := map[string]*shaping.Meter{}
	for _, r := range way.routes {
		if r.Provider != replies.ProviderOther && (r.Budget.MessagesPerDay > 0 || r.Budget.RecipientsPerDay > 0) {
			all[mailboxKey(r)] = r.budget
		}
	}
	return all
}

// Budgets are those of all routes that have one.
func (t *Transport) Budgets() []shaping.BudgetState {
	var all []shaping.BudgetState
	now := time.Now()
	for _, r := range t.routes {
		if r.Budget != (shaping.Budget{}) {
			s := r.budget.State(now)
			s.Route = r.Name
			all = append(all, s)
		}
	}
	return all
}

// budgets gives each mailbox at a provider one budget, however many routes
// lead to it, and says which of them is the first: its name stands for the
// mailbox where connections are counted.
func budgets(routes []*compiled) {
	shared := make(map[string]*compiled)
	for _, r := range routes {
		r.first = r
		if r.Budget != (shaping.Budget{}) && r.Provider != replies.ProviderOther {
			m := mailboxKey(r)
			if shared[m] == nil {
				shared[m] = r
			}
			r.first = shared[m]
		}
		limits := r.Limits
		limits.Connections = cmp.Or(limits.Connections, r.Budget.Connections)
		r.first.takes = r.first.takes.Within(limits)
		if r.first == r {
			r.budget = shaping.NewMeter(r.Budget)
		} else {
			r.budget = r.first.budget
		}
	}
}

// afford takes room for a transaction of this attempt. The first was reserved
// by whoever scheduled the attempt; for a message with very many recipients
// there are others, which find out here.
func (a *attempt) afford(p session.Policy, s *sessionResult) bool {
	r := a.t.byDestination(RoutePrefix + p.Route)
	if first := !a.charged; first || r == nil {
		a.charged = true
		return true
	}
	until := r.budget.Reserve(time.Now())
	for !until.IsZero() && time.Until(until) < time.Second { // as where a database is being asked
		select {
		case <-time.After(time.Until(until)):
			until = r.budget.Reserve(time.Now())
		case <-a.use.Ctx.Done():
			until = until.Add(time.Second)
		}
	}
	if until.IsZero() {
		return true
	}
	for _, i := range s.rest {
		a.judge(i, relay.Decision(relay.CauseBudget, relay.Status{Class: 4, Subject: 3, Detail: 2},
			"the budget of route %q is used up until %s", r.Name, until.UTC().Format(time.RFC3339)))
	}
	s.rest, s.progress = nil, true
	return false
}

// byDestination is the route of a destination, or nil.
func (way *Routing) byDestination(destination string) *compiled {
	name, ok := strings.CutPrefix(destination, RoutePrefix)
	if !ok {
		return nil
	}
	for _, r := range way.routes {
		if r.Name == name {
			return r
		}
	}
	return nil
}

// Reserve takes room for one message to a destination from its budget, or says
// when there may be some. It is cheap and does not block.
func (t *Transport) Reserve(destination string) (wait time.Time) {
	r := t.byDestination(destination)
	if r == nil || r.gate.Held() { // what is turned back costs nothing
		return time.Time{}
	}
	return r.budget.Reserve(time.Now())
}
