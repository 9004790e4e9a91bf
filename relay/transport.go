package relay

import (
	"errors"
	"time"
)

// Errors that cross package borders; test with errors.Is.
var (
	// ErrNoSpace: the disk, the queue's own limit or a quota of it is full.
	// SMTP says 452 4.3.1, and the client tries again.
	ErrNoSpace = errors.New("no space for new mail")
	// ErrClosed: the queue is closing or has stopped trusting its disk.
	// SMTP says 451 4.3.0.
	ErrClosed = errors.New("the queue takes no mail now")
	// ErrNotFound: no such message, or no such Delivery any more.
	ErrNotFound = errors.New("not in the queue")
	// ErrCorrupt: the record exists but cannot be read; it was set aside.
	ErrCorrupt = errors.New("the record is damaged")
)

// Task is one delivery attempt to be made: these recipients of this message,
// all of the same destination.
type Task struct {
	Message     *Message
	Recipients  []int // indexes into Message.Recipients, in the order of Result.Replies
	Content     Content
	Destination string // as Delivery.Destination
	Attempt     int    // 1 for the first
}

// Result is what came of a Task.
type Result struct {
	Replies []Reply // one for each of Task.Recipients, in order; never zero

	Route     string // "mx" or the route's name
	Host      string // the server that spoke last; "" when none did
	Addr      string
	TLS       string    // "TLS1.3" …; "" in the clear
	TLSPolicy string    // who demanded the level of TLS: "dane", "mta-sts", "mta-sts-testing" (which demands nothing), "requiretls"; "": our configuration
	TLSFailed string    // why TLS failed before the connection went on in the clear (opportunistic); "" otherwise
	Reused    bool      // the connection had served a message before
	DSN       bool      // the server offered DSN and was given the parameters (RFC 3461 §5.2)
	Delivered bool      // a final delivery (LMTP): ActionDelivered, not ActionRelayed
	Unknown   bool      // content and final dot were sent, no answer came (RFC 1047)
	HeldSince time.Time // since when the route is held for trouble with its login, if that is why nothing was sent; zero otherwise
	Began     time.Time
	Took      time.Duration
}

// TLSWords is the TLS of an attempt for people: "TLS1.3", "TLS1.3 (dane)".
func TLSWords(tls, policy string) string {
	if tls != "" && policy != "" {
		return tls + " (" + policy + ")"
	}
	return tls
}

// Item is a queued message with all its Deliveries, for people to look at.
type Item struct {
	Message    Message    `json:"message"`
	Deliveries []Delivery `json:"deliveries"`
	// Attempts is the history of each Delivery by its Job, oldest first; only
	// where one message is asked for.
	Attempts map[uint16][]Attempt `json:"attempts,omitempty"`
}
