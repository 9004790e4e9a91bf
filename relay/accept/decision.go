package accept

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Submitter is who submits a message, and by which interface. It is the same for all messages of a
// session.
type Submitter struct {
	Identity string         // who it is: see relay.Message; "" for a stranger
	User     *identity.User // whose rules hold: of the login, or of the client's address or uid; nil: no rules

	Client   netip.Addr
	Listener string // the door
	Session  string // see relay.Event
	Helo     string // as the client said it
	Protocol string // RFC 3848
	TLS      string // for people: "TLS1.3 TLS_AES_128_GCM_SHA256"; "" in the clear

	HideClient bool // leave Client and Helo out of the Received field
	AddFrom    bool // add a From field where there is none, or an empty one (devices)
	// CompleteHeader is the domain for addresses of the header that have none;
	// "": they stay as they are.
	CompleteHeader string
}

// Decision is who sends a message and what holds for it. It is made before the
// content is read and applied once each to the content (read), the envelope
// and the schedule (Apply, complete), the header (fields) and the events (accepted).
type Decision struct {
	Submission // as the client wants it, with a domain in every address; User is set

	acceptor *Acceptor
	maxSize  int64 // octets; 0: no limit
	size     int64 // octets, as announced; 0: not known
}

// Decide says what holds for a message, whose recipients may come later by
// Add. The announced size is in octets; 0: unknown. Its error is a refusal.
// Nothing is counted yet.
func (a *Acceptor) Decide(s Submission, size int64) (*Decision, error) {
	if s.User == nil {
		s.User = new(identity.User) // no rules
	}
	d := &Decision{Submission: s, acceptor: a, maxSize: a.cfg.MaxMessageSize, size: size}
	d.From = a.path(d.From)
	for i := range d.Recipients {
		d.Recipients[i].Path = a.path(d.Recipients[i].Path)
	}
	u := d.User
	if u.MaxMessageSize > 0 && (d.maxSize == 0 || u.MaxMessageSize < d.maxSize) {
		d.maxSize = u.MaxMessageSize
	}
	switch {
	case u.RewriteFrom.IsNull() && !u.MaySend(d.From):
		return nil, Refuse(ReasonSender, 550, "5.7.1", "%s may not send as %s", u.Called(), d.From.Wire()) // RFC 6409 §6.1
	case u.MaxMessageSize > 0 && size > u.MaxMessageSize:
		return nil, Refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets for %s", u.MaxMessageSize, u.Called())
	}
	if err := d.refusedAll(); err != nil { // for good: no quota makes it worth another try
		return nil, err
	}
	if err := a.cfg.Ledger.Check(u, 1, 0); err != nil {
		return nil, overQuota(u, err)
	}
	return d, nil
}

// refusedAll refuses a message whose recipients are complete and all refused. Where only
// some are, it is too late to refuse those alone: a notice tells the sender of them.
func (d *Decision) refusedAll() (err error) {
	for i := range d.Recipients {
		if err = d.refusedRecipient(d.Recipients[i].Path); err == nil {
			return nil
		}
	}
	return err
}

// refusedRecipient says why a recipient is refused. A redirected message does not go to its
// recipients, so none is refused.
func (d *Decision) refusedRecipient(to relay.Path) error {
	look := d.acceptor.cfg.Recipient
	if look == nil || !d.User.Redirect.IsNull() {
		return nil
	}
	if r := look(d.Identity, to); r != nil {
		return r
	}
	return nil
}

// Begin is Decide for an interface that reads the content later: a message for which there is no
// room is refused before it is sent.
func (a *Acceptor) Begin(s Submission, size int64) (*Decision, error) {
	if err := a.Room(size); err != nil {
		return nil, err
	}
	return a.Decide(s, size)
}

// Room says whether a message of size octets (0: unknown) would be taken now.
func (a *Acceptor) Room(size int64) error {
	if a.cfg.MaxMessageSize > 0 && size > a.cfg.MaxMessageSize {
		return Refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets", a.cfg.MaxMessageSize)
	}
	return a.queue.Room()
}

// path completes an address: "postmaster" without a domain is ours (RFC 5321
// §4.5.1).
func (a *Acceptor) path(p relay.Path) relay.Path {
	if !p.IsNull() && p.Domain() == "" {
		return a.cfg.Postmaster
	}
	return p
}

// Add adds a recipient, unless it is there already. Its error is a refusal.
func (d *Decision) Add(r relay.Recipient) error {
	r.Path = d.acceptor.path(r.Path)
	for i := range d.Recipients {
		if d.Recipients[i].Path == r.Path {
			return nil
		}
	}
	n := len(d.Recipients) + 1
	if err := d.acceptor.mayHave(n); err != nil {
		return err
	}
	if err := d.refusedRecipient(r.Path); err != nil {
		return err
	}
	if err := d.acceptor.cfg.Ledger.Check(d.User, 1, n); err != nil {
		return overQuota(d.User, err)
	}
	d.Recipients = append(d.Recipients, r)
	return nil
}

// mayHave says whether a message may have n recipients.
func (a *Acceptor) mayHave(n int) error {
	if a.cfg.MaxRecipients > 0 && n > a.cfg.MaxRecipients {
		return Refuse(ReasonRecipients, 452, "4.5.3", "a message may have %d recipients; send to the others in another", a.cfg.MaxRecipients)
	}
	return nil
}

// Accept takes the content of a message and puts it into the queue. When it
// returns nil, the message is on stable storage under the ID given, and ours to
// deliver or to bounce. Every error is a *Refusal.
func (a *Acceptor) Accept(ctx context.Context, d *Decision) (relay.QueueID, error) {
	m, err := a.accept(ctx, d)
	if err != nil {
		return relay.QueueID{}, d.refused(a, err)
	}
	return m.ID, nil
}

func (a *Acceptor) accept(ctx context.Context, d *Decision) (_ *relay.Message, err error) {
	now := time.Now()
	if err := d.count(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			a.cfg.Ledger.GiveBack(d.User, 1, len(d.Recipients))
		}
	}()
	draft, err := a.queue.NewDraft()
	if err != nil {
		return nil, fmt.Errorf("new draft: %w", err)
	}
	defer draft.Discard() // does nothing after Enqueue
	hdr, err := d.read(draft)
	if err != nil {
		return nil, err
	}
	m := &relay.Message{ID: draft.ID(), Arrival: now}
	heldBy := d.complete(m, hdr)
	fields, received := d.fields(m, hdr)
	draft.Prepend(fields)
	if err := a.sign(m, draft); err != nil {
		return nil, err
	}
	draft.Prepend(received)
	m.Size = draft.Size()
	d.accepted(m, heldBy)
	if err := a.queue.Enqueue(ctx, draft, m); err != nil {
		return nil, fmt.Errorf("enqueue %s: %w", m.ID, err)
	}
	m.Events[0].Took = relay.Millis(time.Since(m.Arrival))
	for _, e := range m.Events {
		a.seen.Observe(e)
	}
	m.Events = nil
	return m, nil
}

// sign asks whether the smart host would refuse the sender, so that whoever
// sends the message learns it now, and puts signatures in front of the content.
// They are made once, here, and not at each attempt: an RSA signature costs
// more than all the rest of a delivery.
func (a *Acceptor) sign(m *relay.Message, draft relay.Draft) error {
	if a.cfg.Refuses != nil {
		why, err := a.cfg.Refuses(m, draft.Content())
		switch {
		case err != nil:
			return fmt.Errorf("look at the sender of %s: %w", m.ID, err)
		case why != "":
			return Refuse(ReasonSender, 550, "5.7.1", "%s", why) // RFC 6409 §6.1
		}
	}
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

// count counts the message in the quotas of its user.
func (d *Decision) count() error {
	u, n := d.User, len(d.Recipients)
	if n == 0 {
		return Refuse(ReasonRecipients, 554, "5.5.1", "the message has no recipients")
	}
	if err := d.acceptor.mayHave(n); err != nil {
		return err
	}
	for _, q := range []struct {
		most int
		per  string
	}{{u.RecipientsPerHour, "hour"}, {u.RecipientsPerDay, "day"}} {
		if q.most > 0 && n > q.most { // waiting does not help
			return Refuse(ReasonRecipients, 452, "4.5.3", "%s may send to %d recipients per %s; send to the others in another message, later", u.Called(), q.most, q.per)
		}
	}
	if err := d.acceptor.cfg.Ledger.Take(u, 1, n); err != nil {
		return overQuota(u, err)
	}
	return nil
}

// Apply gives m its envelope, its schedule and its submitter.
func (d *Decision) Apply(m *relay.Message) {
	u := d.User
	m.Envelope, m.NotBefore = d.Envelope, d.NotBefore
	m.Identity, m.Client, m.Protocol = d.Identity, clientText(d.Client), d.Protocol
	m.MaxAge, m.NoDelayNotes = relay.Millis(u.MaxAge), u.NoDelayNotes
	if !u.RewriteFrom.IsNull() && !m.From.IsNull() { // a DSN or receipt of a client stays one
		m.From = u.RewriteFrom
	}
	if !u.Redirect.IsNull() {
		m.Recipients = []relay.Recipient{d.redirected()}
	}
}

// complete sets in m what the decision and the header determine. If it begins on hold, heldBy is
// the reason of the event.
func (d *Decision) complete(m *relay.Message, h *header) (heldBy string) {
	d.Apply(m)
	// Octets above 127 in the header of a message that was not declared SMTPUTF8 are what old programs
	// send. They need an 8-bit path as those of a body do, but SMTPUTF8 would not help.
	m.EightBit, m.UTF8Header = h.body8Bit || h.eightBit, h.eightBit && m.SMTPUTF8
	m.TLSOptional = h.tlsNo && !m.RequireTLS // RFC 8689 §5: REQUIRETLS beats it
	m.MessageID = cleanID(h.messageID)
	if !h.hasID {
		m.MessageID = "<" + m.ID.String() + "@" + strings.Trim(d.acceptor.cfg.Hostname, "[]") + ">"
	}
	m.Hold, heldBy = d.hold(m.ID, h.text)
	// The sender of held mail may be forged, so no notice says that it waits.
	m.NoDelayNotes = m.NoDelayNotes || m.Hold != ""
	return heldBy
}

// redirected is the recipient that replaces all others. The client gets every notice that it asked
// for with any of them; if there was only one, ORCPT names it.
func (d *Decision) redirected() relay.Recipient {
	to := relay.Recipient{Path: d.User.Redirect, Notify: notifyOfAny(d.Recipients)}
	if len(d.Recipients) == 1 {
		first := d.Recipients[0]
		to.ORcpt = first.ORcpt
		if to.ORcpt.IsZero() && first.Path.ASCII() {
			to.ORcpt = relay.ORcpt{Type: "rfc822", Addr: first.Path.String()} // RFC 3461 §4.2
		}
	}
	return to
}

// notifyOfAny asks for what any of several recipients asks for (RFC 3461 §4.1). A recipient without
// the parameter asks for failure and delay; the result is NEVER only if all say so.
func notifyOfAny(list []relay.Recipient) (all relay.Notify) {
	same := true
	for _, r := range list {
		same = same && r.Notify == list[0].Notify
		switch r.Notify {
		case 0:
			all |= relay.NotifyFailure | relay.NotifyDelay
		case relay.NotifyNever:
		default:
			all |= r.Notify
		}
	}
	if same && len(list) > 0 {
		return list[0].Notify
	}
	return all
}

// Reasons of relay.EventHeld for mail that is held at acceptance; package delivery has the
// operator's reason.
const (
	heldByPolicy  = "policy"  // hold = true
	heldByAnomaly = "anomaly" // the user is on hold
)

// hold gives the text for people and the reason of the event if a message begins on hold; "" if it
// does not. It counts the message for its text and for the recipients that the client gave: a flood
// is counted as one even when it is redirected.
func (d *Decision) hold(id relay.QueueID, text identity.Text) (why, reason string) {
	u, a := d.User, d.acceptor
	to := make([]relay.Path, len(d.Recipients))
	for i, r := range d.Recipients {
		to[i] = r.Path
	}
	held, fresh, err := a.cfg.Ledger.Watch(u, text, to)
	if err != nil {
		a.log.Error("the hold of a user could not be written to disk: it ends with this process", "err", err, "identity", u.Name)
	}
	if fresh {
		e := d.Event(relay.EventIdentityHeld)
		e.ID, e.From, e.Identity, e.Reason, e.Rule = id, d.From, u.Name, string(held.Reason), held.Rule
		a.seen.Observe(e)
	}
	switch {
	case held != nil:
		return "on hold with all mail of " + u.Name + ": " + held.Rule + "; see `dawk user release`", heldByAnomaly
	case u.Hold:
		return "on hold since users.toml says hold for " + u.Name, heldByPolicy
	}
	return "", ""
}

// Event makes an event about the submitter, to be completed.
func (s *Submitter) Event(kind relay.EventKind) relay.Event {
	return relay.Event{Kind: kind, Time: time.Now(), Identity: s.Identity, Client: clientText(s.Client),
		Listener: s.Listener, Session: s.Session, Helo: s.Helo, TLS: s.TLS}
}

func clientText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}

// accepted adds to m the events of its acceptance and of its hold: heldBy is the reason of the
// hold.
func (d *Decision) accepted(m *relay.Message, heldBy string) {
	e := d.Event(relay.EventAccepted)
	own := m.Accepted(e.Time)
	e.ID, e.From, e.MessageID, e.Size, e.Count, e.To = own.ID, own.From, own.MessageID, own.Size, own.Count, own.To
	m.Events = []relay.Event{e}
	if m.Hold == "" {
		return
	}
	for i := range m.Recipients {
		e := d.Event(relay.EventHeld)
		e.ID, e.From, e.Recipient, e.MessageID, e.Size = m.ID, m.From, m.Recipients[i].Path, m.MessageID, m.Size
		e.Rule, e.Reason = m.Hold, heldBy
		m.Events = append(m.Events, e)
	}
}
