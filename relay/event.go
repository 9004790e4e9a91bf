package relay

import "time"

// EventKind names what happened, in the words that the log and the metrics use.
type EventKind string

// The kinds; docs/log.md has what stands beside them. All but refused, login, listener, identity and provider events have a queue ID.
const (
	EventAccepted  EventKind = "accepted"  // the message is on stable storage; once a message
	EventRefused   EventKind = "refused"   // a command or a message was refused: `reason` says why
	EventLogin     EventKind = "login"     // a client logged in
	EventAttempted EventKind = "attempted" // an attempt ended; once an attempt, and its recipients follow
	EventRelayed   EventKind = "relayed"   // a next hop took it; from here on once a recipient
	EventDelivered EventKind = "delivered" // by LMTP, it is in the mailbox
	EventDelayed   EventKind = "delayed"   // it is tried again: `next`, and the `rule` that says so
	EventFailed    EventKind = "failed"    // it is not tried again; a notice follows
	EventExpired   EventKind = "expired"   // the same, since its time is up
	EventDeleted   EventKind = "deleted"   // by the operator
	EventNotified  EventKind = "notified"  // a notice was queued: `notice`, `kind`; without `notice` a later [list](bounces.md#too-many-notices) tells it
	EventDropped   EventKind = "dropped"   // a failure that nobody can be told of: a double bounce without `postmaster`
	EventHeld      EventKind = "held"      // by the operator or a rule
	EventReleased  EventKind = "released"  // by the operator or a rule

	EventBounced    EventKind = "bounced"      // a notice from elsewhere says that delivered mail came to nothing: `reason` is the category
	EventComplained EventKind = "complained"   // the recipient called it unwanted (RFC 5965)
	EventSuppressed EventKind = "suppressed"   // nothing is sent to the recipient: `reason` says why
	EventRouteHeld  EventKind = "route held"   // the login or account at a smart host is in trouble, and its mail waits
	EventRouteFree  EventKind = "route free"   // the trouble of a smart host is over, or its cause was changed
	EventConnected  EventKind = "connected"    // a client came
	EventGone       EventKind = "disconnected" // a client left

	EventIdentityHeld     EventKind = "identity_held"     // a user's mail looked like a flood, and new mail begins on hold: `reason` and `rule` say why
	EventIdentityReleased EventKind = "identity_released" // by the operator

	EventProviderSlowed EventKind = "provider_slowed" // a provider said that we send too much at a time
)

// OutboxKinds are the kinds that a store keeps in its outbox, for those who are told
// later: what becomes of mail.
func OutboxKinds() []EventKind {
	return []EventKind{EventAccepted, EventDelivered, EventRelayed, EventDelayed, EventFailed, EventExpired,
		EventBounced, EventComplained, EventSuppressed, EventHeld, EventReleased, EventDeleted}
}

// OutboxEvent is an event as the outbox of a store keeps it: written in the commit
// that made it true. Those of one message are in the order in which they happened.
type OutboxEvent struct {
	Number uint64 // grows from event to event, and is never given again
	ID     string // made of Number: the same whenever it is told
	Event
}

// OutboxLimits are what an outbox keeps. The zero value is: nothing.
type OutboxLimits struct {
	Keep     time.Duration // how long what was told to everybody is kept, to be told again
	MaxBytes int64         // of all that is kept
}

// Event is one thing that happened, told after it is on stable storage. Only
// the fields that belong to its kind are set. The tags are those of the history,
// which leaves out what has none.
type Event struct {
	Kind      EventKind `json:"kind"`
	Time      time.Time `json:"at"`
	ID        QueueID   `json:"id"`
	From      Path      `json:"from"`
	Recipient Path      `json:"to"`
	Identity  string    `json:"identity,omitempty"`
	Client    string    `json:"-"` // address of the client
	Listener  string    `json:"-"` // address of the listener it came to
	Session   string    `json:"-"` // names the client's connection, to find all that was said on it
	Helo      string    `json:"-"` // what the client called itself
	MessageID string    `json:"message_id,omitempty"`
	Size      int64     `json:"size,omitempty"`
	Count     int       `json:"-"` // recipients of an accepted message
	To        []Path    `json:"-"` // they themselves

	Destination string        `json:"destination,omitempty"`
	Route       string        `json:"route,omitempty"`
	Source      string        `json:"source,omitempty"` // see Result
	Provider    string        `json:"-"`                // see Result
	Host        string        `json:"host,omitempty"`
	Addr        string        `json:"addr,omitempty"`
	TLS         string        `json:"tls,omitempty"`
	TLSPolicy   string        `json:"-"` // see Result
	TLSLevel    TLSLevel      `json:"-"` // see Result
	TLSTry      string        `json:"-"` // see Session, as TLSFailed
	TLSFailed   string        `json:"-"`
	SentAs      Path          `json:"sent_as,omitzero"` // see Result
	Attempt     int           `json:"attempt,omitempty"`
	Took        Millis        `json:"took_ms,omitempty"` // of the attempt, or of acceptance
	Age         time.Duration `json:"-"`                 // since arrival
	Reply       Reply         `json:"reply,omitzero"`
	Visits      []Visit       `json:"-"`                 // of an attempt; see Result
	Unknown     bool          `json:"unknown,omitempty"` // the final dot got no answer: it may be delivered twice
	Next        time.Time     `json:"next,omitzero"`
	Rule        string        `json:"rule,omitempty"`
	Reason      string        `json:"reason,omitempty"` // closed set a kind; a metric label
	NoticeID    QueueID       `json:"notice_id,omitzero"`
	NoticeKind  string        `json:"notice_kind,omitempty"` // "failed", "delayed", "relayed", "late", "double-bounce", "digest"
}

// Observer sees events. Observe is called on the path of the mail, possibly
// from several goroutines at once: it must not block.
type Observer interface {
	Observe(Event)
}

// Observers tells each of several, in order.
type Observers []Observer

// Observe tells every observer.
func (o Observers) Observe(e Event) {
	for _, each := range o {
		each.Observe(e)
	}
}
