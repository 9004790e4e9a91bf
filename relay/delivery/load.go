package delivery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
)

// load adds everything in the store to the schedule. Mail that is accepted meanwhile comes through
// watch; nothing is added twice.
func (d *Dispatcher) load(ctx context.Context) error {
	for e, err := range d.queue.Entries() {
		if ctx.Err() != nil {
			return nil // a stop during the start
		}
		if errors.Is(err, relay.ErrCorrupt) {
			d.mu.Lock()
			d.count.corrupt++
			d.mu.Unlock()
			d.cfg.Log.Error("a record of the queue cannot be read and is not delivered", "qid", e.ID, "error", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("load the queue: %w", err)
		}
		d.mu.Lock()
		now := d.clock.now()
		d.sched.Add(e, d.stateOf(e), now)
		d.mu.Unlock()
	}
	if err := d.LoadRows(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	d.loaded = true
	d.mu.Unlock()
	return nil
}

// LoadRows reads from the store the rows that lists still have to report. Run begins with it; it is
// also for a store that has taken over rows of another one.
func (d *Dispatcher) LoadRows(ctx context.Context) error {
	now := time.Now().Round(0)
	for row, err := range d.queue.DigestRows() {
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("load what senders are still to be told: %w", err)
		}
		d.rules.Load().notices.Kept(now, row)
	}
	return nil
}

// watch adds new Deliveries to the schedule. It is called by the store's writer.
func (d *Dispatcher) watch(entries []relay.Entry) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.now()
	for _, e := range entries {
		d.sched.Add(e, d.stateOf(e), now)
	}
	d.pump()
}

// stateOf is where a Delivery of the store belongs; the clock was just looked at.
//
// A due time further away than the schedule ever puts one was written before
// the clock was set back: it is brought near. FUTURERELEASE (RFC 4865) is the
// exception: before the first attempt, a due time after arrival was asked for.
func (d *Dispatcher) stateOf(e relay.Entry) schedule.State {
	due := e.Due
	asked := e.Attempts == 0 && e.Due.After(e.Arrival)
	if !asked {
		limit := d.clock.wall
		if e.Attempts > 0 {
			limit = limit.Add(d.rules.Load().settler.retry.Longest())
		}
		if due.After(limit) {
			due = limit
		}
	}
	f := schedule.State{Due: d.clock.at(due), Attempts: e.Attempts, Held: e.Held}
	if d.rules.Load().settler.delayNotice > 0 && !e.DelayNoticed {
		begin := e.Arrival
		switch {
		case asked:
			begin = e.Due
		case begin.After(d.clock.wall):
			begin = d.clock.wall
		}
		f.Notice = d.clock.at(begin.Add(d.rules.Load().settler.delayNotice))
	}
	return f
}
