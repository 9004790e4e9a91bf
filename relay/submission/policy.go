package submission

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// The rules that users.toml makes for single users. They are the Acceptor's,
// so that they hold whatever way a message comes.

// Sender says whether a user (nil: a client that needs no login) may send a
// message of size octets (0: unknown) from this reverse-path.
func (a *Acceptor) Sender(u *identity.User, from relay.Path, size int64) error {
	if u == nil {
		return nil
	}
	if from = a.Path(from); !from.IsNull() && u.RewriteFrom.IsNull() && !u.MaySend(from) {
		return refuse(ReasonSender, 550, "5.7.1", "this login may not send as %s", from.Wire()) // RFC 6409 §6.1
	}
	if u.MaxMessageSize > 0 && size > u.MaxMessageSize {
		return refuse(ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets for this login", u.MaxMessageSize)
	}
	return overQuota(u, a.cfg.Ledger.Check(u, 1, 0))
}

// AnotherRecipient says whether a message of u (nil: nobody's) with n
// recipients may have one more.
func (a *Acceptor) AnotherRecipient(u *identity.User, n int) error {
	if a.cfg.MaxRecipients > 0 && n >= a.cfg.MaxRecipients {
		return refuse(ReasonRecipients, 452, "4.5.3", "a message may have %d recipients; send to the others in another", a.cfg.MaxRecipients)
	}
	if u == nil {
		return nil
	}
	return overQuota(u, a.cfg.Ledger.Check(u, 1, n+1))
}

// overQuota turns a QuotaError into its refusal. It is temporary, so that a
// program that keeps what it could not send sends it later.
func overQuota(u *identity.User, err error) error {
	var q *identity.QuotaError
	if !errors.As(err, &q) {
		return err
	}
	// RFC 5321 §4.5.3.1.10: after 452 the client keeps these recipients for later.
	return refuse(ReasonQuota, 452, "4.7.28", "%s may send %d %s per %s; try again in %s", u.Called(), q.Limit, q.What, q.Per, waitText(q.Wait))
}

// waitText rounds up: whoever comes back then is served.
func waitText(d time.Duration) string {
	step := time.Second
	if d > time.Minute {
		step = time.Minute
	}
	text := ((d + step - 1) / step * step).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	return text
}

// mayBegin looks at all that can be known before the content, and takes the
// message from its user's quotas.
func (a *Acceptor) mayBegin(s *Submission) error {
	if len(s.Recipients) == 0 {
		return refuse(ReasonRecipients, 554, "5.5.1", "the message has no recipients")
	}
	if err := a.AnotherRecipient(nil, len(s.Recipients)-1); err != nil {
		return err
	}
	if s.User == nil {
		return nil
	}
	if err := a.Sender(s.User, s.From, 0); err != nil {
		return err
	}
	for _, q := range []struct {
		most int
		per  string
	}{{s.User.RecipientsPerHour, "hour"}, {s.User.RecipientsPerDay, "day"}} {
		if q.most > 0 && len(s.Recipients) > q.most { // it would be over the quota for ever
			return refuse(ReasonRecipients, 452, "4.5.3", "%s may send to %d recipients per %s; send to the others in another message, later", s.User.Called(), q.most, q.per)
		}
	}
	return overQuota(s.User, a.cfg.Ledger.Take(s.User, 1, len(s.Recipients)))
}

// giveBack undoes what mayBegin took.
func (a *Acceptor) giveBack(s *Submission) {
	if s.User != nil {
		a.cfg.Ledger.GiveBack(s.User, 1, len(s.Recipients))
	}
}

// scanFor tells the scanner what the user's policy needs of the content.
func (a *Acceptor) scanFor(s *Submission, sc *scanner) {
	u := s.User
	if u == nil {
		return
	}
	if u.MaxMessageSize > 0 && (sc.maxSize == 0 || u.MaxMessageSize < sc.maxSize) {
		sc.maxSize = u.MaxMessageSize
	}
	sc.keepFrom = !u.RewriteFrom.IsNull()
	if u.HoldCopies > 0 || u.HoldNewRecipients > 0 {
		sc.text = sha256.New()
	}
}

// rewrite gives m the envelope that the user's policy wants.
func (a *Acceptor) rewrite(s *Submission, m *relay.Message) {
	u := s.User
	if u == nil {
		return
	}
	m.MaxAge, m.NoDelayNotes = u.MaxAge, u.NoDelayNotes
	if !u.RewriteFrom.IsNull() && !m.From.IsNull() { // a DSN or receipt of a client stays one
		m.From = u.RewriteFrom
	}
	if u.Redirect.IsNull() {
		return
	}
	to := relay.Recipient{Path: u.Redirect}
	if len(m.Recipients) == 1 {
		first := m.Recipients[0]
		to.Notify, to.ORcpt = first.Notify, first.ORcpt
		if to.ORcpt.IsZero() && first.Path.ASCII() {
			to.ORcpt = relay.ORcpt{Type: "rfc822", Addr: first.Path.String()} // RFC 3461 §4.2
		}
	}
	m.Recipients = []relay.Recipient{to}
}

// maxOriginals bounds the X-Original-To fields of a redirected message.
const maxOriginals = 1000

// policyFields are the header fields that a policy adds.
func (a *Acceptor) policyFields(s *Submission, m *relay.Message, hdr header) []byte {
	var b []byte
	switch u := s.User; {
	case u != nil && !u.RewriteFrom.IsNull():
		b = append(b, "From: "+u.RewriteFrom.Wire()+"\r\n"...)
		if to := answersTo(hdr); to != "" {
			b = append(b, "Reply-To: "+to+"\r\n"...)
		}
	case s.AddFrom && hdr.from == 0 && !m.From.IsNull() && m.From.ASCII():
		b = append(b, "From: "+m.From.Wire()+"\r\n"...)
	case s.AddFrom && hdr.from == 0 && a.cfg.Postmaster.ASCII():
		b = append(b, "From: "+a.cfg.Postmaster.Wire()+"\r\n"...)
	}
	if s.User != nil && !s.User.Redirect.IsNull() {
		for i, r := range s.Recipients {
			if i == maxOriginals {
				b = fmt.Appendf(b, "X-Original-To: and %d more\r\n", len(s.Recipients)-i)
				break
			}
			b = append(b, "X-Original-To: "+inASCII(a.Path(r.Path).Wire())+"\r\n"...)
		}
	}
	return b
}

// answersTo is the mailbox of a From that a policy replaces, if people could
// write to it: devices call themselves root@localhost and worse. "": the author
// wants answers elsewhere, or there is no such mailbox.
func answersTo(hdr header) string {
	address, ok := relay.OneMailbox(strings.TrimSpace(strings.ReplaceAll(string(hdr.fromValue), "\r\n", "")))
	p, err := relay.ParsePath(address)
	domain := p.Domain()
	_, literal := relay.ParseLiteral(domain)
	if !ok || hdr.replyTo || err != nil || !p.ASCII() || literal || !strings.Contains(domain, ".") {
		return ""
	}
	for _, local := range []string{".localdomain", ".local", ".lan", ".internal", ".home.arpa", ".invalid"} { // RFC 2606, 6762, 8375
		if strings.HasSuffix(domain, local) {
			return ""
		}
	}
	return p.Wire()
}

// inASCII writes what is outside ASCII as RFC 6533 §3 does in its utf-8
// addresses: a header must not need SMTPUTF8 for our sake.
func inASCII(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// Reasons of relay.EventHeld that begin with acceptance; the operator's is
// package delivery's.
const (
	heldByPolicy  = "policy"  // hold = true
	heldByAnomaly = "anomaly" // the user is on hold
)

// hold decides whether m begins on hold, says so in it, and gives the reason
// of the event.
func (a *Acceptor) hold(s *Submission, m *relay.Message, hdr header) string {
	u := s.User
	if u == nil {
		return ""
	}
	// The recipients as the user meant them: a redirection is no excuse.
	to := make([]relay.Path, len(s.Recipients))
	for i, r := range s.Recipients {
		to[i] = a.Path(r.Path)
	}
	held, fresh, err := a.cfg.Ledger.Watch(u, hdr.text, to)
	if err != nil {
		a.log.Error("the hold of a user is not on disk: it ends with this process", "err", err, "identity", u.Name)
	}
	if fresh {
		e := s.event(relay.EventIdentityHeld)
		e.ID, e.Identity, e.Reason, e.Rule = m.ID, u.Name, string(held.Reason), held.Rule
		a.seen.Observe(e)
	}
	switch {
	case held != nil:
		m.Hold = "on hold with all mail of " + u.Name + ": " + held.Rule + "; see `dawk user release`"
		return heldByAnomaly
	case u.Hold:
		m.Hold = "on hold since users.toml says hold for " + u.Name
		return heldByPolicy
	}
	return ""
}
