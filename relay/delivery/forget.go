package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dawk/relay"
)

// Forget gives up the Deliveries of the messages that match, for a store that
// hands them to another node: when it returns nil, none of them is in the
// schedule and nothing of them is in progress. What is in progress is settled
// first. The store keeps them and must not tell of new ones meanwhile; those that
// it takes over later come through Queue.Watch like accepted mail.
//
// An error is that of ctx, or relay.ErrClosed; then only some have been forgotten.
func (d *Dispatcher) Forget(ctx context.Context, match func(relay.QueueID) bool) error {
	for {
		inProgress := d.forgetWaiting(match)
		if len(inProgress) == 0 {
			return nil
		}
		for _, w := range inProgress {
			got, _, err := d.acquire(ctx, w.id, w.job, time.Time{}, false)
			if errors.Is(err, relay.ErrNotFound) {
				continue // it has ended
			}
			if err != nil {
				return fmt.Errorf("forget %s: %w", w.id, err)
			}
			f := got.was
			f.Gone = true
			d.release(got, f)
			d.wg.Done()
		}
	} // repeat: an attempt may have made new Deliveries of its message
}

// forgetWaiting takes those that match off the schedule, and gives those that
// are in progress.
func (d *Dispatcher) forgetWaiting(match func(relay.QueueID) bool) (inProgress []work) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.sched.All() {
		if id, _ := d.sched.Delivery(r); !match(id) {
			continue
		}
		w := d.workOn(r)
		if d.sched.Taken(r) {
			inProgress = append(inProgress, w)
			continue
		}
		d.sched.Pull(r)
		w.was.Gone = true
		d.sched.Put(r, w.was, d.clock.now())
	}
	return inProgress
}
