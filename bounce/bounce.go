// Package bounce writes delivery status notifications: what a sender is told
// about mail that failed, is delayed, or was handed on (RFC 3464).
//
// It owns two things: who is told ([Wanted]), and the whole notice as a message ready for the queue
// ([Compose]). Package relay/replies knows what a reply means. It is pure: no clock, no network, no
// files; the same input gives the same octets. It does not send, sign or store; package
// relay/delivery puts the notice into the Settlement that caused it, so that a notice is neither
// lost nor written twice.
//
// Everything that goes into a notice was written by strangers: the sender's
// header, the receiver's words, the addresses, ENVID. Whatever they contain,
// it stays inside its field and its MIME part.
package bounce

import (
	"errors"
	"strings"
	"time"

	"dawk/relay"
)

// Kind is what a notice tells. Its text is Event.NoticeKind and a metric label.
type Kind string

// The kinds of notices.
const (
	KindFailed       Kind = "failed"        // some recipients will not get the message
	KindDelayed      Kind = "delayed"       // not delivered yet; attempts go on
	KindRelayed      Kind = "relayed"       // success that was asked for: relayed, delivered or expanded
	KindLate         Kind = "late"          // passed on after a delay that the sender was told of
	KindDoubleBounce Kind = "double-bounce" // mail with the null reverse-path failed: told to the postmaster
)

// Kinds are all kinds.
func Kinds() []Kind { return []Kind{KindFailed, KindDelayed, KindRelayed, KindLate, KindDoubleBounce} }

// Config is what all notices of a relay have in common.
type Config struct {
	Hostname   string     // our name: Reporting-MTA, the domain of From and Message-ID
	Postmaster relay.Path // hears of double bounces, and gets the replies of people; null: nobody

	Languages *Languages // the words; nil: Shipped
	Language  string     // of notices about mail that shows no language; "": DefaultLanguage
	TellLate  bool       // after a delay notice, report that the mail was passed on (KindLate)

	// SevenBit says whether 8-bit content can be made fit for a host that takes none (RFC 6152 §3).
	// Content that cannot is not returned, since such a host would have to refuse the notice. Nil: all
	// content can.
	SevenBit func(relay.Content) bool
}

// Validate says whether notices can be written with c.
func (c Config) Validate() (faults relay.Faults) {
	if _, err := relay.NormalizeDomain(c.Hostname); err != nil {
		faults.Add("hostname", "hostname %q cannot stand in a notice: %v", c.Hostname, err)
	}
	if c.Language != "" && !c.languages().Has(c.Language) {
		faults.Add("language", "language %q is not there; there are %s", shown(c.Language), strings.Join(c.languages().Tags(), ", "))
	}
	return faults
}

// Report is one notice to be written: one message, one kind, the recipients
// that it concerns together.
type Report struct {
	Kind      Kind
	ID        relay.QueueID     // of the notice itself (Queue.NextID)
	Message   *relay.Message    // the message that it is about
	Outcomes  []relay.Outcome   // the outcomes of these recipients, at least one
	Attempted map[int]time.Time // when the last attempt for a recipient ended; no entry: there was none
	Until     time.Time         // KindDelayed: we give up then; zero: not said
	Now       time.Time         // Date of the notice
	Content   relay.Content     // of the message, for the returned part; nil: nothing is returned
	Short     bool              // the disk is nearly full: of the message only the beginning of its header is returned
}

// lastAttempt is the end of the last attempt for any of the recipients; zero:
// none was made.
func (r Report) lastAttempt() (last time.Time) {
	for _, o := range r.Outcomes {
		if at := r.Attempted[o.Recipient]; at.After(last) {
			last = at
		}
	}
	return last
}

// ErrReport means that a Report cannot be written: a fault in the caller.
var ErrReport = errors.New("impossible report")
