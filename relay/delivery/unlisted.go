package delivery

import (
	"context"
	"fmt"

	"dawk/relay"
)

// Unlisted gives the rows that wait for a list and tell senders of the end of mail, by message: of
// what the operator takes back, [Dispatcher.Withdraw] takes the rows away. Until done is called no
// list is written, so that no row is told of meanwhile.
func (d *Dispatcher) Unlisted(ctx context.Context) (rows map[relay.QueueID][]relay.QueueID, done func(), err error) {
	select {
	case d.lists <- struct{}{}:
	case <-d.stopped:
		return nil, nil, relay.ErrClosed
	case <-ctx.Done():
		return nil, nil, fmt.Errorf("a list of notices is being written: %w", ctx.Err())
	}
	done = func() { <-d.lists; d.wake() }
	rows = make(map[relay.QueueID][]relay.QueueID)
	for row, err := range d.queue.DigestRows() {
		if err != nil {
			done()
			return nil, nil, err
		}
		if of := d.rules.Load().notices.EndOf(row); !of.IsZero() {
			rows[of] = append(rows[of], row.ID)
		}
	}
	return rows, done, nil
}

// Withdraw takes rows away that Unlisted gave.
func (d *Dispatcher) Withdraw(rows []relay.QueueID) error {
	return d.commitOnce(relay.Settlement{Listed: rows})
}
