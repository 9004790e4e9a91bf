package history

import (
	"time"

	"dawk/relay"
)

// Record is one line: what happened to one recipient, or a notice that was
// written. Its TLS is in words. Fields are added, never renamed.
type Record struct {
	relay.Event
	Arrival time.Time `json:"arrival,omitzero"`
}

// kept says whether a kind of event belongs in the history.
func kept(k relay.EventKind) bool {
	switch k {
	case relay.EventRelayed, relay.EventDelivered, relay.EventDelayed, relay.EventFailed, relay.EventExpired,
		relay.EventDeleted, relay.EventNotified, relay.EventDropped:
		return true
	}
	return false
}

func recordOf(e relay.Event) Record {
	r := Record{Event: e}
	if e.Age > 0 {
		r.Arrival = e.Time.Add(-e.Age).UTC().Truncate(time.Millisecond)
	}
	r.Time, r.Took = e.Time.UTC().Truncate(time.Millisecond), e.Took.Truncate(time.Millisecond)
	r.TLS = relay.TLSWords(e.TLS, e.TLSLevel, e.TLSPolicy)
	return r
}
