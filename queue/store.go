// Package queue defines what every store of the queue must do, and what stores share: the
// interface [Store], its errors and statistics, and the IDs of messages.
//
// boltstore is the store in one directory. A store of another kind is a package
// beside it: it implements Store, passes queuetest, encodes its rows with
// package record, and is opened by the server's openQueue. It may take over Deliveries from
// another relay while it runs (Watch) and give them back (the dispatcher's Forget).
//
// This package has no goroutines and no locks.
package queue

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"dawk/relay"
)

// Store is a queue on stable storage. Its methods may be called by several
// goroutines at a time.
type Store interface {
	Acceptance
	Scheduling
	Inspection
	// Outbox is the outbox of the store; it exists even if it keeps nothing.
	Outbox() Outbox
	// Stats scans nothing.
	Stats() Stats
	// Close makes all pending operations durable, and ends the store. Drafts that are still open are
	// lost: their clients have got no answer yet.
	Close() error
}

// Acceptance is what takes new mail.
type Acceptance interface {
	// NewDraft begins a message. Its error wraps relay.ErrNoSpace or
	// relay.ErrClosed.
	NewDraft() (relay.Draft, error)
	// Enqueue returns nil once the message is on stable storage, with one Delivery for each
	// destination of its recipients, numbered from 0. The store decides which recipients share a
	// Delivery, by a function of message and recipient that it was opened with; by default that is the
	// domain. The message has the ID of its draft; Enqueue sets its Size. A message with a Hold has
	// Deliveries that are held by that rule, one with NotBefore becomes due then. Times are kept to
	// the microsecond. The draft ends either way. After relay.ErrClosed, or when the context ends, the
	// outcome is unknown.
	Enqueue(context.Context, relay.Draft, *relay.Message) error
	// Room says, cheaply, why new mail would be refused; nil: it would not.
	Room() error
}

// Scheduling is what delivers: a dispatcher holds the schedule in memory, and
// the store is what it is loaded from and settles in.
type Scheduling interface {
	// Watch sets the function that is told of every Delivery that has become ours: those of new mail,
	// after the commit and before its caller is answered; and those that a store shared by several
	// relays takes over from another one, at any time later. It is set once, before the first Enqueue,
	// and must not block.
	Watch(func([]relay.Entry))
	// Entries are all Deliveries that are ours, oldest message first. One that
	// is made meanwhile may come here and to Watch both. A record that cannot be
	// read comes as relay.ErrCorrupt; any other error ends the sequence.
	Entries() iter.Seq2[relay.Entry, error]
	// Claim reads a Delivery with its message and its content, which the caller closes. Errors:
	// relay.ErrNotFound, relay.ErrCorrupt, relay.ErrClosed, or what the disk said. If only the content
	// cannot be read, it returns a Claim without it and an error, relay.ErrContentLost if it is lost
	// for good.
	Claim(relay.QueueID, uint16) (*relay.Claim, error)
	// Settle commits a Settlement, all or nothing, and calls the function once
	// afterwards, nil allowed; it does not wait for the commit. A failed Settlement
	// left nothing behind, or the error is relay.ErrClosed: then the outcome is
	// unknown. Where the disk is full Settle waits for room.
	Settle(relay.Settlement, func(error))
	// NextID reserves a queue ID. It is never given again.
	NextID() relay.QueueID
	// DigestRows are the rows that wait to be listed, oldest first.
	DigestRows() iter.Seq2[relay.DigestRow, error]
}

// Inspection is what an operator sees.
type Inspection interface {
	// Item is one message with all its Deliveries and their history. Errors:
	// relay.ErrNotFound, relay.ErrCorrupt, or what the disk said.
	Item(relay.QueueID) (*relay.Item, error)
	// Items are all messages whose IDs come after one, oldest first, without history;
	// the zero ID is before all. An error that is relay.ErrCorrupt concerns one record; any
	// other ends the sequence.
	Items(ctx context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error]
	// Content is the message itself, which the caller closes.
	Content(relay.QueueID) (relay.Content, error)
}

// Progress is told now and then how many messages of how many were looked at; nil: nobody asks.
type Progress func(done, total int64)

// Files is what a store in files of its own offers in addition.
type Files interface {
	FileStats() FileStats
	// Verify checks every invariant while the store runs and reads all content.
	// Its error says that this could not be done; what is wrong is in the Report.
	Verify(context.Context, Progress) (Report, error)
	// Backup writes a snapshot that Verify would call sound, while the store runs.
	Backup(context.Context, io.Writer) error
	// Compact gives unused space back to the file system.
	Compact(context.Context) error
}

// Outbox keeps events of a store for consumers that are told of them later. An event is put there
// by the commit that makes it true: see relay.Message.Events and relay.Settlement.Events. So a
// crash loses none that was acknowledged.
//
// Mail never waits for it. Where MaxBytes are used up, or the disk has no room, the oldest
// of those that everybody was told of go first, then new events are lost, and counted.
type Outbox interface {
	// SetLimits sets what is kept from now on; the zero value: nothing.
	SetLimits(relay.OutboxLimits)
	// Events are those with a higher number, oldest first, that are on stable
	// storage by now. An error ends the sequence.
	Events(after uint64) iter.Seq2[relay.OutboxEvent, error]
	// Last is the highest number that was given to an event, or 0.
	Last() uint64
	// Told says that all consumers have got the events up to a number: they may be removed when they
	// are old, or when there is no room.
	Told(number uint64)
	// Watch sets the function that is called after each commit with events. It must not block.
	Watch(func())
	// OutboxStats scans nothing.
	OutboxStats() OutboxStats
}

// OutboxStats is a snapshot of an outbox. Sizes are in octets.
type OutboxStats struct {
	Bytes  int64     // that it takes
	Lost   uint64    // events that it had no room for, since the store was opened
	LostAt time.Time // when the last of them was
}

// Errors of opening a store, for errors.Is. Their texts are for the operator.
var (
	ErrHeld    = errors.New("held by another dawk")
	ErrNewer   = errors.New("written by a newer version of dawk")
	ErrDamaged = errors.New("the queue file is damaged")
)

// ErrReplaced ends a relay that shares a store with others and was not seen for too
// long: they have its work, and nothing that it holds in memory may be written any more.
// Started again it is a new one.
var ErrReplaced = errors.New("another relay has taken the work of this one")

// Stats is a snapshot of any store, for metrics.
type Stats struct {
	Messages, Deliveries int64
	Quarantined          int64 // records that could not be read and are kept apart
	Commits, Operations  int64 // since it was opened
	Waiting              int   // settlements that wait for a commit
}

// FileStats is a snapshot of a store in files. Sizes are in octets.
type FileStats struct {
	FileBytes    int64 // of the database
	FreeBytes    int64 // of its pages that hold nothing
	JournalBytes int64 // of records that the database lacks
	DiskFree     int64 // of the file system
	Room         int64 // for new mail
	Limit        int64 // room below which new mail is refused
	Checkpoints  int64 // commits of the database
	CacheBytes   int64 // memory for mail that was just accepted
}

// Report is what a verification found. The queue is sound when Problems is empty; rows in
// quarantine are no fault of the store, but mail that the operator should look at.
type Report struct {
	Messages, Deliveries, Attempts int64
	Files                          int64 // files that hold content of messages
	Octets                         int64 // of content, all of it read and compared with its checksum
	Quarantined                    []Quarantined
	Problems                       []string
	More                           int      // problems that are not listed
	Notes                          []string // what need not be a fault
}

// MaxProblems bounds a Report; the rest is counted.
const MaxProblems = 1000

// Problem adds one to the report.
func (r *Report) Problem(format string, args ...any) {
	if len(r.Problems) >= MaxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// Note adds what need not be a fault, and an operator should know.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Quarantined is a row that could not be read and was kept.
type Quarantined struct {
	ID     relay.QueueID
	Kind   string // "message", "delivery", "attempt" or "notice"
	Reason string
	Octets int
}

func (s Quarantined) String() string {
	return fmt.Sprintf("%s: %s of %d octets set aside: %s", s.ID, s.Kind, s.Octets, s.Reason)
}

// String is a summary for the operator.
func (r Report) String() string {
	verdict := "the queue is sound"
	if n := len(r.Problems) + r.More; n > 0 {
		verdict = fmt.Sprintf("%d problems", n)
	}
	return fmt.Sprintf("%s: %d messages, %d Deliveries, %d attempts, %d spool files, %s of content, %d rows set aside",
		verdict, r.Messages, r.Deliveries, r.Attempts, r.Files, SizeText(r.Octets), len(r.Quarantined))
}

// Damaged is an error that wraps ErrDamaged.
func Damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrDamaged, fmt.Sprintf(format, args...))
}

// SizeText is for people.
func SizeText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
