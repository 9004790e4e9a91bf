// Package queued is what waits, as an operator asks for it: a filter picks from the
// queue, what the scheduler knows is added, and the answer goes out line by line. It has
// no state. Begin reading at [Mail.Pick].
package queued

import (
	"context"
	"iter"
	"time"

	"dawk/relay"
	"dawk/relay/admin/kept"
)

// Queue is what is read of the store.
type Queue interface {
	// Item is one message with its history; relay.ErrNotFound if it is gone.
	Item(relay.QueueID) (*relay.Item, error)
	// Items are all messages whose IDs come after one, oldest first, without history. An
	// error that is relay.ErrCorrupt concerns one record; any other ends the sequence.
	Items(ctx context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error]
}

// Dispatcher is what is asked of the scheduler.
type Dispatcher interface {
	// Where tells what is about to happen to the Deliveries of a message.
	Where(id relay.QueueID) []relay.Where
	// Toward is what a new Delivery for a destination would find.
	Toward(destination string) relay.ProviderLoad
}

// Mail is the queue with what the scheduler knows of it.
type Mail struct {
	Queue      Queue
	Dispatcher Dispatcher
	Kept       *kept.Store          // which new IDs messages have; nil: none has
	MaxAge     func() time.Duration // lifetime of a message that has none of its own; nil: it is not known
}

// Describe is what an act does to d.
func Describe(m *relay.Message, d *relay.Delivery) Acted {
	return Acted{ID: m.ID, Job: d.Job, Destination: d.Destination, From: m.From, To: OpenPaths(m, d)}
}

// OpenPaths are the recipients of d that have no final outcome, and of these
// those that were picked.
func OpenPaths(m *relay.Message, d *relay.Delivery) []relay.Path {
	paths := make([]relay.Path, 0, len(d.Open))
	for _, o := range d.Open {
		if o.Recipient >= 0 && o.Recipient < len(m.Recipients) {
			paths = append(paths, m.Recipients[o.Recipient].Path)
		}
	}
	return paths
}
