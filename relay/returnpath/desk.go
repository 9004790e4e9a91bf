// Package returnpath gives mail return addresses of its own, signed for one recipient of
// one message each, and takes what comes back to them: notices of failure, complaints,
// answers of machines. What they say is package notice's; the octets of SMTP are package
// submission's, for which a [Desk] is the queue.
//
// What a notice says becomes an event in the outbox before the notice is acknowledged,
// once for each address: a note before it and one after it find out at the next try
// what a crash in between has left.
//
// Desk.Run removes what is out of date. The ledger's lock guards its files, Desk.using
// the look at a tag and its use, Desk.mu the count of what was taken. Begin reading at
// Desk.Enqueue.
package returnpath

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/limits"
	"dawk/relay/returnpath/notice"
)

// Config is [return_path].
type Config struct {
	Domain     string        // of signed addresses
	Complaints relay.Path    // where reports of complaints go; null: nowhere
	Valid      time.Duration // how long an address takes mail, from the acceptance of the message
	Forward    bool          // a verified notice of failure also goes to the sender
	Hostname   string
}

// Queue takes what is forwarded, and the events; in production it is that of the relay.
type Queue interface {
	NewDraft() (relay.Draft, error)
	Enqueue(context.Context, relay.Draft, *relay.Message) error
	Settle(relay.Settlement, func(error))
	Room() error
}

// Outbox is what the queue keeps of events.
type Outbox interface {
	Last() uint64
	Events(after uint64) iter.Seq2[relay.OutboxEvent, error]
}

// Around is what a Desk works with.
type Around struct {
	Queue  Queue
	Outbox Outbox
	Seen   relay.Observer // sees events that are in the outbox
	Kept   func() error   // waits until what Seen saw is on disk
	Log    *slog.Logger
}

// Desk makes signed addresses and takes what comes back to them.
type Desk struct {
	Around
	cfg    Config
	secret secret
	ledger *ledger
	now    func() time.Time

	using sync.Mutex
	mu    sync.Mutex
	taken limits.Window
}

// Bounds of what is taken.
const (
	maxRead      = 1 << 20 // octets of a notice that are looked at
	maxPerMinute = 6000    // notices; more wait at their senders
)

// Open makes a desk that keeps its files in dir.
func Open(dir string, cfg Config, around Around) (*Desk, error) {
	d := &Desk{Around: around, cfg: cfg, now: time.Now}
	var err error
	if d.secret, err = openSecret(dir); err == nil {
		d.ledger, err = openLedger(filepath.Join(dir, "return-path"))
	}
	if err != nil {
		return nil, fmt.Errorf("return addresses: %w", err)
	}
	return d, nil
}

// Close closes the files.
func (d *Desk) Close() error { return d.ledger.close() }

// Run removes what is out of date until ctx ends.
func (d *Desk) Run(ctx context.Context) {
	tick := time.NewTicker(time.Hour)
	defer tick.Stop()
	for {
		if err := d.ledger.prune(d.now(), d.cfg.Valid); err != nil {
			d.Log.Warn("old return addresses could not be removed", "err", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// For is the signed address of a recipient, an index into m.Recipients, and is the same
// whenever it is asked for. An error means that nothing would be known of what comes
// back.
func (d *Desk) For(m *relay.Message, recipient int) (relay.Path, error) {
	t := Tag{ID: m.ID, Recipient: recipient}
	s := Sent{ID: m.ID, N: recipient, To: m.Recipients[recipient].Path, From: m.From, Identity: m.Identity, MessageID: relay.ClipTo(m.MessageID, 300)}
	if err := d.ledger.note(false, s); err != nil {
		return relay.Path{}, err
	}
	return relay.NewPath(prefix+d.secret.encode(t), d.cfg.Domain)
}

// tagOf is the tag in an address of ours.
func (d *Desk) tagOf(to relay.Path) (Tag, error) {
	local := to.Local()
	if !strings.EqualFold(to.Domain(), d.cfg.Domain) || len(local) < len(prefix) || !strings.EqualFold(local[:len(prefix)], prefix) {
		return Tag{}, errForeign
	}
	return d.secret.decode(local[len(prefix):], d.now(), d.cfg.Valid)
}

func (d *Desk) complaints(to relay.Path) bool {
	return !d.cfg.Complaints.IsNull() && strings.EqualFold(to.Domain(), d.cfg.Complaints.Domain()) && strings.EqualFold(to.Local(), d.cfg.Complaints.Local())
}

// Refuses says in a sentence why mail to an address is not taken; "": it is.
func (d *Desk) Refuses(to relay.Path) string {
	if d.complaints(to) {
		return ""
	}
	if _, err := d.tagOf(to); err != nil {
		return err.Error()
	}
	return ""
}

// NewDraft is that of the relay's queue, so that what is forwarded is not copied.
func (d *Desk) NewDraft() (relay.Draft, error) { return d.Queue.NewDraft() }

// Room is nil where another notice is taken now.
func (d *Desk) Room() error {
	d.mu.Lock()
	n := d.taken.Count(time.Minute, d.now())
	d.mu.Unlock()
	if n >= maxPerMinute {
		return relay.ErrNoSpace
	}
	return d.Queue.Room()
}

// Enqueue looks at a message that came. It is taken whatever it says, and is never
// answered; with Config.Forward one that is verified goes on to the sender.
func (d *Desk) Enqueue(ctx context.Context, draft relay.Draft, m *relay.Message) error {
	defer draft.Discard() // does nothing after Enqueue of the queue
	now := d.now()
	d.mu.Lock()
	d.taken.Add(1, time.Minute, now)
	d.mu.Unlock()
	content := draft.Content()
	text := make([]byte, min(content.Size(), maxRead))
	if _, err := content.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	n := notice.Read(text)
	d.using.Lock()
	defer d.using.Unlock()
	var all []heard
	for i := range m.Recipients {
		h, err := d.hear(&n, m.Recipients[i].Path, now)
		if err != nil {
			return err
		}
		if h != nil && !slices.ContainsFunc(all, func(o heard) bool { return o.tag == h.tag }) {
			all = append(all, *h)
		}
	}
	return d.act(ctx, draft, m, all)
}

// own is the identity of mail of the relay itself.
const own = "dawk"

// heard is what a notice says of the recipient of a tag.
type heard struct {
	tag   Tag
	event relay.Event
	begun uint64 // see Sent
}

// hear makes the event of a notice to an address; nil: there is none.
func (d *Desk) hear(n *notice.Notice, to relay.Path, now time.Time) (*heard, error) {
	t, err := d.tagOf(to)
	kind := relay.EventBounced
	if d.complaints(to) {
		kind = relay.EventComplained
		t, err = d.enclosed(n)
	}
	told := slog.String("to", to.String())
	if err != nil {
		d.Log.Info("a message to the complaint address names no message of this relay; it is ignored", told, "what", n.Kind.String())
		return nil, nil
	}
	switch {
	case n.Kind == notice.Complained:
		kind = relay.EventComplained
	case kind == relay.EventComplained, n.Kind != notice.Failed:
		d.Log.Info("a message to a return address is no notice of failure; it is ignored", told, "qid", t.ID, "what", n.Kind.String())
		return nil, nil
	}
	s, err := d.ledger.find(t)
	switch {
	case err != nil:
		return nil, err
	case s.Used:
		d.Log.Info("a message to a return address that was used already; it is ignored", told, "qid", t.ID)
		return nil, nil
	case s.ID.IsZero():
		d.Log.Warn("a verified notice tells of a recipient that is not on record any more; it is ignored", told, "qid", t.ID)
		return nil, nil
	}
	e := relay.Event{Kind: kind, Time: now, ID: s.ID, From: s.From, Recipient: s.To, Identity: s.Identity, MessageID: s.MessageID, Age: now.Sub(s.ID.Time())}
	e.Destination = s.To.Domain()
	if kind == relay.EventBounced {
		r := n.About(s.To.String())
		e.Reply, e.Reason, e.Host = r.Reply, string(r.Category), r.Reply.MTA
	}
	return &heard{t, e, s.Begun}, nil
}

// act does what follows, in this order, so that whoever sent the notice and got no answer
// may send it again: the event, with what goes on to senders in one commit; those who
// observe; and that the address is used up.
func (d *Desk) act(ctx context.Context, draft relay.Draft, m *relay.Message, all []heard) error {
	if len(all) == 0 {
		return nil
	}
	var events []relay.Event
	var to []relay.Recipient
	var begun, used []Sent
	for _, h := range all {
		used = append(used, Sent{ID: h.tag.ID, N: h.tag.Recipient, Used: true})
		there, err := d.committed(&h)
		switch {
		case err != nil:
			return err
		case there:
			continue
		case h.begun == 0:
			begun = append(begun, Sent{ID: h.tag.ID, N: h.tag.Recipient, Begun: d.Outbox.Last() + 1})
		}
		events = append(events, h.event)
		if h.event.Kind == relay.EventBounced && d.cfg.Forward && !h.event.From.IsNull() {
			to = append(to, relay.Recipient{Path: h.event.From, Notify: relay.NotifyNever})
		}
	}
	if err := d.ledger.note(true, begun...); err != nil {
		return err
	}
	if err := d.commit(ctx, draft, m, events, to); err != nil {
		return err
	}
	for _, h := range all {
		d.Seen.Observe(h.event)
	}
	if err := d.Kept(); err != nil {
		return err
	}
	return d.ledger.note(true, used...)
}

// committed says whether an earlier try has put the event into the outbox.
func (d *Desk) committed(h *heard) (bool, error) {
	if h.begun == 0 {
		return false, nil
	}
	for e, err := range d.Outbox.Events(h.begun - 1) {
		if err != nil {
			return false, err
		}
		if e.Kind == h.event.Kind && e.Event.ID == h.event.ID && e.Recipient == h.event.Recipient {
			return true, nil
		}
	}
	return false, nil
}

// commit puts events into the outbox, and what goes on to senders into the queue.
func (d *Desk) commit(ctx context.Context, draft relay.Draft, m *relay.Message, events []relay.Event, to []relay.Recipient) error {
	if len(to) > 0 {
		// A notice has no sender, and none is sent about it (RFC 3464 §2).
		on := &relay.Message{ID: draft.ID(), Arrival: m.Arrival, Size: draft.Size(), Identity: own, Notice: true, MessageID: m.MessageID, EightBit: m.EightBit, UTF8Header: m.UTF8Header,
			Envelope: relay.Envelope{Recipients: to, Body: m.Body, SMTPUTF8: m.SMTPUTF8}}
		on.Events = append(events, on.Accepted(d.now()))
		return d.Queue.Enqueue(ctx, draft, on)
	}
	if len(events) == 0 {
		return nil
	}
	done := make(chan error, 1)
	d.Queue.Settle(relay.Settlement{Events: events}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enclosed is the tag in what a report of a complaint encloses.
func (d *Desk) enclosed(n *notice.Notice) (t Tag, err error) {
	err = errForeign
	for _, a := range n.Addresses {
		p, bad := relay.ParsePath(a)
		if bad != nil {
			continue
		}
		if t, err = d.tagOf(p); err == nil {
			return t, nil
		}
	}
	return t, err
}
