package submission

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Queue takes what was accepted. In production it is *queue.Queue.
type Queue interface {
	// NewDraft gives an error that wraps relay.ErrNoSpace or ErrClosed.
	NewDraft() (relay.Draft, error)
	// Enqueue returns nil once the message is on stable storage. The draft
	// ends either way.
	Enqueue(context.Context, relay.Draft, *relay.Message) error
	// Room says, cheaply, whether new mail would be taken.
	Room() error
}

// AcceptorConfig is what the rules need to know.
type AcceptorConfig struct {
	Hostname       string     // in Received and Message-ID
	Postmaster     relay.Path // whom "postmaster" without a domain means; null: postmaster@Hostname
	MaxMessageSize int64      // octets; 0: no limit. A message of exactly this is taken
	MaxRecipients  int        // of a message; 0: no limit
	MaxHops        int        // Received fields; 0: 50
	// Ledger keeps the quotas and holds of users; nil: one in memory.
	Ledger *identity.Ledger
	// Sign makes the header fields that sign a message whose content is
	// complete but for the Received field; nil: mail is not signed. An error
	// is temporary trouble of ours.
	Sign func(*relay.Message, relay.Content) ([]byte, error)
	// Refuses says in a sentence why the way of a complete message would refuse
	// its sender; "": nothing is known of that. nil: nobody looks.
	Refuses func(*relay.Message, relay.Content) (string, error)
	Log     *slog.Logger
}

const defaultMaxHops = 50

// Acceptor holds the rules for new messages, whatever way they come. It is
// safe for concurrent use.
type Acceptor struct {
	cfg   AcceptorConfig
	queue Queue
	seen  relay.Observer
	log   *slog.Logger
}

// Submission is a message that somebody wants sent.
type Submission struct {
	relay.Envelope
	Content io.WriterTo // strict CRLF lines; the SMTP front end's is the guard

	Identity  string         // who sends it: see relay.Message
	User      *identity.User // whose policy is obeyed: who logged in, or who stands for a client; nil: nobody's
	NotBefore time.Time
	AddFrom   bool // a missing From field is repaired (devices)

	Client     netip.Addr
	Listener   string
	Session    string // see relay.Event
	Helo       string // as the client said it
	Protocol   string // RFC 3848
	TLS        string // for people: "TLS1.3 TLS_AES_128_GCM_SHA256"; "" in the clear
	HideClient bool   // keep Client and Helo out of the Received field
}

// NewAcceptor makes an Acceptor that tells seen what it accepts and refuses.
func NewAcceptor(cfg AcceptorConfig, q Queue, seen relay.Observer) (*Acceptor, error) {
	host, err := relay.NormalizeDomain(cfg.Hostname)
	if err != nil {
		return nil, fmt.Errorf("hostname: %w", err)
	}
	cfg.Hostname = host
	if cfg.MaxHops == 0 {
		cfg.MaxHops = defaultMaxHops
	}
	if cfg.Postmaster.Domain() == "" {
		if cfg.Postmaster, err = relay.NewPath("postmaster", host); err != nil {
			return nil, fmt.Errorf("postmaster: %w", err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if seen == nil {
		seen = relay.Observers{}
	}
	if cfg.Ledger == nil {
		cfg.Ledger = identity.NewLedger()
	}
	return &Acceptor{cfg: cfg, queue: q, seen: seen, log: cfg.Log}, nil
}

// Room says whether a message of size octets (0: unknown) would be taken now.
func (a *Acceptor) Room(size int64) error {
	if a.cfg.MaxMessageSize > 0 && size > a.cfg.MaxMessageSize {
		return refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets", a.cfg.MaxMessageSize)
	}
	return a.queue.Room()
}

// Path completes an address: "postmaster" without a domain is ours (RFC 5321
// §4.5.1).
func (a *Acceptor) Path(p relay.Path) relay.Path {
	if !p.IsNull() && p.Domain() == "" {
		return a.cfg.Postmaster
	}
	return p
}

// Accept takes the content of s, applies the rules, and puts the message into
// the queue. When it returns nil, the message is on stable storage under the
// ID given, and ours to deliver or to bounce. Every error is a *Refusal.
func (a *Acceptor) Accept(ctx context.Context, s *Submission) (relay.QueueID, error) {
	began := time.Now()
	m, err := a.accept(ctx, s, began)
	if err != nil {
		r := refusal(err)
		if r.Reason == ReasonInternal {
			a.log.Error("message not accepted", "err", r.Err, "session", s.Session, "from", s.From.String(), "identity", s.Identity, "client", s.Client)
		}
		e := s.event(relay.EventRefused)
		e.Count, e.Reply, e.Reason = len(s.Recipients), r.Reply, string(r.Reason)
		a.seen.Observe(e)
		return relay.QueueID{}, r
	}
	return m.ID, nil
}

func (a *Acceptor) accept(ctx context.Context, s *Submission, now time.Time) (_ *relay.Message, err error) {
	if err := a.mayBegin(s); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.giveBack(s)
		}
	}()
	draft, err := a.queue.NewDraft()
	if err != nil {
		return nil, fmt.Errorf("new draft: %w", err)
	}
	defer draft.Discard() // does nothing after Enqueue
	hdr, err := a.content(s, draft)
	if err != nil {
		return nil, err
	}
	m := a.message(s, draft, hdr, now)
	reason := a.hold(s, m, hdr)
	draft.Prepend(a.missing(s, m, hdr, now))
	if err := a.refused(m, draft); err != nil {
		return nil, err
	}
	if err := a.sign(m, draft); err != nil {
		return nil, err
	}
	draft.Prepend(a.received(s, m.ID, now))
	m.Size = draft.Size()
	if err := a.queue.Enqueue(ctx, draft, m); err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", m.ID, err)
	}
	a.tellAccepted(s, m, reason, now)
	return m, nil
}

// content streams the message into the draft: it is never whole in memory here.
func (a *Acceptor) content(s *Submission, draft relay.Draft) (header, error) {
	sc := scanner{dst: draft, maxSize: a.cfg.MaxMessageSize, maxHops: a.cfg.MaxHops}
	a.scanFor(s, &sc)
	if _, err := s.Content.WriteTo(&sc); err != nil {
		return sc.hdr, err
	}
	err := sc.finish()
	return sc.hdr, err
}

func (a *Acceptor) message(s *Submission, draft relay.Draft, hdr header, now time.Time) *relay.Message {
	m := &relay.Message{
		ID: draft.ID(), Envelope: s.Envelope, Arrival: now,
		Identity: s.Identity, Client: clientText(s.Client), Protocol: s.Protocol,
		MessageID: hdr.messageID,
		// Octets above 127 in the header of a message that was not declared
		// SMTPUTF8 are what old programs send. They need a clean 8-bit path as
		// those of a body do, but no host would take them better for SMTPUTF8.
		EightBit: hdr.body8Bit || hdr.eightBit, UTF8Header: hdr.eightBit && s.SMTPUTF8,
		NotBefore:   s.NotBefore,
		TLSOptional: hdr.tlsNo && !s.RequireTLS, // RFC 8689 §5: REQUIRETLS beats it
	}
	m.From = a.Path(m.From)
	for i := range m.Recipients {
		m.Recipients[i].Path = a.Path(m.Recipients[i].Path)
	}
	a.rewrite(s, m)
	if !hdr.hasID {
		m.MessageID = "<" + m.ID.String() + "@" + strings.Trim(a.cfg.Hostname, "[]") + ">"
	}
	return m
}

// missing gives the fields that every message must have and this one lacks
// (RFC 6409 §8.1 and §8.2).
func (a *Acceptor) missing(s *Submission, m *relay.Message, hdr header, now time.Time) []byte {
	b := a.policyFields(s, m, hdr)
	if !hdr.date {
		b = append(b, "Date: "+now.Format(rfc5322Date)+"\r\n"...)
	}
	if !hdr.hasID {
		b = append(b, "Message-ID: "+m.MessageID+"\r\n"...)
	}
	return b
}

// sign puts signatures in front of the content. It happens once, here, and not
// at each attempt: an RSA signature costs more than all the rest of a delivery.
func (a *Acceptor) sign(m *relay.Message, draft relay.Draft) error {
	if a.cfg.Sign == nil {
		return nil
	}
	fields, err := a.cfg.Sign(m, draft.Content())
	if err != nil {
		return fmt.Errorf("sign %s: %w", m.ID, err)
	}
	draft.Prepend(fields)
	return nil
}

// refused looks whether the message would come back for its sender: whoever
// sends it learns that now.
func (a *Acceptor) refused(m *relay.Message, draft relay.Draft) error {
	if a.cfg.Refuses == nil {
		return nil
	}
	why, err := a.cfg.Refuses(m, draft.Content())
	switch {
	case err != nil:
		return fmt.Errorf("look at the sender of %s: %w", m.ID, err)
	case why != "":
		return refuse(ReasonSender, 550, "5.7.1", "%s", why) // RFC 6409 §6.1
	}
	return nil
}

// tellAccepted tells of a message that is in the queue, and of its hold.
func (a *Acceptor) tellAccepted(s *Submission, m *relay.Message, reason string, began time.Time) {
	e := s.event(relay.EventAccepted)
	e.ID, e.From, e.MessageID = m.ID, m.From, m.MessageID
	e.Size, e.Count, e.Took = m.Size, len(m.Recipients), e.Time.Sub(began)
	a.seen.Observe(e)
	if m.Hold == "" {
		return
	}
	for i := range m.Recipients {
		e := s.event(relay.EventHeld)
		e.ID, e.From, e.Recipient, e.Rule, e.Reason = m.ID, m.From, m.Recipients[i].Path, m.Hold, reason
		a.seen.Observe(e)
	}
}

// event is one about s, to be completed.
func (s *Submission) event(kind relay.EventKind) relay.Event {
	return relay.Event{Kind: kind, Time: time.Now(), From: s.From, Identity: s.Identity, Client: clientText(s.Client),
		Listener: s.Listener, Session: s.Session, Helo: s.Helo, TLS: s.TLS}
}

func clientText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
