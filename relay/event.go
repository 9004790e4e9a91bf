package relay

import "time"

// EventKind names what happened, in the words that the log and the metrics use.
type EventKind string

// The kinds. All but refused, login, listener, identity and provider events have a queue ID.
const (
	EventAccepted  EventKind = "accepted"  // on stable storage; once a message
	EventRefused   EventKind = "refused"   // not accepted: Reason says why
	EventLogin     EventKind = "login"     // Reason "ok" or why not
	EventAttempted EventKind = "attempted" // an attempt ended; once an attempt
	EventRelayed   EventKind = "relayed"   // from here on once a recipient
	EventDelivered EventKind = "delivered"
	EventDelayed   EventKind = "delayed"
	EventFailed    EventKind = "failed"
	EventExpired   EventKind = "expired"
	EventDeleted   EventKind = "deleted"
	EventNotified  EventKind = "notified"     // a notice was enqueued: NoticeID; zero: a later list will tell it
	EventDropped   EventKind = "dropped"      // a double bounce without postmaster: loud
	EventHeld      EventKind = "held"         // by the operator or a rule
	EventReleased  EventKind = "released"     // likewise
	EventRouteHeld EventKind = "route held"   // its account is in trouble, and its mail waits: Route, Reply
	EventRouteFree EventKind = "route free"   // the trouble is over, or its cause was changed: Route
	EventConnected EventKind = "connected"    // a client came
	EventGone      EventKind = "disconnected" // a client left

	EventIdentityHeld     EventKind = "identity_held"     // Identity's new mail begins on hold: Reason and Rule say why
	EventIdentityReleased EventKind = "identity_released" // by the operator

	EventProviderSlowed EventKind = "provider_slowed" // Provider said that we send too much at a time: Reply, Rule
)

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
	Took        time.Duration `json:"took,omitempty"` // of the attempt, or of acceptance
	Age         time.Duration `json:"-"`              // since arrival
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
