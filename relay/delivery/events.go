package delivery

import (
	"time"

	"dawk/relay"
)

// attemptEvents gives an event for the attempt as a whole, then one for each recipient.
func (s *settler) attemptEvents(now time.Time, c *relay.Claim, a attempted, out []relay.Outcome, n int, next relay.State) []relay.Event {
	events := make([]relay.Event, 0, 1+len(out))
	e := resultEvent(relay.EventAttempted, now, c, &a.result.Session, n, a.result.Took)
	e.Count = len(a.recipients)
	if len(a.result.Replies) > 0 {
		e.Reply = worst(a.result.Replies)
	}
	e.Unknown, e.Visits = a.result.Unknown, a.result.Visits
	events = append(events, e)
	for i, o := range out {
		events = append(events, recipientEvent(now, c, a, i, o, n, next))
	}
	return events
}

// worst is the reply that an attempt is remembered for: the first that was not
// positive, else the first.
func worst(replies []relay.Reply) relay.Reply {
	for _, r := range replies {
		if !r.Positive() {
			return r
		}
	}
	return replies[0]
}

func resultEvent(kind relay.EventKind, now time.Time, c *relay.Claim, s *relay.Session, n int, took time.Duration) relay.Event {
	e := c.Event(kind, now)
	e.Route, e.Host, e.Addr, e.TLS, e.Attempt, e.Took = s.Route, s.Host, s.Addr, s.TLS, n, relay.Millis(took)
	e.TLSPolicy, e.TLSLevel, e.Provider = s.TLSPolicy, s.TLSLevel, s.Provider
	e.TLSTry, e.TLSFailed = s.TLSTry, s.TLSFailed
	e.Source, e.SentAs = s.Source, s.SentAs
	return e
}

var kindOf = map[relay.Action]relay.EventKind{
	relay.ActionRelayed:   relay.EventRelayed,
	relay.ActionDelivered: relay.EventDelivered,
	relay.ActionExpanded:  relay.EventDelivered,
	relay.ActionDelayed:   relay.EventDelayed,
	relay.ActionFailed:    relay.EventFailed,
	relay.ActionExpired:   relay.EventExpired,
	relay.ActionDeleted:   relay.EventDeleted,
}

// recipientEvent is the outcome of the i-th recipient of the attempt.
func recipientEvent(now time.Time, c *relay.Claim, a attempted, i int, o relay.Outcome, n int, next relay.State) relay.Event {
	kind, session := kindOf[o.Action], a.result.SessionOf(i)
	if o.Reply.Cause == relay.CauseSuppressed {
		kind, session = relay.EventSuppressed, &relay.Session{} // no host was asked about it
	}
	e := resultEvent(kind, now, c, session, n, a.result.Took)
	e.Recipient, e.Reply = c.Message.Recipients[o.Recipient].Path, o.Reply
	e.Unknown = a.result.Unknown && !o.Reply.Positive() && !o.Reply.Permanent()
	if o.Action == relay.ActionDelayed {
		e.Next, e.Rule = next.Due, next.Rule
	}
	if !o.Reply.Positive() {
		e.Reason = reasonName(reasonIndex(o.Reply))
	}
	return e
}

// acceptedNotices reports notices as accepted mail.
func acceptedNotices(now time.Time, all []relay.Notice) {
	for i := range all {
		all[i].Message.Events = []relay.Event{all[i].Message.Accepted(now)}
	}
}
