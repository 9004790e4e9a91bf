package sendmail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/limits"
	"dawk/relay/postmaster"
)

// Teller reports files of the drop folder that will never be sent. Only one Collector uses it.
type Teller struct {
	Letters postmaster.Letters
	Bounce  bounce.Config
	Domain  string        // for addresses without a domain
	Limit   int           // notices about files of one user in Span; 0: no limit
	Span    time.Duration // likewise
	MaySend func(identity string, from relay.Path) bool
	NextID  func() relay.QueueID
	Submit  func(context.Context, accept.Submission) (relay.QueueID, error)
	Log     *slog.Logger

	told limits.Windows[string] // by user
}

// NewTeller makes a Teller that remembers at most a thousand users.
func NewTeller(t Teller) *Teller {
	t.told = limits.Windows[string]{Span: t.Span, Most: 1000}
	return &t
}

// Tell sends a notice about a file of the drop folder that will never be sent, or about recipients
// for whom a message was not accepted: sendmail has already reported success, so nobody else would
// say so. The notice goes to the sender, as for any message that failed; to the postmaster if there
// is no sender or the file is not mail. An error is temporary.
func (t *Teller) Tell(ctx context.Context, l *Lost) error {
	now := time.Now()
	if t.Limit > 0 && t.told.Add(l.Owner, now) > t.Limit {
		return ErrLater
	}
	tell := t.lostFile
	if l.Submission != nil {
		tell = t.lostMail
	}
	notice := tell(l, now)
	if notice == nil {
		t.Log.Error("nobody is told of a file in the drop folder that cannot be sent: it has no sender who wants to know, and no postmaster is configured", "file", l.File, "identity", l.Owner)
		return nil
	}
	to := notice.Message.Recipients[0].Path
	id, err := t.Submit(ctx, accept.Submission{Envelope: notice.Message.Envelope, Content: bytes.NewReader(notice.Content),
		Submitter: accept.Submitter{Identity: bounce.Identity, Listener: "drop", Protocol: "ESMTP"}})
	switch {
	case err != nil && accept.RefusalOf(err).Permanent():
		t.Log.Error("the notice about a file in the drop folder that cannot be sent was refused", "file", l.File, "to", to, "err", err)
	case err != nil:
		return err
	default:
		t.Log.Info("notice sent about a file in the drop folder", "file", l.File, "to", to, "id", id)
	}
	return nil
}

// lostMail is the notice about a message that the rules refused, or about some of its recipients;
// nil if there is nobody to send it to.
func (t *Teller) lostMail(l *Lost, now time.Time) *relay.Notice {
	m := &relay.Message{ID: t.NextID(), Envelope: l.Envelope, Arrival: now, Identity: l.Identity}
	m.Size = l.Message.Size()
	replies := t.whyLost(m, l)
	if !t.MaySend(l.Identity, m.From) || m.From.IsNull() && len(l.Unserved) > 0 {
		// A notice to an address that is not the user's own would be unsolicited mail.
		m.From = Own(l.Identity, t.Domain)
	}
	report := bounce.Report{Kind: bounce.KindFailed, ID: t.NextID(), Message: m, Now: now, Content: l.Message}
	for i := range m.Recipients {
		report.Outcomes = append(report.Outcomes, relay.Outcome{Recipient: i, Action: relay.ActionFailed, Reply: replies[i]})
	}
	wanted := bounce.Wanted(t.Bounce, m, report.Outcomes, bounce.Situation{})
	if len(wanted.Notices) == 0 {
		return nil // NOTIFY=NEVER, or nobody
	}
	report.Kind, report.Outcomes = wanted.Notices[0].Kind, wanted.Notices[0].Outcomes
	notice, err := bounce.Compose(t.Bounce, report)
	if err != nil {
		t.Log.Error("a notice about a drop file could not be written", "file", l.File, "err", err)
		return t.lostFile(l, now)
	}
	return &notice
}

// whyLost gives the reason for each recipient of m, and adds the recipients that could not be
// addressed to m.
func (t *Teller) whyLost(m *relay.Message, l *Lost) []relay.Reply {
	reply := relay.Reply{Status: relay.Status{Class: 5, Subject: 6}}
	var refused *accept.Refusal
	if errors.As(l.Why, &refused) {
		reply = refused.Reply
		reply.Code = 0 // no server spoke: the verdict is ours
	}
	replies := slices.Repeat([]relay.Reply{reply}, len(m.Recipients))
	for _, u := range l.Unserved {
		// A notice needs a mailbox for each recipient: text that is not an address gets our domain, and
		// is quoted as it was written.
		p, err := relay.ParsePath(u.Text)
		for _, local := range []string{u.Text, relay.ClipTo(u.Text, 16), "unreadable"} {
			if err != nil || p.Domain() == "" {
				p, err = relay.NewPath(local, t.Domain)
			}
		}
		to := relay.Recipient{Path: p, ORcpt: relay.ORcpt{Type: "rfc822", Addr: u.Text}}
		if !p.ASCII() {
			to.ORcpt.Type = "utf-8"
		}
		why := u.Reply()
		why.Text = fmt.Sprintf("%s: %q", why.Text, u.Text)
		m.Recipients, replies = append(m.Recipients, to), append(replies, why)
	}
	return replies
}

// lostFile is the notice to the postmaster about a file that is not mail; nil if there is no
// postmaster.
func (t *Teller) lostFile(l *Lost, _ time.Time) *relay.Notice {
	if t.Letters.To.IsNull() {
		return nil
	}
	n := t.Letters.Write("A file in the drop folder cannot be sent",
		fmt.Sprintf("This is the mail relay %s.\r\n\r\nA file was left in the drop folder of `dawk sendmail` that is not sent:\r\n%s.\r\n\r\n"+
			"File: %s\r\nLeft by: %s\r\nKept in: %s\r\n\r\nNothing was deleted. If it is mail, ask whoever left it to send it again.\r\n",
			t.Letters.Hostname, relay.Sanitize(l.Why.Error()), l.File, l.Owner, l.Aside))
	return &n
}
