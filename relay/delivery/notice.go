package delivery

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// notify decides which notices the outcomes cause, and adds them to dec; write
// writes them. attempted are the recipients for whom an attempt has just ended.
func (s *settler) notify(now time.Time, c *relay.Claim, attempted []int, out []relay.Outcome, situation bounce.Situation, dec *decision) {
	m := c.Message
	wanted := bounce.Wanted(s.bounce, m, out, situation)
	dec.now, dec.wanted = now, wanted.Notices
	if len(wanted.Notices) > 0 {
		dec.attempted = s.attemptTimes(now, m, attempted, wanted.Notices)
	}
	for _, o := range wanted.Dropped {
		e := event(relay.EventDropped, now, c)
		e.Recipient, e.Reply = m.Recipients[o.Recipient].Path, o.Reply
		e.Reason = "no-postmaster"
		if !s.bounce.Postmaster.IsNull() {
			e.Reason = "postmaster-failed"
		}
		dec.events = append(dec.events, e)
	}
}

// attemptTimes are when the last attempt for each recipient ended: now, for
// those just attempted, and for others of the notices what the history says.
func (s *settler) attemptTimes(now time.Time, m *relay.Message, attempted []int, notices []bounce.Want) map[int]time.Time {
	at := make(map[int]time.Time, len(attempted))
	for _, r := range attempted {
		at[r] = now
	}
	earlier := func(o relay.Outcome) bool { return at[o.Recipient].IsZero() }
	if s.item == nil || !slices.ContainsFunc(notices, func(w bounce.Want) bool { return slices.ContainsFunc(w.Outcomes, earlier) }) {
		return at
	}
	item, err := s.item(m.ID)
	if err != nil {
		return at // the notice goes without them: RFC 3464 §2.3.7 is optional
	}
	for _, history := range item.Attempts {
		for _, a := range history {
			for _, o := range a.Outcomes {
				if ended := a.At.Add(a.Took); ended.After(at[o.Recipient]) {
					at[o.Recipient] = ended
				}
			}
		}
	}
	return at
}

// write composes the notices that dec wants, in the place of those before that
// tell of the same message. A notice that cannot be composed is written plainly
// instead: whatever happens, the sender is told in the commit that ends the mail.
func (s *settler) write(c *relay.Claim, dec *decision, before []told) {
	for _, w := range dec.wanted {
		id, to := s.nextID(), bounce.To(s.bounce, w.Kind, c.Message)
		e := event(relay.EventNotified, dec.now, c)
		var until time.Time
		if i := slices.IndexFunc(before, func(t told) bool { return t.want.Kind == w.Kind }); i >= 0 {
			e.Rule = dec.replace(before[i], &w, id)
		} else {
			until = s.limit.take(to, dec.now)
		}
		notice := s.writeOne(dec.now, id, c, w, dec.attempted, until)
		dec.settlement.Notices = append(dec.settlement.Notices, notice)
		e.NoticeID, e.NoticeKind, e.Recipient, e.Count = id, string(w.Kind), to, len(w.Outcomes)
		if until := notice.Message.NotBefore; !until.IsZero() {
			e.Next, e.Rule = until, "held back for a digest: too many notices to this mailbox"
		} else if together(w) {
			dec.told = append(dec.told, told{notice: notice.Message, want: w, attempted: dec.attempted})
		}
		dec.events = append(dec.events, e)
	}
}

// writeOne composes one notice. Until says that it is held back till then.
func (s *settler) writeOne(now time.Time, id relay.QueueID, c *relay.Claim, w bounce.Want, attempted map[int]time.Time, until time.Time) relay.Notice {
	m := c.Message
	r := bounce.Report{Kind: w.Kind, ID: id, Message: m, Outcomes: w.Outcomes,
		Attempted: attempted, Now: now, Content: c.Content, Brief: !until.IsZero()}
	if w.Kind == bounce.KindDelayed {
		r.Until = now.Add(max(0, lifetime(m, s.maxAge)-age(now, m, c.Delivery)))
	}
	notice, err := s.composeSafely(r)
	notice.Message.NotBefore = until
	if err != nil {
		s.log.Error("a notice could not be composed; a plain one is sent instead",
			"qid", m.ID, "notice", r.ID, "kind", w.Kind, "error", err)
		notice = plainNotice(s.bounce, r)
	}
	s.signSafely(&notice)
	return notice
}

// composeSafely is compose, for which a panic is an error: what strangers
// wrote must not stop a settlement.
func (s *settler) composeSafely(r bounce.Report) (n relay.Notice, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	n, err = s.compose(s.bounce, r)
	if err == nil && (n.Message.ID != r.ID || len(n.Message.Recipients) == 0 || len(n.Content) == 0) {
		err = fmt.Errorf("the notice %s is not complete", r.ID)
	}
	return n, err
}

// signSafely signs a notice. One that cannot be signed goes unsigned: that is
// better than none.
func (s *settler) signSafely(n *relay.Notice) {
	if s.sign == nil {
		return
	}
	var fields []byte
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v", p)
			}
		}()
		fields, err = s.sign(&n.Message, memory{bytes.NewReader(n.Content)})
		return err
	}()
	if err != nil {
		s.log.Error("a notice could not be signed; it goes unsigned", "notice", n.Message.ID, "error", err)
		return
	}
	n.Content = append(fields, n.Content...)
	n.Message.Size = int64(len(n.Content))
}

// memory is the content of a notice.
type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

// plainNotice is a notice of nothing but ASCII text, for when package bounce
// gives none.
func plainNotice(c bounce.Config, r bounce.Report) relay.Notice {
	to := bounce.To(c, r.Kind, r.Message)
	host := c.Hostname
	if _, err := relay.NormalizeDomain(host); err != nil {
		host = "localhost"
	}
	msgID := fmt.Sprintf("<%s.notice@%s>", r.ID, host)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: Mail Delivery System <postmaster@%s>\r\n", host)
	if to.ASCII() {
		fmt.Fprintf(&b, "To: %s\r\n", to.Wire())
	}
	fmt.Fprintf(&b, "Subject: About your message %s (%s)\r\nDate: %s\r\nMessage-ID: %s\r\n",
		r.Message.ID, r.Kind, r.Now.Format(time.RFC1123Z), msgID)
	b.WriteString("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n")
	fmt.Fprintf(&b, "This is the mail relay %s. About the message %s:\r\n\r\n", host, r.Message.ID)
	for _, o := range r.Outcomes {
		line := fmt.Sprintf("%s: %s: %s", r.Message.Recipients[o.Recipient].Path, o.Action, o.Reply)
		for len(line) > 900 { // RFC 5322 §2.1.1: a line has at most 998 octets
			b.WriteString(asciiOnly(line[:900]) + "\r\n")
			line = line[900:]
		}
		b.WriteString(asciiOnly(line) + "\r\n")
	}
	return relay.Notice{Content: b.Bytes(), Message: relay.Message{
		ID: r.ID, Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to, Notify: relay.NotifyNever}}},
		Arrival: r.Now, Size: int64(b.Len()), Identity: "dawk", MessageID: msgID, Notice: true}}
}

// asciiOnly is s with everything else than printable ASCII replaced.
func asciiOnly(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}
