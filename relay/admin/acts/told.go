package acts

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dawk/relay"
	"dawk/relay/admin/past"
)

// told is what the senders of a bounce were told, or are to be. One look serves the whole act: a
// look for each message would read the history as often.
type told struct {
	a       *Actor
	notices map[relay.QueueID][]past.Notice
	rows    map[relay.QueueID][]relay.QueueID // of a list to come
	dry     bool
}

// told looks. No list of notices is written until done is called.
func (a *Actor) told(ctx context.Context, since time.Time, dry bool) (t *told, done func(), err error) {
	t = &told{a: a, dry: dry}
	if t.rows, done, err = a.Dispatcher.Unlisted(ctx); err != nil {
		return nil, nil, err
	}
	if t.notices, err = a.History.Notified(since.Add(-time.Second)); err != nil { // records have whole milliseconds
		done()
		return nil, nil, err
	}
	return t, done, nil
}

// unsend deletes the notices of a bounce, as long as none of them is on its way.
func (t *told) unsend(ctx context.Context, id relay.QueueID) error {
	notices, known := t.notices[id]
	if !known {
		return errors.New("nobody knows any more whether its sender was told ([history] keep)")
	}
	var waiting []relay.QueueID
	for _, n := range notices {
		if n.ID.IsZero() {
			if len(t.rows[id]) == 0 {
				return errors.New("its sender has been told already, in a list")
			}
			continue
		}
		item, err := t.a.Queue.Item(n.ID)
		if errors.Is(err, relay.ErrNotFound) {
			return errors.New("its sender has been told already")
		}
		if err != nil {
			return err
		}
		waiting = append(waiting, item.Message.ID)
	}
	if t.dry {
		return nil
	}
	for _, id := range waiting {
		if err := t.a.Dispatcher.Act(ctx, id, relay.VerbDelete); err != nil {
			return fmt.Errorf("its sender is being told: %w", err)
		}
	}
	if rows := t.rows[id]; len(rows) > 0 {
		return t.a.Dispatcher.Withdraw(rows)
	}
	return nil
}
