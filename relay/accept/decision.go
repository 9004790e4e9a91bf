package accept

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Submitter is who hands in a message, and by which door. It is the same for
// all messages of a session.
type Submitter struct {
	Identity string         // who it is: see relay.Message; "" for a stranger
	User     *identity.User // whose rules hold: of the login, or of the client's address or uid; nil: no rules

	Client   netip.Addr
	Listener string // the door
	Session  string // see relay.Event
	Helo     string // as the client said it
	Protocol string // RFC 3848
	TLS      string // for people: "TLS1.3 TLS_AES_128_GCM_SHA256"; "" in the clear

	HideClient bool // keep Client and Helo out of the Received field
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
}

// Decide says what holds for a message, whose recipients may come later by
// Add. The announced size is in octets; 0: unknown. Its error is a refusal.
// Nothing is counted yet.
func (a *Acceptor) Decide(s Submission, size int64) (*Decision, error) {
	if s.User == nil {
		s.User = new(identity.User) // no rules
	}
	d := &Decision{Submission: s, acceptor: a, maxSize: a.cfg.MaxMessageSize}
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
	if err := a.cfg.Ledger.Check(u, 1, 0); err != nil {
		return nil, overQuota(u, err)
	}
	return d, nil
}

// Begin is Decide for a door that reads the content later: what there is no room
// for is refused before it comes.
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

// overQuota turns a QuotaError into its refusal. It is temporary, so that a
// program that keeps what it could not send sends it later.
func overQuota(u *identity.User, err error) error {
	var q *identity.QuotaError
	if !errors.As(err, &q) {
		return err
	}
	// RFC 5321 §4.5.3.1.10: after 452 the client keeps these recipients for later.
	wait := roundUp(q.Wait)
	r := Refuse(ReasonQuota, 452, "4.7.28", "%s may send %d %s per %s; try again in %s", u.Called(), q.Limit, q.What, q.Per, waitText(wait))
	r.Wait = wait
	return r
}

// roundUp is d in whole seconds or minutes: after that time the message fits.
func roundUp(d time.Duration) time.Duration {
	step := time.Second
	if d > time.Minute {
		step = time.Minute
	}
	return (d + step - 1) / step * step
}

func waitText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// Apply gives m its envelope, its schedule and its submitter.
func (d *Decision) Apply(m *relay.Message) {
	u := d.User
	m.Envelope, m.NotBefore = d.Envelope, d.NotBefore
	m.Identity, m.Client, m.Protocol = d.Identity, clientText(d.Client), d.Protocol
	m.MaxAge, m.NoDelayNotes = u.MaxAge, u.NoDelayNotes
	if !u.RewriteFrom.IsNull() && !m.From.IsNull() { // a DSN or receipt of a client stays one
		m.From = u.RewriteFrom
	}
	if !u.Redirect.IsNull() {
		m.Recipients = []relay.Recipient{d.redirected()}
	}
}

// complete gives m what the decision and its header say of it. If it begins on
// hold, heldBy is the reason of the event.
func (d *Decision) complete(m *relay.Message, h *header) (heldBy string) {
	d.Apply(m)
	// Octets above 127 in the header of a message that was not declared
	// SMTPUTF8 are what old programs send. They need a clean 8-bit path as
	// those of a body do, but no host would take them better for SMTPUTF8.
	m.EightBit, m.UTF8Header = h.body8Bit || h.eightBit, h.eightBit && m.SMTPUTF8
	m.TLSOptional = h.tlsNo && !m.RequireTLS // RFC 8689 §5: REQUIRETLS beats it
	m.MessageID = cleanID(h.messageID)
	if !h.hasID {
		m.MessageID = "<" + m.ID.String() + "@" + strings.Trim(d.acceptor.cfg.Hostname, "[]") + ">"
	}
	m.Hold, heldBy = d.hold(m.ID, h.text)
	// Whose mail is held may have been forged, and nobody is told that it waits.
	m.NoDelayNotes = m.NoDelayNotes || m.Hold != ""
	return heldBy
}

// cleanID gives a Message-ID as one word in angle brackets, or "" if it is
// none that could be quoted in a log or a notice.
func cleanID(v []byte) string {
	id := strings.TrimSpace(string(v))
	if len(id) < 3 || len(id) > maxMessageID || id[0] != '<' || id[len(id)-1] != '>' {
		return ""
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] == 0x7f {
			return ""
		}
	}
	return strings.ToValidUTF8(id, "?")
}

const maxMessageID = 998

// redirected is the recipient in place of all. The client hears of it what it
// wanted to hear of any of them; who a single one was is told in ORCPT.
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

// notifyOfAny asks for what any of several recipients asks for (RFC 3461 §4.1).
// One without the parameter asks for failure and delay; NEVER stands where all
// say so.
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

// Reasons of relay.EventHeld that begin with acceptance; the operator's is
// package delivery's.
const (
	heldByPolicy  = "policy"  // hold = true
	heldByAnomaly = "anomaly" // the user is on hold
)

// hold gives the text for people and the reason of the event if a message
// begins on hold; "" if it does not. It counts the message as one more of its
// text and to its recipients: those that the client gave, since a redirection
// does not make a flood harmless.
func (d *Decision) hold(id relay.QueueID, text identity.Text) (why, reason string) {
	u, a := d.User, d.acceptor
	to := make([]relay.Path, len(d.Recipients))
	for i, r := range d.Recipients {
		to[i] = r.Path
	}
	held, fresh, err := a.cfg.Ledger.Watch(u, text, to)
	if err != nil {
		a.log.Error("the hold of a user is not on disk: it ends with this process", "err", err, "identity", u.Name)
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
