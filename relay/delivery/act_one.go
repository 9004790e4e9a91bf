package delivery

import (
	"context"
	"fmt"
	"slices"

	"dawk/relay"
)

// ActOn is Act for one Delivery of a message, for filters that pick some
// destinations of it and not others. What parts from the Delivery in an
// attempt that is in progress is not acted upon.
func (d *Dispatcher) ActOn(ctx context.Context, id relay.QueueID, job uint16, verb Verb) error {
	if !slices.Contains(Verbs(), verb) {
		_, err := ParseVerb(string(verb))
		return err
	}
	select {
	case <-d.ready:
	case <-d.stopped:
		return fmt.Errorf("%s %s: %w", verb, id, relay.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s %s: the queue is still being loaded: %w", verb, id, ctx.Err())
	}
	if err := d.actOn(ctx, id, job, verb); err != nil {
		return fmt.Errorf("%s %s: %w", verb, id, err)
	}
	return nil
}
