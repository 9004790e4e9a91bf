package admin

import (
	"context"
	"io"
	"iter"
	"log/slog"
	"time"

	"dawk/mx/shaping"
	"dawk/relay"
	"dawk/relay/admin/acts"
	"dawk/relay/admin/api"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/past"
	"dawk/relay/admin/queued"
	"dawk/relay/admin/traffic"
)

// SocketName is the socket's name in the data directory.
const SocketName = "dawk.sock"

// Queue is what the operator sees of the store; a queue.Store implements it.
type Queue interface {
	acts.Queue
	// Entries are all Deliveries in brief: far cheaper than Items.
	Entries() iter.Seq2[relay.Entry, error]
	// Room is nil, or why new mail is refused at the moment.
	Room() error
}

// Dispatcher is what the operator asks of the scheduler; package delivery
// implements it, through an adapter in cmd/dawk.
type Dispatcher interface {
	acts.Dispatcher
	// Turn is the place of a Delivery among those that wait for its provider.
	Turn(id relay.QueueID, job uint16) relay.Turn
	// Providers are those that are busy, or were slowed lately.
	Providers() []relay.ProviderLoad
	// Queued is how many Deliveries a destination has, whatever their states.
	Queued(destination string) int
	// Transcripts are what was said in the last failed attempt of each Delivery of a message, as long
	// as it is remembered.
	Transcripts(id relay.QueueID) []relay.Transcript
	// Backlog counts what waits by its state.
	Backlog() relay.Backlog
	// Underway are the attempts that are being made.
	Underway() []relay.Underway
	// Stats must not read the store.
	Stats() Stats
}

// What clients send and get that is defined where it is answered.
type (
	Problem       = api.Problem
	Line          = queued.Line
	List          = queued.List
	End           = queued.End
	Acted         = queued.Acted
	ActRequest    = acts.Request
	ExportRequest = acts.ExportRequest
	AuditRecords  = acts.AuditRecords
	Ended         = past.Ended
	Notice        = past.Notice
	Rates         = traffic.Rates
)

// Names of headers and trailers: see packages acts and api.
const (
	ExportAct   = acts.ExportAct
	BackupFault = api.Fault
)

// Config is what the handler needs. Functions that are nil are answered with
// "not offered".
type Config struct {
	Queue      Queue
	Dispatcher Dispatcher
	History    *past.History // what is finished; nil: nothing is known of it

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

	Ready func() error      // nil: mail is accepted and dispatched; else why not yet, or why no more
	Store func() StoreStats // cheap
	// Verify reads all of the store, and tells now and then how far it is.
	Verify  func(_ context.Context, progress func(done, total int64)) (Report, error)
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

	Draining func() (Draining, bool) // false: it does not drain; nil: never

	Events     func() StatusEvents   // cheap; nil: there are never any
	Cluster    func() *relay.Cluster // cheap; nil: the queue is in files
	Suppressed func() int            // entries of the suppression list; cheap

	Past       func(filter string, limit int) (PastRecords, error) // the history; its error is about the filter, or relay.ErrClosed
	Rates      *traffic.RateCounter                                // nil: nobody counts
	Identities func() []Identity                                   // who may send; cheap
	Check      func() []Finding                                    // what dawk check finds

	Devices     *Devices                            // nil: there is never a listener for devices
	Holds       func() []UserHold                   // users on hold; cheap
	ReleaseUser func(name string) (UserHold, error) // ErrNotHeld
	More        []api.Endpoint                      // paths of other parts of the relay
	Version     string                              // of the program
	Log         *slog.Logger                        // acts of the operator and faults; nil: discarded
}

// Trouble is something that an administrator should see to.
type Trouble struct {
	About  string `json:"about"`            // "certificate", "users", "route", "user", "disk", "queue", "configuration", "webhook", "outbox"
	Text   string `json:"text"`             // what is so
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// HeldRoute is a route whose mail waits, since its login or account is in trouble.
type HeldRoute struct {
	Route string
	Since time.Time
	Reply relay.Reply // what holds it
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
	OK       bool      `json:"ok"`
	Version  string    `json:"version,omitempty"`
	Problems []Trouble `json:"problems"` // why OK is false
	Warnings []Trouble `json:"warnings"` // what an operator should see to, and a restart would not mend
}

// Verifying is a line of the answer to POST /v1/store/verify: how far it is or, last, what it found.
type Verifying struct {
	Done   int64   `json:"done"`             // messages
	Total  int64   `json:"total"`            // as the store counts them
	Report *Report `json:"report,omitempty"` // the last line
}

// Report is what a check or a rewrite of the store found.
type Report struct {
	Messages   int64    `json:"messages"`
	Deliveries int64    `json:"deliveries"`
	Problems   []string `json:"problems,omitempty"`     // empty: every invariant holds
	More       int      `json:"more,omitempty"`         // problems that are not listed
	Notes      []string `json:"notes,omitempty"`        // what need not be a fault
	SetAside   []string `json:"set_aside,omitempty"`    // damaged records that are kept apart, a line each
	Before     int64    `json:"before_bytes,omitempty"` // octets of the queue file before a rewrite
	After      int64    `json:"after_bytes,omitempty"`  // and after it
}
