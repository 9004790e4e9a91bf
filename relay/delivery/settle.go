package delivery

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
	"dawk/relay/replies"
)

// routeChanged is the Rule of recipients whose route is not the one at acceptance.
const routeChanged = "its route has changed"

// settler turns what happened to a Delivery into the Settlement that records
// it, but for its notices. It is pure: time comes as an argument.
type settler struct {
	retry       schedule.Retry
	maxAge      time.Duration
	delayNotice time.Duration // 0: never
}

// attempted is one attempt as it ended.
type attempted struct {
	recipients []int         // the recipients of the attempt
	result     relay.Result  // a reply for each of them
	split      []relay.Split // recipients whose route has changed by now
	unpinned   string        // the route that an operator chose for them and that no longer exists; "": none
	cut        bool          // the relay stopped the attempt: a missing reply is not the next hop's fault
	lost       bool          // the content of the message is lost: no attempt can be made any more
}

// decision is a Settlement without its notices, and what to do once it is committed.
type decision struct {
	now        time.Time
	settlement relay.Settlement
	cause      notices.Cause
	events     []relay.Event // to be told after the commit
	gone       bool          // no recipient remains in this Delivery
	reason     uint8         // why the rest is delayed
	noted      bool          // no delay notice will follow
	aside      bool          // the next attempt stays as it is: the entry goes back to its place
}

// settle decides what follows from an attempt: for each recipient, for the Delivery, and for those
// who have to be told.
func (s *settler) settle(now time.Time, c *relay.Claim, a attempted) decision {
	d, m := c.Delivery, c.Message
	accountHold(m, d, a.result)
	n := d.Attempts + 1
	out := s.outcomes(now, c, a)
	delayed := slices.ContainsFunc(out, func(o relay.Outcome) bool { return !o.Action.Final() })

	next := d.State()
	next.Attempts = n
	next.Unknown = a.result.Unknown && delayed
	switch {
	case delayed:
		next.Due, next.Rule = s.retry.Next(n, next.Unknown, now)
	case len(a.split) > 0: // all that remains was not part of this attempt
		next.Attempts = d.Attempts
		next.Due, next.Rule = now, a.parted()
	}
	dec := decision{now: now, gone: !delayed, reason: reasonOf(out)}
	dec.settlement = relay.Settlement{ID: m.ID, Job: d.Job, Outcomes: out, Split: a.split,
		Attempt: s.record(now, n, out, a.result)}
	if delayed {
		dec.settlement.Attempt.Next, dec.settlement.Attempt.Rule = next.Due, next.Rule
	}
	dec.events = s.attemptEvents(now, c, a, out, n, next)

	tell := append(slices.Clone(out), stillOpen(d, a.split)...)
	situation := bounce.Situation{Passed: a.result.DSN, Delayed: d.DelayNoticed}
	if s.delayDue(now, m, d) {
		situation.DelayDue, next.DelayNoticed = true, true
	}
	dec.settlement.Next = next
	dec.noted = next.DelayNoticed
	dec.cause = notices.Cause{Attempted: a.recipients, Outcomes: tell, Situation: situation, Until: s.until(now, m, d)}
	return dec
}

// outcomes decides for each recipient. Only recipients that a temporary failure would leave open
// expire, and none after an attempt that we cut off: that failure was ours, and the attempt after
// the next start may be the last.
func (s *settler) outcomes(now time.Time, c *relay.Claim, a attempted) []relay.Outcome {
	late := expired(now, c.Message, c.Delivery, s.maxAge)
	out := make([]relay.Outcome, len(a.recipients))
	for i, r := range a.recipients {
		reply := a.result.Replies[i]
		action := relay.ActionDelayed
		switch {
		case reply.Positive() && a.result.Delivered:
			action = relay.ActionDelivered
		case reply.Positive():
			action = relay.ActionRelayed
		case reply.Permanent(), a.lost:
			action = relay.ActionFailed
		case late && !a.cut:
			action = relay.ActionExpired
		}
		out[i] = relay.Outcome{Recipient: r, Action: action, Reply: reply}
	}
	return out
}

// unread is the attempt for a Delivery whose content cannot be read. Its status is of class 4 even
// if it fails: the fault is ours, the same message may succeed later, and no mailing list should
// strike off an address because of it (RFC 3463 §2).
func (s *settler) unread(now time.Time, c *relay.Claim, err error) attempted {
	a := attempted{recipients: c.Delivery.Recipients(), lost: errors.Is(err, relay.ErrContentLost)}
	a.result = relay.Result{Began: now, HeldSince: c.Delivery.HeldAt} // a hold of its route goes on
	words := "cannot give the message at the moment"
	if a.lost {
		words = "damaged the message after it was accepted"
	}
	for range a.recipients {
		a.result.Replies = append(a.result.Replies,
			relay.Decision(relay.CauseDamage, relay.Status{Class: 4, Subject: 3, Detail: 0}, "the disk of this relay %s", words))
	}
	return a
}

// stillOpen gives the recipients that are split off, as delayed: a delay notice that
// is due now names them too, since their new Delivery inherits that it was sent.
func stillOpen(d *relay.Delivery, split []relay.Split) []relay.Outcome {
	var out []relay.Outcome
	for _, p := range split {
		for _, r := range p.Recipients {
			i := slices.IndexFunc(d.Open, func(o relay.Open) bool { return o.Recipient == r })
			o := relay.Outcome{Recipient: r, Action: relay.ActionDelayed}
			if i >= 0 {
				o.Reply = d.Open[i].Last
			}
			if o.Reply.IsZero() {
				o.Reply = relay.Decision(relay.CausePolicy, relay.Status{Class: 4, Subject: 4, Detail: 0}, "not attempted yet")
			}
			out = append(out, o)
		}
	}
	return out
}

// delayDue says whether a delay notice to the sender is due. Time on hold counts: a held message is
// late too.
func (s *settler) delayDue(now time.Time, m *relay.Message, d *relay.Delivery) bool {
	return s.delayNotice > 0 && !d.DelayNoticed && !now.Before(s.noticeAt(m))
}

// noticeAt is when the delay notice of m is due.
func (s *settler) noticeAt(m *relay.Message) time.Time {
	if m.NotBefore.After(m.Arrival) {
		return m.NotBefore.Add(s.delayNotice)
	}
	return m.Arrival.Add(s.delayNotice)
}

// record is the attempt as the history shows it.
func (s *settler) record(now time.Time, n int, out []relay.Outcome, r relay.Result) *relay.Attempt {
	a := &relay.Attempt{N: n, At: r.Began, Took: relay.Millis(r.Took), Route: r.Route, Source: r.Source, Host: r.Host, Addr: r.Addr,
		TLS: relay.TLSWords(r.TLS, r.TLSLevel, r.TLSPolicy), Outcomes: out}
	if a.At.IsZero() {
		a.At = now
	}
	if n := len(r.Visits); n > 1 { // a single one is recorded above
		a.Visits = r.Visits[max(0, n-relay.MaxVisits):]
	}
	return a
}

// outcomesFor gives all open recipients of d the same outcome.
func outcomesFor(d *relay.Delivery, action relay.Action, reply relay.Reply) []relay.Outcome {
	out := make([]relay.Outcome, len(d.Open))
	for i, o := range d.Open {
		out[i] = relay.Outcome{Recipient: o.Recipient, Action: action, Reply: reply}
	}
	return out
}

// reasonIndex is the reason of a delay as the schedule knows it: a category of
// replies.Classify, counted from 1.
func reasonIndex(r relay.Reply) uint8 {
	return uint8(min(slices.Index(replies.Categories(), replies.Classify(r))+1, schedule.MaxReasons-1))
}

func reasonName(i uint8) string {
	if all := replies.Categories(); i > 0 && int(i) <= len(all) {
		return string(all[i-1])
	}
	return ""
}

func reasonOf(out []relay.Outcome) uint8 {
	for _, o := range out {
		if o.Action == relay.ActionDelayed {
			return reasonIndex(o.Reply)
		}
	}
	return 0
}

// part is the settlement of a Delivery without recipients: all of them have another destination by
// now, and are attempted there.
func (s *settler) part(now time.Time, c *relay.Claim, a attempted) decision {
	next := c.Delivery.State()
	next.Due, next.Rule = now, a.parted()
	return decision{now: now, gone: true, settlement: relay.Settlement{ID: c.Message.ID, Job: c.Delivery.Job, Next: next, Split: a.split}}
}

// parted is the Rule of recipients that are split off.
func (a *attempted) parted() string {
	if a.unpinned != "" {
		return fmt.Sprintf("the route %s, chosen %s, is not in the configuration any more", a.unpinned, byAdministrator)
	}
	return routeChanged
}
