package history

import (
	"time"

	"dawk/relay"
)

// Record is one line: what happened to one recipient, or a notice that was
// written. Fields are added, never renamed.
type Record struct {
	At   time.Time       `json:"at"`
	Kind relay.EventKind `json:"kind"` // relayed, delivered, delayed, failed, expired, deleted, notified, dropped
	ID   relay.QueueID   `json:"id"`

	From      relay.Path `json:"from"`
	To        relay.Path `json:"to"`
	Identity  string     `json:"identity,omitempty"`
	MessageID string     `json:"message_id,omitempty"`
	Size      int64      `json:"size,omitempty"`
	Arrival   time.Time  `json:"arrival,omitzero"`

	Destination string        `json:"destination,omitempty"`
	Route       string        `json:"route,omitempty"`
	Source      string        `json:"source,omitempty"`
	Host        string        `json:"host,omitempty"`
	Addr        string        `json:"addr,omitempty"`
	TLS         string        `json:"tls,omitempty"`
	SentAs      relay.Path    `json:"sent_as,omitzero"`
	Attempt     int           `json:"attempt,omitempty"`
	Took        time.Duration `json:"took,omitempty"`
	Reply       relay.Reply   `json:"reply,omitzero"`
	Unknown     bool          `json:"unknown,omitempty"`
	Reason      string        `json:"reason,omitempty"` // the category of the reply
	Next        time.Time     `json:"next,omitzero"`
	Rule        string        `json:"rule,omitempty"`

	NoticeID   relay.QueueID `json:"notice_id,omitzero"`
	NoticeKind string        `json:"notice_kind,omitempty"`
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
	r := Record{At: e.Time.UTC().Truncate(time.Millisecond), Kind: e.Kind, ID: e.ID, From: e.From, To: e.Recipient,
		Identity: e.Identity, MessageID: e.MessageID, Size: e.Size,
		Destination: e.Destination, Route: e.Route, Source: e.Source, Host: e.Host, Addr: e.Addr, TLS: relay.TLSWords(e.TLS, e.TLSLevel, e.TLSPolicy), SentAs: e.SentAs, Attempt: e.Attempt,
		Took: e.Took.Truncate(time.Millisecond), Reply: e.Reply, Unknown: e.Unknown, Reason: e.Reason, Next: e.Next, Rule: e.Rule,
		NoticeID: e.NoticeID, NoticeKind: e.NoticeKind}
	if e.Age > 0 {
		r.Arrival = e.Time.Add(-e.Age).UTC().Truncate(time.Millisecond)
	}
	return r
}

// Event is the event that r was made of, as far as it was kept.
func (r Record) Event() relay.Event {
	e := relay.Event{Time: r.At, Kind: r.Kind, ID: r.ID, From: r.From, Recipient: r.To, Identity: r.Identity, MessageID: r.MessageID,
		Size: r.Size, Destination: r.Destination, Route: r.Route, Source: r.Source, Host: r.Host, Addr: r.Addr, TLS: r.TLS, SentAs: r.SentAs, Attempt: r.Attempt,
		Took: r.Took, Reply: r.Reply, Unknown: r.Unknown, Reason: r.Reason, Next: r.Next, Rule: r.Rule,
		NoticeID: r.NoticeID, NoticeKind: r.NoticeKind}
	if !r.Arrival.IsZero() {
		e.Age = r.At.Sub(r.Arrival)
	}
	return e
}
