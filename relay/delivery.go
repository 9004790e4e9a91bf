package relay

import "time"

// Entry is the compact part of a Delivery: what the scheduler keeps in memory.
type Entry struct {
	ID          QueueID   `json:"id"`
	Job         uint16    `json:"job"`         // number of the Delivery within its message
	Destination string    `json:"destination"` // see Delivery
	Identity    string    `json:"identity"`    // of the message: turns go round between identities
	Peer        string    `json:"-"`           // see Message.Peer: turns go by it
	Arrival     time.Time `json:"arrival"`
	Due         time.Time `json:"due"`      // when the next attempt may begin
	Attempts    int       `json:"attempts"` // ended so far
	Held        bool      `json:"held,omitempty"`

	DelayNoticed bool `json:"delay_noticed,omitempty"` // its time for a delay notice has come: whoever wants one has it
}

// Delivery is the recipients of one message that share, at acceptance, a
// route or, without one, a domain. It is the unit of scheduling: an attempt is
// made for one Delivery, and settled for it.
//
// Destination names what they share: "route:<name>" or a domain in A-labels.
type Delivery struct {
	Entry
	Open    []Open `json:"open"`              // recipients that have no final outcome yet
	Unknown bool   `json:"unknown,omitempty"` // the last attempt got no answer to the final dot (RFC 1047)

	HeldFor Millis    `json:"held_for_ms,omitempty"` // time on hold in all, which does not count towards its age
	HeldAt  time.Time `json:"held_since,omitzero"`   // since when it is on hold now, itself (Held) or with its route
	Rule    string    `json:"rule,omitempty"`        // what set Due, for people: "retry step 3: 15m ±10 %"
	Route   string    `json:"route,omitempty"`       // that an operator chose for it: the name of one with a smart host, or [RouteMX]; "": the one that matches

	Activity // for operators: no store keeps it
}

// Activity is what the scheduler does with a Delivery now.
type Activity struct {
	State DeliveryState `json:"state,omitzero"`
	Host  string        `json:"host,omitempty"`  // active: whom the attempt has turned to
	Stage Stage         `json:"stage,omitempty"` // active: how far it is there
	Since time.Time     `json:"since,omitzero"`  // active: of Stage at Host

	Provider string `json:"provider_name,omitempty"` // who takes mail for its destination, as in [ProviderLoad]; "": not known yet
}

// RouteMX is what stands for the MX hosts of a recipient's domain where a route is named.
const RouteMX = "mx"

// Open is a recipient that waits for its next attempt.
type Open struct {
	Recipient int    `json:"recipient_index"`  // index into Message.Recipients
	Last      Reply  `json:"last,omitzero"`    // of the last attempt; zero before the first
	Reason    string `json:"reason,omitempty"` // the category of Last, for operators: no store keeps it
}

// Recipients are the indexes of the open recipients.
func (d *Delivery) Recipients() []int {
	r := make([]int, len(d.Open))
	for i, o := range d.Open {
		r[i] = o.Recipient
	}
	return r
}

// Action is what became of a recipient (RFC 3464 §2.3.3).
type Action string

// The actions of RFC 3464, and two of our own for the operator's hand.
// ActionDelayed leaves the recipient open; every other ends it.
const (
	ActionFailed    Action = "failed"
	ActionDelayed   Action = "delayed"
	ActionDelivered Action = "delivered" // in a mailbox: only LMTP can say so
	ActionRelayed   Action = "relayed"   // a next hop took responsibility
	ActionExpanded  Action = "expanded"
	ActionDeleted   Action = "deleted" // by the operator, without a notice
	ActionExpired   Action = "expired" // failed because its time is up; reported as failed
)

// Final says whether the recipient is done with.
func (a Action) Final() bool { return a != ActionDelayed && a != "" }

// Outcome is what one attempt, or the operator, decided for one recipient.
type Outcome struct {
	Recipient int    `json:"recipient_index"` // index into Message.Recipients
	Action    Action `json:"action"`
	Reply     Reply  `json:"reply"`
}

// Attempt records one attempt for the history that `dawk why` shows.
type Attempt struct {
	N        int       `json:"n"` // 1 for the first
	At       time.Time `json:"at"`
	Took     Millis    `json:"took_ms"`
	Route    string    `json:"route"`            // "mx" or the route's name
	Source   string    `json:"source,omitempty"` // see Result
	Host     string    `json:"host,omitempty"`   // name of the server that spoke last; "" when none did
	Addr     string    `json:"addr,omitempty"`   // its address
	TLS      string    `json:"tls,omitempty"`    // see TLSWords; "" when no session came about
	Visits   []Visit   `json:"visits,omitempty"` // where it turned to several hosts, the last MaxVisits of them, in order
	Outcomes []Outcome `json:"outcomes"`         // one for each recipient tried
	Next     time.Time `json:"next,omitzero"`    // when the open ones are tried again
	Rule     string    `json:"rule,omitempty"`   // what set Next
}

// Settlement is the atomic result of one attempt or of one act of the
// operator: all of it happens in one commit, or none of it.
type Settlement struct {
	ID  QueueID
	Job uint16

	// Attempt is appended to the history; nil when no attempt was made.
	Attempt *Attempt
	// Outcomes with a final action close their recipients; ActionDelayed
	// replaces a recipient's last reply. Recipients not named stay as they are.
	Outcomes []Outcome
	// Next replaces the mutable state of the Delivery, if recipients remain.
	// When none does, the Delivery ends; with the last Delivery the message
	// and its content go.
	Next State
	// Split moves open recipients to new Deliveries, because their routes
	// have parted. They inherit Next, but for the destination, unless they have a
	// State of their own, and are told to the scheduler as new entries.
	Split []Split
	// Notices are enqueued in the same commit. Their ID is set (Queue.NextID).
	Notices []Notice
	// Events are put into the outbox in the same commit, if one is kept: those of
	// OutboxKinds. A Settlement may have nothing but events; its ID is zero then.
	Events []Event
	// Rows are kept in the same commit, to be told of in a later list.
	Rows []DigestRow
	// Listed names the rows that Notices tell of: they go in the same commit,
	// one that is gone already is passed over. A Settlement that lists rows may
	// settle no Delivery: its ID is zero then.
	Listed []QueueID
}

// State is the mutable state of a Delivery besides its open recipients.
type State struct {
	Due          time.Time
	Attempts     int
	Held         bool
	HeldAt       time.Time
	HeldFor      time.Duration
	DelayNoticed bool
	Unknown      bool
	Rule         string
	Route        string
}

// Beginning is how a recipient comes into the queue: the State of its Delivery, but for Due, and
// what was said of it last.
type Beginning struct {
	State
	Last Reply
}

// State is d's mutable state, to change and to put into a Settlement.
func (d *Delivery) State() State {
	return State{Due: d.Due, Attempts: d.Attempts, Held: d.Held, HeldAt: d.HeldAt, HeldFor: d.HeldFor.Duration(),
		DelayNoticed: d.DelayNoticed, Unknown: d.Unknown, Rule: d.Rule, Route: d.Route}
}

// Set replaces d's mutable state.
func (d *Delivery) Set(s State) {
	d.Due, d.Attempts, d.Held, d.HeldAt, d.HeldFor = s.Due, s.Attempts, s.Held, s.HeldAt, Millis(s.HeldFor)
	d.DelayNoticed, d.Unknown, d.Rule, d.Route = s.DelayNoticed, s.Unknown, s.Rule, s.Route
}

// Split is a set of open recipients that gets a Delivery of its own.
type Split struct {
	Destination string
	Recipients  []int
	Next        *State // nil: that of the Settlement
}

// Notice is a message of our own, to be enqueued by a Settlement.
type Notice struct {
	Message Message
	Content []byte // strict CRLF
}

// Claim is what an attempt needs: one message, one of its Deliveries, and the
// content, which the claimer closes.
type Claim struct {
	Message  *Message
	Delivery *Delivery
	Content  Content
}

// Event is what all events about the Delivery have in common.
func (c *Claim) Event(kind EventKind, now time.Time) Event {
	return Event{Kind: kind, Time: now, ID: c.Message.ID, From: c.Message.From, Identity: c.Message.Identity,
		MessageID: c.Message.MessageID, Size: c.Message.Size, Destination: c.Delivery.Destination,
		Age: max(0, now.Sub(c.Message.Arrival))}
}
