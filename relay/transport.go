package relay

import (
	"errors"
	"strings"
	"time"
)

// Errors that cross package borders; test with errors.Is.
var (
	// ErrNoSpace: the disk, the queue's own limit or a quota of it is full.
	// SMTP says 452 4.3.1, and the client tries again.
	ErrNoSpace = errors.New("no space for new mail")
	// ErrScant: settling must not add more than it takes away, or others would lack
	// the room for it.
	ErrScant = errors.New("what is left is for settling")
	// ErrClosed: the queue is closing or has stopped trusting its disk.
	// SMTP says 451 4.3.0.
	ErrClosed = errors.New("the queue takes no mail now")
	// ErrNotFound: no such message, or no such Delivery any more.
	ErrNotFound = errors.New("not in the queue")
	// ErrNotSevenBit: the message has 8-bit content that may not be encoded
	// anew, for a server that takes no 8-bit content (RFC 6152 §3).
	ErrNotSevenBit = errors.New("the 8-bit content cannot be converted")
	// ErrCorrupt: the record exists but cannot be read; it was set aside.
	ErrCorrupt = errors.New("the record is damaged")
	// ErrContentLost: the content is missing, or is not what was accepted, for
	// ever. Envelope and Deliveries are sound and wait to be settled.
	ErrContentLost = errors.New("the content of the message is lost")
)

// Task is one delivery attempt to be made: these recipients of this message,
// all of the same destination.
type Task struct {
	Message     *Message
	Recipients  []int // indexes into Message.Recipients, in the order of Result.Replies
	Content     Content
	Destination string    // as Delivery.Destination
	Route       string    // as Delivery.Route
	Attempt     int       // 1 for the first
	Admission   Admission // nil: every host may be connected to
	Progress    *Progress // nil: nobody looks
}

// Admission is what a task may connect to. Who takes a domain's mail is known
// only once its MX hosts are: until then nothing is connected to.
type Admission interface {
	// Provider is whose connection the task was given; "" when nobody knew yet.
	Provider() string
	// Admit asks for a connection to a host of a provider, in exchange for the
	// one that the task has. False: none is free now. If that is so before the
	// first connection, the task ends there and counts as no attempt.
	Admit(provider string) bool
}

// Result is what came of a Task.
type Result struct {
	Replies []Reply // one for each of Task.Recipients, in order; never zero
	Session         // the last one, which speaks for the attempt

	// Earlier are the sessions before it, if recipients were judged in several
	// that differ; nil otherwise. See SessionOf.
	Earlier []Session
	By      []int // for each of Replies, the index into Earlier; len(Earlier): the last session; nil without Earlier

	Visits []Visit // every host that the attempt turned to, in order

	Transcript Transcript // of an attempt that did not relay the mail to all recipients; without Job and Attempt

	Reused    bool      // the connection had served a message before
	DSN       bool      // the server offered DSN and was given the parameters (RFC 3461 §5.2)
	Delivered bool      // a final delivery (LMTP): ActionDelivered, not ActionRelayed
	Unknown   bool      // content and final dot were sent, no answer came (RFC 1047)
	HeldSince time.Time // since when the route is held for trouble with its account, if that is why nothing was sent; zero otherwise
	Began     time.Time
	Took      time.Duration
}

// Session is what is known of how the mail went: which way, to whom, and how
// private that was.
type Session struct {
	Route     string // "mx" or the route's name
	Source    string // the configured source that the mail left from; "": what the system chose
	Provider  string // by MX: who runs the hosts, see mx.Shaping; "" when that was not found out
	Host      string // the server that spoke last; "" when none did
	Addr      string
	TLS       string   // "TLS1.3" …; "" in the clear
	TLSPolicy string   // who demanded the level of TLS: "dane", "mta-sts", "mta-sts-testing" (which demands nothing), "requiretls"; "": our configuration
	TLSLevel  TLSLevel // reached by the session with Host; "" when none came about
	TLSTry    string   // which try of TLS succeeded, where it was not the first: "second", or "clear" where none did (opportunistic)
	TLSFailed string   // why the try before it failed; "" with the first
	SentAs    Path     // the mailbox that a route sent it as, From and reverse-path; null: it went as it was
}

// FailedAt notes the host that ended a session before mail could be given to it.
func (s *Session) FailedAt(why Reply) {
	s.Host, s.Addr, s.TLS, s.TLSLevel, s.TLSTry, s.TLSFailed = why.MTA, why.Addr, "", "", "", ""
}

// Visit is one host that an attempt turned to, and what came of it.
type Visit struct {
	Host      string   `json:"host,omitempty"` // its name, also where nobody answered
	Addr      string   `json:"addr,omitempty"`
	TLS       string   `json:"tls,omitempty"`       // as in Session
	TLSLevel  TLSLevel `json:"tls_level,omitempty"` // likewise
	TLSPolicy string   `json:"tls_policy,omitempty"`
	Reply     Reply    `json:"reply"` // why it was given up; else the first that was not positive, or the first
}

// Spoke says whether the host answered at all.
func (v *Visit) Spoke() bool { return v.TLSLevel != "" || v.Reply.MTA != "" }

// MaxVisits is how many Visits of an attempt the history keeps, the last ones.
const MaxVisits = 8

// SessionOf is the session in which Replies[i] was given.
func (r *Result) SessionOf(i int) *Session {
	if i < len(r.By) && r.By[i] < len(r.Earlier) {
		return &r.Earlier[r.By[i]]
	}
	return &r.Session
}

// TLSLevel is how private a session was, whoever demanded it.
type TLSLevel string

// The levels, in the words that the log and the metrics use.
const (
	TLSClear      TLSLevel = "clear"
	TLSFallback   TLSLevel = "fallback"   // in the clear, since TLS had failed
	TLSUnverified TLSLevel = "unverified" // encrypted, with whoever answered
	TLSVerified   TLSLevel = "verified"   // the certificate stands for the host: by PKIX or DANE
	TLSLocal      TLSLevel = "local"      // a socket of this machine
)

// TLSWords is the TLS of an attempt for people: "TLS1.3 verified (dane)", "in
// the clear".
func TLSWords(tls string, level TLSLevel, policy string) string {
	var words string
	switch level {
	case TLSClear:
		words = "in the clear"
	case TLSFallback:
		words = "in the clear, since TLS failed"
	case TLSLocal:
		return ""
	default:
		words = strings.TrimSpace(tls + " " + string(level))
	}
	if words != "" && policy != "" {
		words += " (" + policy + ")"
	}
	return words
}

// Item is a queued message with all its Deliveries, for people to look at.
type Item struct {
	Message    Message    `json:"message"`
	Deliveries []Delivery `json:"deliveries"`
	// Attempts is the history of each Delivery by its Job, oldest first; only
	// where one message is asked for.
	Attempts map[uint16][]Attempt `json:"attempts,omitempty"`
}

// Transcript is what was said in the sessions of one attempt: the commands and the replies, without
// the content of the message and without the responses of a login.
type Transcript struct {
	Job     uint16    `json:"job"`               // of the Delivery
	Attempt int       `json:"attempt"`           // its number
	At      time.Time `json:"at"`                // when it began
	Omitted int       `json:"omitted,omitempty"` // lines before these that were not kept
	Lines   []Spoken  `json:"lines,omitempty"`   // in order
}

// Spoken is one line of a Transcript.
type Spoken struct {
	After Millis  `json:"after_ms"` // since the attempt began
	By    Speaker `json:"by"`       // whose line it is
	Text  string  `json:"text"`     // sanitized
}

// Speaker is whose line it is.
type Speaker string

// The speakers.
const (
	SpokenByUs   Speaker = "client"
	SpokenByHost Speaker = "server"
	SpokenNote   Speaker = "note" // nobody said it: what was done, or came instead of a reply
)
