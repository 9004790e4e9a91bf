package delivery

import (
	"context"
	"fmt"
	"slices"
	"time"

	"dawk/relay"
)

// Reroute sends one Delivery, or some of its recipients, by the named route from now on, whatever
// the configuration's conditions say; relay.RouteMX names the MX hosts, "" the route that matches.
// It is attempted at once unless it is on hold. Errors are those of ActOn, and one for a route that
// does not exist.
func (d *Dispatcher) Reroute(ctx context.Context, id relay.QueueID, job uint16, recipients []int, route string) error {
	if err := d.admit(ctx, id, relay.VerbReroute); err != nil {
		return err
	}
	o := &order{id: id, verb: relay.VerbReroute, recipients: recipients, route: route, until: time.Now().Add(actPatience)}
	if err := d.actOn(ctx, o, job); err != nil {
		return fmt.Errorf("%s %s: %w", o.verb, id, err)
	}
	return nil
}

// reroute decides what Reroute does to a Delivery; changed is false when that changes nothing.
// Recipients with another destination are split off.
func (d *Dispatcher) reroute(now time.Time, c *relay.Claim, o *order) (dec decision, changed bool, err error) {
	from := c.Delivery
	picked := from.Recipients()
	if o.recipients != nil {
		picked = slices.DeleteFunc(picked, func(r int) bool { return !slices.Contains(o.recipients, r) })
	}
	if o.route != "" && d.transport.Along(o.route, c.Message, c.Message.Recipients[picked[0]].Path) == "" {
		return dec, false, fmt.Errorf("there is no route %s with a smart host in the configuration", o.route)
	}
	own, split := d.group(c, picked, o.route)
	if o.recipients == nil && len(split) == 0 && from.Route == o.route {
		return dec, false, nil
	}
	next := from.State()
	next.Route = o.route
	if !from.Held {
		if !from.HeldAt.IsZero() { // with its route, until now
			next.HeldFor, next.HeldAt = next.HeldFor+max(0, now.Sub(from.HeldAt)), time.Time{}
		}
		next.Due, next.Rule = now, fmt.Sprintf("sent to the route %s %s", o.route, byAdministrator)
		if o.route == "" {
			next.Rule = "sent to the route that matches it " + byAdministrator
		}
	}
	if len(own) > 0 && (o.recipients != nil || len(split) > 0) {
		split = append(split, relay.Split{Destination: from.Destination, Recipients: own})
	}
	dec = decision{now: now, gone: len(split) > 0 && len(picked) == len(from.Open), noted: next.DelayNoticed,
		settlement: relay.Settlement{ID: c.Message.ID, Job: from.Job, Next: next, Split: split}}
	if o.recipients != nil { // the others stay as they are
		dec.settlement.Next = from.State()
		for i := range split {
			split[i].Next = &next
		}
	}
	return dec, true, nil
}
