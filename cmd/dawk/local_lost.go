package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"mime/quotedprintable"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/sendmail"
)

// tellOfLost sends a notice about a file of the drop folder that will never be
// sent: sendmail ended with success, so somebody counts on it. Its sender
// hears of it as of any message that failed; without one, or if the file is no
// mail at all, the postmaster does. An error is temporary.
func (r *instance) tellOfLost(ctx context.Context, l *sendmail.Lost) error {
	now := time.Now()
	if r.local.mostLost > 0 && r.local.lost.Add(l.Owner, now) > r.local.mostLost {
		return sendmail.ErrLater
	}
	notice := r.lostFile(l)
	if l.Submission != nil {
		notice = r.lostMail(l, now)
	}
	if notice == nil {
		r.log.Error("nobody is told of a file in the drop folder that cannot be sent: it has no sender who wants to know, and no postmaster is configured", "file", l.File, "identity", l.Owner)
		return nil
	}
	to := notice.Message.Recipients[0].Path
	id, err := r.acceptor.Submit(context.WithoutCancel(ctx), accept.Submission{Envelope: notice.Message.Envelope, Content: bytes.NewReader(notice.Content),
		Submitter: accept.Submitter{Identity: bounce.Identity, Listener: "drop", Protocol: "ESMTP"}})
	switch {
	case err != nil && accept.RefusalOf(err).Permanent():
		r.log.Error("the notice about a file in the drop folder that cannot be sent was refused", "file", l.File, "to", to, "err", err)
	case err != nil:
		return err
	default:
		r.log.Info("notice sent about a file in the drop folder", "file", l.File, "to", to, "id", id)
	}
	return nil
}

// lostMail is the notice about a message that the rules refused; nil if there
// is nobody to tell.
func (r *instance) lostMail(l *sendmail.Lost, now time.Time) *relay.Notice {
	cfg := bounce.Config{Hostname: r.cfg.Hostname, Postmaster: r.cfg.PostmasterPath(), Languages: r.cfg.Languages(), Language: r.cfg.Bounce.Language, SevenBit: r.hasSevenBit}
	m := &relay.Message{ID: r.queue.NextID(), Envelope: l.Envelope, Arrival: now, Identity: l.Identity}
	m.Size = l.Message.Size()
	reply := relay.Reply{Code: 554, Status: relay.Status{Class: 5, Subject: 6}}
	var refused *accept.Refusal
	if errors.As(l.Why, &refused) {
		reply = refused.Reply
	}
	reply.Code = 0 // no server spoke: the verdict is ours
	report := bounce.Report{Kind: bounce.KindFailed, ID: r.queue.NextID(), Message: m, Now: now, Content: l.Message}
	for i := range m.Recipients {
		report.Outcomes = append(report.Outcomes, relay.Outcome{Recipient: i, Action: relay.ActionFailed, Reply: reply})
	}
	wanted := bounce.Wanted(cfg, m, report.Outcomes, bounce.Situation{})
	if len(wanted.Notices) == 0 {
		return nil // NOTIFY=NEVER, or nobody
	}
	report.Kind, report.Outcomes = wanted.Notices[0].Kind, wanted.Notices[0].Outcomes
	notice, err := bounce.Compose(cfg, report)
	if err != nil {
		r.log.Error("a notice about a drop file could not be written", "file", l.File, "err", err)
		return r.lostFile(l)
	}
	return &notice
}

// lostFile tells the postmaster of a file that is no mail; nil without one.
func (r *instance) lostFile(l *sendmail.Lost) *relay.Notice {
	to := r.cfg.PostmasterPath()
	if to.IsNull() {
		return nil
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\nTo: %s\r\nSubject: A file in the drop folder cannot be sent\r\n", r.cfg.Hostname, to.Wire())
	b.WriteString("Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n")
	w := quotedprintable.NewWriter(&b)
	fmt.Fprintf(w, "This is the mail relay %s.\r\n\r\nA file was left in the drop folder of `dawk sendmail` that is not sent:\r\n%s.\r\n\r\n", r.cfg.Hostname, relay.Sanitize(l.Why.Error()))
	fmt.Fprintf(w, "File: %s\r\nLeft by: %s\r\nKept in: %s\r\n\r\nNothing was deleted. If it is mail, ask whoever left it to send it again.\r\n", l.File, l.Owner, l.Aside)
	_ = w.Close() // to memory
	return &relay.Notice{Content: b.Bytes(), Message: relay.Message{Envelope: relay.Envelope{
		Recipients: []relay.Recipient{{Path: to, Notify: relay.NotifyNever}}, SMTPUTF8: !to.ASCII()}}}
}
