package admin

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
)

// SocketName is the socket's name in the data directory.
const SocketName = "dawk.sock"

// Queue is what the operator sees of the store; a queue.Store implements it.
type Queue interface {
	// Item is one message with its history; relay.ErrNotFound if it is gone.
	Item(relay.QueueID) (*relay.Item, error)
	// Items are all messages, oldest first, without history. An error that is
	// relay.ErrCorrupt concerns one record; any other ends the sequence.
	Items(context.Context) iter.Seq2[*relay.Item, error]
	// Entries are all Deliveries in brief: far cheaper than Items.
	Entries() iter.Seq2[relay.Entry, error]
	// Content is the message itself, which the caller closes.
	Content(relay.QueueID) (relay.Content, error)
	// NewDraft and Enqueue take in mail that comes back; see queue.Acceptance.
	NewDraft() (relay.Draft, error)
	Enqueue(context.Context, relay.Draft, *relay.Message) error
	// Room is nil, or why new mail is refused at the moment.
	Room() error
}

// Dispatcher is what the operator asks of the scheduler; package delivery
// implements it, through an adapter in cmd/dawk.
type Dispatcher interface {
	// Act does verb to every Delivery of a message, atomically against
	// attempts that are in progress. relay.ErrNotFound if none is left.
	Act(ctx context.Context, id relay.QueueID, verb relay.Verb) error
	// ActOn is Act for one Delivery. relay.VerbDelete and relay.VerbBounce end only recipients,
	// indexes into Message.Recipients, if it is not nil.
	ActOn(ctx context.Context, id relay.QueueID, job uint16, recipients []int, verb relay.Verb) error
	// Where tells what is about to happen to the Deliveries of a message.
	Where(id relay.QueueID) []relay.Where
	// Turn is the place of a Delivery among those that wait for its provider.
	Turn(id relay.QueueID, job uint16) relay.Turn
	// Providers are those that are busy, or were slowed lately.
	Providers() []relay.ProviderLoad
	// Toward is what a new Delivery for a destination would find.
	Toward(destination string) relay.ProviderLoad
	// Queued is how many Deliveries a destination has, whatever their states.
	Queued(destination string) int
	// Backlog counts what waits by its state.
	Backlog() relay.Backlog
	// Underway are the attempts that are being made.
	Underway() []relay.Underway
	// Stats must not read the store.
	Stats() Stats
}

// Config is what the handler needs. Functions that are nil are answered with
// "not offered".
type Config struct {
	Queue      Queue
	Dispatcher Dispatcher
	History    *History // what is finished; nil: nothing is known of it

	MaxAge func() time.Duration                    // lifetime of a message that has none of its own; nil: 0
	Route  func(*relay.Message, relay.Path) string // where a recipient would go now, as relay.Delivery.Destination

	Began       time.Time          // the relay; zero: not told
	Traffic     *Traffic           // when mail came and left; nil: nothing is known of it
	Routes      func() []string    // names of those with a smart host; nil: none
	ConfigState func() ConfigState // nil: not told
	Ends        func() []Ending    // certificates; nil: none is known

	Audit *audit.Log  // who did what; nil: nobody keeps it, and nothing can be undone
	Kept  *kept.Store // what acts leave behind; nil with Audit

	Troubles   func() []Trouble   // of files and certificates; cheap; nil: none is known
	HeldRoutes func() []HeldRoute // whose accounts are in trouble; nil: none is ever held

	Ready   func() error                           // nil: mail is accepted and dispatched; else why not yet, or why no more
	Store   func() StoreStats                      // cheap
	Verify  func(context.Context) (Report, error)  // reads all of the store
	Compact func(context.Context) (Report, error)  // rewrites the store
	Backup  func(context.Context, io.Writer) error // a consistent copy

	Explain       func(ctx context.Context, from, to, identity string) (Explanation, error) // its error is about the question
	Logins        func() []LoginStatus                                                      // routes with a login, by name; makes no request
	TestLogin     func(ctx context.Context, route string) (LoginTest, error)                // its error: there is no such route
	Configuration func() Configuration
	Reload        func() ([]ConfigChange, error) // its error: the file is refused, and nothing has changed
	Budgets       func() []shaping.BudgetState   // what routes with a budget have used of it
	// Drain has the relay take nothing new, deliver what is due, and end; it tells of its progress until
	// then, or until ctx ends.
	Drain func(ctx context.Context, each func(Draining))

	Past       func(filter string, limit int) (PastRecords, error) // the history; its error is about the filter, or relay.ErrClosed
	Rates      *RateCounter                                        // nil: nobody counts
	Identities func() []Identity                                   // who may send; cheap
	Check      func(context.Context) []Finding                     // what dawk check finds

	Devices     *Devices                            // nil: there is never a listener for devices
	Holds       func() []UserHold                   // users on hold; cheap
	ReleaseUser func(name string) (UserHold, error) // ErrNotHeld
	Version     string                              // of the program
	Log         *slog.Logger                        // acts of the operator and faults; nil: discarded
}

// Trouble is something that an administrator should see to.
type Trouble struct {
	About  string `json:"about"`            // "certificate", "users", "route", "user", "disk", "queue", "configuration"
	Text   string `json:"text"`             // what is so
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// HeldRoute is a route whose mail waits, since its login or account is in trouble.
type HeldRoute struct {
	Route string
	Since time.Time
	Reply relay.Reply // what holds it
}

// Line is one line of a streamed answer. One field is set.
type Line struct {
	Item  *relay.Item `json:"item,omitempty"` // with those of its Deliveries that the filter picked
	Acted *Acted      `json:"acted,omitempty"`
	Error string      `json:"error,omitempty"` // a record that cannot be read; the others follow
	End   *End        `json:"end,omitempty"`   // the last line
}

// List is all lines of an answer together, for clients that read one JSON value. It
// holds at most maxListed items or acts; End counts all.
type List struct {
	Items  []*relay.Item `json:"items,omitempty"`
	Acted  []Acted       `json:"acted,omitempty"`
	Errors []string      `json:"errors,omitempty"`
	End    End           `json:"end"`
}

// End sums up a streamed answer.
type End struct {
	Now        time.Time `json:"now"` // the server's clock, to reckon ages from
	Messages   int       `json:"messages"`
	Deliveries int       `json:"deliveries"`
	Recipients int       `json:"recipients"` // still open
	Held       int       `json:"held,omitempty"`
	Bytes      int64     `json:"bytes"` // content, each message once
	Oldest     time.Time `json:"oldest,omitzero"`
	More       bool      `json:"more,omitempty"`    // the limit cut the list; the sums are of what was sent
	Gone       int       `json:"gone,omitempty"`    // ended by themselves before it was their turn
	Skipped    int       `json:"skipped,omitempty"` // the verb means nothing to them: see Verb
	Pending    int       `json:"pending,omitempty"` // of Deliveries: done when the attempts under way end
	Failed     int       `json:"failed,omitempty"`  // acts that failed, and records that cannot be read
	DryRun     bool      `json:"dry_run,omitempty"`
	Act        string    `json:"act,omitempty"`    // the number of the act
	Undone     string    `json:"undone,omitempty"` // of undo: the number of the act that was taken back
	Unkept     int       `json:"unkept,omitempty"` // messages that cannot be brought back
}

// ActRequest is the body of POST /v1/queue/act.
type ActRequest struct {
	Verb   relay.Verb `json:"verb"`
	Filter string     `json:"filter"`
	All    bool       `json:"all"` // an empty filter is meant
	DryRun bool       `json:"dry_run"`
	Purge  bool       `json:"purge,omitempty"`  // of delete: nothing is kept for undo
	Bundle string     `json:"bundle,omitempty"` // of confirm: the name in the file of the export
	Act    string     `json:"act,omitempty"`    // of undo, whose Filter is empty: which; "": the last that can be undone
	Now    bool       `json:"now,omitempty"`    // of retry: attempts under way are cut, before their final dot
}

// Acted is what became of one Delivery, or of some recipients in it.
type Acted struct {
	ID          relay.QueueID `json:"id"`
	Job         uint16        `json:"job"`
	Destination string        `json:"destination"`
	From        relay.Path    `json:"from"`
	To          []relay.Path  `json:"to"`                // the recipients acted upon
	Pending     bool          `json:"pending,omitempty"` // it is being attempted: done when the attempt ends
	Was         relay.QueueID `json:"was,omitzero"`      // the ID that it had before it came back
	Error       string        `json:"error,omitempty"`
}

// Stats is what the dispatcher knows without reading the store.
type Stats struct {
	Deliveries int        `json:"deliveries"` // all of them
	InFlight   int        `json:"in_flight"`  // being attempted now
	Ready      int        `json:"ready"`      // waiting for their turn
	Deferred   int        `json:"deferred"`   // tried at least once, waiting
	Held       int        `json:"held"`
	Oldest     time.Time  `json:"oldest,omitzero"` // arrival of the oldest
	Store      StoreStats `json:"store"`           // filled in by the handler
}

// StoreStats is the state of the store.
type StoreStats struct {
	Messages  int64 `json:"messages"`
	FileBytes int64 `json:"file_bytes"`      // of the queue file
	FreeBytes int64 `json:"free_bytes"`      // within it, to be used again
	DiskFree  int64 `json:"disk_free_bytes"` // of the file system
	Room      int64 `json:"room_bytes"`      // for new mail
	Corrupt   int64 `json:"corrupt"`         // records set aside
}

// Health says whether the relay does its work.
type Health struct {
	OK       bool     `json:"ok"`
	Version  string   `json:"version,omitempty"`
	Problems []string `json:"problems,omitempty"` // why OK is false
	Warnings []string `json:"warnings,omitempty"` // what an operator should see to, and a restart would not mend
}

// Report is what a check or a rewrite of the store found.
type Report struct {
	Messages   int64    `json:"messages"`
	Deliveries int64    `json:"deliveries"`
	Problems   []string `json:"problems,omitempty"`  // empty: every invariant holds
	More       int      `json:"more,omitempty"`      // problems that are not listed
	Notes      []string `json:"notes,omitempty"`     // what need not be a fault
	SetAside   []string `json:"set_aside,omitempty"` // damaged records that are kept apart, a line each
	Before     int64    `json:"before,omitempty"`    // octets of the queue file before a rewrite
	After      int64    `json:"after,omitempty"`     // and after it
}
