package relay

import (
	"io"
	"net/netip"
	"strings"
	"time"
)

// Message is an accepted message without its content: what never changes
// after acceptance.
type Message struct {
	ID QueueID `json:"id"`
	Envelope
	Arrival time.Time `json:"arrival"`
	Size    int64     `json:"size"` // octets of content as stored, CRLF line ends

	// Who submitted it and how.
	Identity string `json:"identity,omitempty"` // user name; "network:<prefix>" for a trusted network; "local:<login>" for a program of this machine; "dawk" for our own notices
	Client   string `json:"client,omitempty"`   // address of the client, without port
	Protocol string `json:"protocol,omitempty"` // RFC 3848 "with" keyword: SMTP, ESMTP, ESMTPS, ESMTPSA …

	// What acceptance found in the content.
	MessageID  string `json:"message_id,omitempty"`  // with angle brackets
	EightBit   bool   `json:"eight_bit,omitempty"`   // the body has octets above 127: needs 8BITMIME
	UTF8Header bool   `json:"utf8_header,omitempty"` // the header has: needs SMTPUTF8 (RFC 6532)

	Notice       bool      `json:"notice,omitempty"`         // a DSN or other notice that we wrote: never bounced (RFC 3464 §2)
	MaxAge       Millis    `json:"max_age_ms,omitempty"`     // lifetime; 0: the queue's
	NotBefore    time.Time `json:"not_before,omitzero"`      // RFC 4865 FUTURERELEASE
	NoDelayNotes bool      `json:"no_delay_notes,omitempty"` // the identity wants no delay notices
	TLSOptional  bool      `json:"tls_optional,omitempty"`   // RFC 8689 §5 "TLS-Required: No"

	// Hold says why the Deliveries begin on hold, as a Delivery's Rule; "": they
	// do not. It speaks of their beginning only and is not kept with the message.
	Hold string `json:"-"`

	// Begin is how the Delivery of each recipient begins, of mail that was in a queue before; nil:
	// as new mail does, with Hold. Like Hold it is not kept with the message.
	Begin []Beginning `json:"-"`

	// Events are what is told of its acceptance. The commit that takes the message
	// puts them into the outbox, if one is kept; they are not kept with the message.
	Events []Event `json:"-"`
}

// Accepted is the event of the acceptance of m, as far as m says it.
func (m *Message) Accepted(now time.Time) Event {
	e := Event{Kind: EventAccepted, Time: now, ID: m.ID, From: m.From, Identity: m.Identity, MessageID: m.MessageID, Size: m.Size, Count: len(m.Recipients)}
	for _, r := range m.Recipients {
		e.To = append(e.To, r.Path)
	}
	return e
}

// Released is when the relay was first free to deliver m: at its arrival, or
// when the client wanted (RFC 4865).
func (m *Message) Released() time.Time {
	if m.NotBefore.After(m.Arrival) {
		return m.NotBefore
	}
	return m.Arrival
}

// NetworkIdentity begins the Identity of a client of a trusted network.
const NetworkIdentity = "network:"

// Peer tells the clients of one trusted network apart: the address, or the /64 that
// an IPv6 client has to itself. It is "" for every other identity.
func (m *Message) Peer() string {
	if !strings.HasPrefix(m.Identity, NetworkIdentity) {
		return ""
	}
	a, err := netip.ParseAddr(m.Client)
	if err != nil {
		return ""
	}
	if a.Is4() {
		return m.Client
	}
	p, _ := a.WithZone("").Prefix(64)
	return p.String()
}

// Lifetime is how long m may stay in a queue whose own lifetime is standard.
func (m *Message) Lifetime(standard time.Duration) time.Duration {
	if m.MaxAge > 0 {
		return m.MaxAge.Duration()
	}
	return standard
}

// NeedsSMTPUTF8 says whether a transaction for these recipients (indexes into
// Recipients) can only go to a host that offers SMTPUTF8 (RFC 6531 §3.2).
func (m *Message) NeedsSMTPUTF8(recipients []int) bool {
	if m.UTF8Header || !m.From.ASCII() {
		return true
	}
	for _, i := range recipients {
		if !m.Recipients[i].Path.ASCII() {
			return true
		}
	}
	return false
}

// Content is the octets of a message: strict CRLF lines, not dot-stuffed,
// ending in CRLF unless empty. It may be read by several goroutines and never
// changes. Close releases it.
type Content interface {
	io.ReaderAt
	Size() int64
	Close() error
}

// Spliced is Body with Head in the place of its first Skip octets. Its Close is
// that of Body.
type Spliced struct {
	Head []byte
	Body Content
	Skip int64
}

// Size implements Content.
func (s *Spliced) Size() int64 { return int64(len(s.Head)) + s.Body.Size() - s.Skip }

// Close implements Content.
func (s *Spliced) Close() error { return s.Body.Close() }

// ReadAt implements Content.
func (s *Spliced) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(s.Head)) {
		if n = copy(p, s.Head[off:]); n == len(p) {
			return n, nil
		}
	}
	rest := off + int64(n) - int64(len(s.Head)) + s.Skip
	if rest >= s.Body.Size() {
		return n, io.EOF
	}
	more, err := s.Body.ReadAt(p[n:], rest)
	return n + more, err
}

// Draft collects the content of a message that is being accepted. It belongs
// to one goroutine. It ends in Enqueue or in Discard; after either it may not
// be used. Large drafts live in a file, small ones in memory.
type Draft interface {
	ID() QueueID // the queue ID it will have
	io.Writer
	// Prepend puts header fields before everything written so far: the
	// Received field, or a signature that covers the rest.
	Prepend(header []byte)
	Size() int64
	// Content is what is there so far, readable until the Draft ends. Its
	// Close does nothing.
	Content() Content
	// Discard throws the draft away; it does nothing after Enqueue.
	Discard()
}
