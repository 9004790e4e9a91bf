package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/sendmail"
)

// tellOfLost sends a notice about a file of the drop folder that will never be
// sent, or about recipients that a message was not taken for: sendmail ended
// with success, so somebody counts on it. The sender hears of it as of any
// message that failed; without one, or if the file is no mail at all, the
// postmaster does. An error is temporary.
func (s *Server) tellOfLost(ctx context.Context, l *sendmail.Lost) error {
	now := time.Now()
	if s.local.mostLost > 0 && s.local.lost.Add(l.Owner, now) > s.local.mostLost {
		return sendmail.ErrLater
	}
	tell := s.lostFile
	if l.Submission != nil {
		tell = s.lostMail
	}
	notice := tell(l, now)
	if notice == nil {
		s.log.Error("nobody is told of a file in the drop folder that cannot be sent: it has no sender who wants to know, and no postmaster is configured", "file", l.File, "identity", l.Owner)
		return nil
	}
	to := notice.Message.Recipients[0].Path
	id, err := s.submit(ctx, accept.Submission{Envelope: notice.Message.Envelope, Content: bytes.NewReader(notice.Content),
		Submitter: accept.Submitter{Identity: bounce.Identity, Listener: "drop", Protocol: "ESMTP"}})
	switch {
	case err != nil && accept.RefusalOf(err).Permanent():
		s.log.Error("the notice about a file in the drop folder that cannot be sent was refused", "file", l.File, "to", to, "err", err)
	case err != nil:
		return err
	default:
		s.log.Info("notice sent about a file in the drop folder", "file", l.File, "to", to, "id", id)
	}
	return nil
}

// lostMail is the notice about a message that the rules refused, or about some
// of its recipients; nil if there is nobody to tell.
func (s *Server) lostMail(l *sendmail.Lost, now time.Time) *relay.Notice {
	cfg := s.cfg.Notices().Bounce
	cfg.SevenBit = s.signer.hasSevenBit
	m := &relay.Message{ID: s.queue.NextID(), Envelope: l.Envelope, Arrival: now, Identity: l.Identity}
	m.Size = l.Message.Size()
	replies := s.whyLost(m, l)
	if !s.cfg.Program(l.Identity).MaySend(m.From) || m.From.IsNull() && len(l.Unserved) > 0 {
		// A notice to an address that is not the user's would be mail that
		// its owner never asked for.
		m.From = sendmail.Own(l.Identity, s.localDomain())
	}
	report := bounce.Report{Kind: bounce.KindFailed, ID: s.queue.NextID(), Message: m, Now: now, Content: l.Message}
	for i := range m.Recipients {
		report.Outcomes = append(report.Outcomes, relay.Outcome{Recipient: i, Action: relay.ActionFailed, Reply: replies[i]})
	}
	wanted := bounce.Wanted(cfg, m, report.Outcomes, bounce.Situation{})
	if len(wanted.Notices) == 0 {
		return nil // NOTIFY=NEVER, or nobody
	}
	report.Kind, report.Outcomes = wanted.Notices[0].Kind, wanted.Notices[0].Outcomes
	notice, err := bounce.Compose(cfg, report)
	if err != nil {
		s.log.Error("a notice about a drop file could not be written", "file", l.File, "err", err)
		return s.lostFile(l, now)
	}
	return &notice
}

// whyLost are the reasons for each recipient of m, to which it adds those that
// could not be addressed.
func (s *Server) whyLost(m *relay.Message, l *sendmail.Lost) []relay.Reply {
	reply := relay.Reply{Status: relay.Status{Class: 5, Subject: 6}}
	var refused *accept.Refusal
	if errors.As(l.Why, &refused) {
		reply = refused.Reply
		reply.Code = 0 // no server spoke: the verdict is ours
	}
	replies := slices.Repeat([]relay.Reply{reply}, len(m.Recipients))
	for _, u := range l.Unserved {
		// A notice names mailboxes: what cannot be read is named as one of ours,
		// and as it was written.
		p, err := relay.ParsePath(u.Text)
		for _, local := range []string{u.Text, relay.ClipTo(u.Text, 16), "unreadable"} {
			if err != nil || p.Domain() == "" {
				p, err = relay.NewPath(local, s.localDomain())
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

// lostFile tells the postmaster of a file that is no mail; nil without one.
func (s *Server) lostFile(l *sendmail.Lost, _ time.Time) *relay.Notice {
	letters := s.postmaster()
	if letters.To.IsNull() {
		return nil
	}
	n := letters.Write("A file in the drop folder cannot be sent",
		fmt.Sprintf("This is the mail relay %s.\r\n\r\nA file was left in the drop folder of `dawk sendmail` that is not sent:\r\n%s.\r\n\r\n"+
			"File: %s\r\nLeft by: %s\r\nKept in: %s\r\n\r\nNothing was deleted. If it is mail, ask whoever left it to send it again.\r\n",
			s.cfg.Hostname, relay.Sanitize(l.Why.Error()), l.File, l.Owner, l.Aside))
	return &n
}
