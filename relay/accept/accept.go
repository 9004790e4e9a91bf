// Package accept holds the rules for new messages, whichever interface (door) they come by. Begin
// reading at [Acceptor.Accept].
//
// A door says who sends what ([Submission]) and gets a [Decision]: one value
// that holds all that users.toml and the configuration say about this message.
// SMTP asks for it at MAIL (Begin) and adds a recipient at each RCPT; the other doors
// hand a whole message to [Acceptor.Submit].
//
// The package has no goroutines and no locks of its own. The counters of users
// are in identity.Ledger.
package accept

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Queue stores accepted messages. In production it is a queue.Store.
type Queue interface {
	// NewDraft gives an error that wraps relay.ErrNoSpace or ErrClosed.
	NewDraft() (relay.Draft, error)
	// Enqueue returns nil once the message is on stable storage. The draft
	// ends either way.
	Enqueue(context.Context, relay.Draft, *relay.Message) error
	// Room says, cheaply, whether new mail would be taken.
	Room() error
}

// Config is what the rules need to know.
type Config struct {
	Hostname       string     // in Received and Message-ID
	Postmaster     relay.Path // the address for "postmaster" without a domain; null: postmaster@Hostname
	MaxMessageSize int64      // octets; 0: no limit. A message of exactly this size is accepted
	MaxRecipients  int        // of a message; 0: no limit
	MaxHops        int        // Received fields; 0: 50
	// Ledger keeps the quotas and holds of users; nil: one in memory.
	Ledger *identity.Ledger
	// Sign makes the header fields that sign a message whose content is
	// complete but for the Received field; nil: mail is not signed. An error
	// is temporary.
	Sign func(*relay.Message, relay.Content) ([]byte, error)
	// Refuses says in a sentence why the smart host of a message would refuse
	// its sender; "": nothing is known of that. nil: nothing is looked up.
	Refuses func(*relay.Message, relay.Content) (string, error)
	// Recipient says why mail of an identity to a recipient is refused; nil: it is
	// taken. nil: nobody is refused.
	Recipient func(identity string, to relay.Path) *Refusal
	// Unsubscribe makes the token for a recipient in a link of User.Unsubscribe;
	// nil: no links are added.
	Unsubscribe func(identity string, to relay.Path) string
	// Tell puts an event that no message goes with into the outbox; nil: none is kept.
	Tell func(relay.Event)
	Log  *slog.Logger
}

const defaultMaxHops = 50

// Acceptor holds the rules for new messages. It is safe for concurrent use.
type Acceptor struct {
	cfg   Config
	queue Queue
	seen  relay.Observer
	log   *slog.Logger
}

// Submission is a message that somebody wants sent.
type Submission struct {
	Submitter
	relay.Envelope
	NotBefore time.Time
	Content   io.WriterTo // strict CRLF lines
}

// New makes an Acceptor that reports to seen what it accepts and refuses.
func New(cfg Config, q Queue, seen relay.Observer) (*Acceptor, error) {
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

// Submit takes a message whose envelope is complete: Decide and Accept in one.
func (a *Acceptor) Submit(ctx context.Context, s Submission) (relay.QueueID, error) {
	d, err := a.Decide(s, 0)
	if err != nil {
		return relay.QueueID{}, s.refused(a, err)
	}
	return a.Accept(ctx, d)
}

// Refused turns an error into a Refusal and reports it by e, an event that says who was refused
// what.
func (a *Acceptor) Refused(e relay.Event, err error) *Refusal {
	r := RefusalOf(err)
	if r.Reason == ReasonInternal {
		a.log.Error("message not accepted", "err", r.Err, "session", e.Session, "from", e.From.String(), "identity", e.Identity, "client", e.Client)
	}
	e.Reply, e.Reason = r.Reply, string(r.Reason)
	a.seen.Observe(e)
	if r.Reason == ReasonSuppressed && !e.Recipient.IsNull() {
		a.suppressed(e)
	}
	return r
}

// suppressed reports a recipient that was refused since it is on the suppression list.
func (a *Acceptor) suppressed(e relay.Event) {
	e.Kind = relay.EventSuppressed
	if a.cfg.Tell != nil {
		a.cfg.Tell(e)
	}
	a.seen.Observe(e)
}

func (s *Submission) refused(a *Acceptor, err error) *Refusal {
	e := s.Event(relay.EventRefused)
	e.From, e.Count = s.From, len(s.Recipients)
	r := a.Refused(e, err)
	for i := 0; r.Reason == ReasonSuppressed && i < len(s.Recipients); i++ {
		e := s.Event(relay.EventRefused)
		e.From, e.Recipient, e.Reply, e.Reason = s.From, s.Recipients[i].Path, r.Reply, string(r.Reason)
		a.suppressed(e)
	}
	return r
}
