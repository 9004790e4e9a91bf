package history

import (
	"iter"
	"time"

	"dawk/relay"
)

// Record is one line: what happened to one recipient, or a notice that was
// written. A message that was accepted has a line for each of its recipients. Its TLS is in words. Fields are added, never renamed.
type Record struct {
	relay.Event
	Arrival time.Time `json:"arrival,omitzero"`
}

// kinds are the events that belong in the history.
var kinds = []relay.EventKind{relay.EventAccepted, relay.EventRelayed, relay.EventDelivered, relay.EventDelayed, relay.EventFailed, relay.EventExpired,
	relay.EventBounced, relay.EventComplained, relay.EventSuppressed, relay.EventHeld, relay.EventReleased, relay.EventDeleted, relay.EventNotified, relay.EventDropped}

// recordsOf are the lines of an event.
func recordsOf(e relay.Event) iter.Seq[Record] {
	return func(yield func(Record) bool) {
		if e.Kind != relay.EventAccepted || len(e.To) == 0 {
			yield(recordOf(e))
			return
		}
		for _, p := range e.To {
			e.Recipient = p
			if !yield(recordOf(e)) {
				return
			}
		}
	}
}

func recordOf(e relay.Event) Record {
	r := Record{Event: e}
	if e.Age > 0 {
		r.Arrival = e.Time.Add(-e.Age).UTC().Truncate(time.Millisecond)
	}
	r.Time, r.Took = e.Time.UTC().Truncate(time.Millisecond), relay.Millis(e.Took.Duration().Truncate(time.Millisecond))
	r.TLS = relay.TLSWords(e.TLS, e.TLSLevel, e.TLSPolicy)
	return r
}
