package queued

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/filter"
	"dawk/relay/replies"
)

// Picked is a message with those of its Deliveries that a filter picked.
type Picked struct {
	relay.Item
	Whole bool            // all of them, with all that is open in them
	Part  map[uint16]bool // by Job: only some of its recipients
}

// Pick gives the items that f picks, each with only the Deliveries that it
// picks, and of these with each only the recipients that it picks. A filter of
// IDs is looked up; any other is a walk through the store.
func (m *Mail) Pick(ctx context.Context, f filter.Of[filter.Queued], each bool) iter.Seq2[*Picked, error] {
	return m.PickAfter(ctx, relay.QueueID{}, f, each)
}

// PickAfter is Pick for the messages whose IDs come after one: the next page of a list.
func (m *Mail) PickAfter(ctx context.Context, after relay.QueueID, f filter.Of[filter.Queued], each bool) iter.Seq2[*Picked, error] {
	all := m.Queue.Items(ctx, after)
	if ids := f.IDs(); ids != nil {
		all = m.byID(ids)
	}
	return func(yield func(*Picked, error) bool) {
		for item, err := range all {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if item.Message.ID.Key <= after.Key {
				continue
			}
			m.Annotate(item)
			p := m.pickFrom(item, f, each)
			if len(p.Deliveries) > 0 && !yield(p, nil) {
				return
			}
		}
	}
}

// Annotate adds what the scheduler knows of the Deliveries of a message, which it
// gives: its due time is the true one, also where an operator wants an attempt now.
func (m *Mail) Annotate(item *relay.Item) []relay.Where {
	all := m.Dispatcher.Where(item.Message.ID)
	now := time.Now()
	for i := range item.Deliveries {
		for j := range item.Deliveries[i].Open {
			if o := &item.Deliveries[i].Open[j]; !o.Last.IsZero() {
				o.Reason = string(replies.Classify(o.Last))
			}
		}
	}
	for i := range item.Deliveries { // what another relay has, or nobody yet, is as the store says
		if d := &item.Deliveries[i]; !slices.ContainsFunc(all, func(w relay.Where) bool { return w.Job == d.Job }) {
			all = append(all, stored(d, now))
		}
	}
	for _, w := range all {
		for i := range item.Deliveries {
			if d := &item.Deliveries[i]; d.Job == w.Job {
				d.Activity = w.Activity
				d.Provider = m.Dispatcher.Toward(d.Destination).Name
				if d.Held || w.Due.IsZero() {
					continue
				}
				if w.Due.Before(d.Due.Add(-time.Second)) { // it was woken
					d.Rule = ""
				}
				d.Due = w.Due
			}
		}
	}
	return all
}

// stored is what is about to happen to d by what the store has of it.
func stored(d *relay.Delivery, now time.Time) relay.Where {
	w := relay.Where{Job: d.Job, Destination: d.Destination, Due: d.Due, Activity: relay.Activity{State: relay.StateReady}}
	switch {
	case d.Held:
		w.State = relay.StateHeld
	case d.Due.After(now):
		w.State = relay.StateDeferred
	}
	return w
}

func (m *Mail) pickFrom(item *relay.Item, f filter.Of[filter.Queued], each bool) *Picked {
	p := &Picked{Item: relay.Item{Message: item.Message}, Part: make(map[uint16]bool)}
	for _, d := range item.Deliveries {
		q := filter.Queued{Message: &item.Message, Delivery: &d}
		if m.MaxAge != nil {
			q.MaxAge = m.MaxAge()
		}
		switch {
		case each:
			open, recipients := d.Open, filter.Recipients(f, q)
			d.Open = nil
			for _, o := range open {
				if slices.Contains(recipients, o.Recipient) {
					d.Open = append(d.Open, o)
				}
			}
			if len(d.Open) == 0 {
				continue
			}
			if len(d.Open) < len(open) {
				p.Part[d.Job] = true
			}
		case !f.Match(q):
			continue
		}
		p.Deliveries = append(p.Deliveries, d)
	}
	p.Whole = len(p.Deliveries) == len(item.Deliveries) && len(p.Part) == 0
	return p
}

// Item is a message by its ID, or by one that it had before it came back.
func (m *Mail) Item(id relay.QueueID) (*relay.Item, error) {
	item, err := m.Queue.Item(id)
	if errors.Is(err, relay.ErrNotFound) {
		for _, now := range slices.Backward(m.Kept.Now(id)) {
			if back, err := m.Queue.Item(now); err == nil {
				return back, nil
			}
		}
	}
	return item, err
}

// Current is the ID that a message has now.
func (m *Mail) Current(id relay.QueueID) relay.QueueID {
	if item, err := m.Item(id); err == nil {
		return item.Message.ID
	}
	return id
}

// byID looks messages up; those that are gone are left out.
func (m *Mail) byID(ids []relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) {
		for _, id := range ids {
			item, err := m.Queue.Item(id)
			if errors.Is(err, relay.ErrNotFound) {
				continue
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", id, err)
			}
			if !yield(item, err) {
				return
			}
		}
	}
}
