package metrics

import (
	"cmp"
	"slices"

	"dawk/relay"
)

// Observe counts an event. It does not block.
func (m *Set) Observe(e relay.Event) {
	switch e.Kind {
	case relay.EventAccepted:
		m.accepted.Inc()
		m.acceptedBytes.Add(float64(max(e.Size, 0)))
		m.acceptedRecipients.Add(float64(max(e.Count, 0)))
		m.acceptSeconds.Observe(e.Took.Duration().Seconds())
	case relay.EventRefused:
		m.refused.WithLabelValues(within(refusalReasons, e.Reason)).Inc()
	case relay.EventLogin:
		m.logins.WithLabelValues(within(loginResults, e.Reason)).Inc()
	case relay.EventConnected:
		m.connections.Inc()
	case relay.EventAttempted:
		s := sessionOf(e.Host != "", e.TLS, e.TLSLevel)
		m.attempts.WithLabelValues(s.tls, s.level).Inc()
		for _, v := range e.Visits {
			s := sessionOf(v.Spoke(), v.TLS, v.TLSLevel)
			m.visits.WithLabelValues(s.tls, s.level).Inc()
		}
		m.attemptSeconds.Observe(e.Took.Duration().Seconds())
		if e.Unknown {
			m.unknown.Inc()
		}
	case relay.EventRelayed, relay.EventDelivered, relay.EventDelayed, relay.EventFailed, relay.EventExpired, relay.EventDeleted:
		m.outcome(&e)
	case relay.EventNotified:
		m.notices.WithLabelValues(within(noticeKinds, e.NoticeKind)).Inc()
	case relay.EventDropped:
		m.dropped.Inc()
	case relay.EventSuppressed:
		m.suppressed.Inc()
	case relay.EventHeld, relay.EventReleased:
		m.holds.WithLabelValues(string(e.Kind)).Inc()
	case relay.EventProviderSlowed:
		m.providerSlowed.WithLabelValues(m.ProviderLabel(e.Provider)).Inc()
	case relay.EventIdentityHeld:
		m.identityHolds.WithLabelValues(within(holdReasons, e.Reason)).Inc()
	}
}

// outcome counts what became of one recipient.
func (m *Set) outcome(e *relay.Event) {
	reason := none
	switch e.Kind {
	case relay.EventDelayed, relay.EventFailed, relay.EventExpired:
		reason = other
		if m.names.Classify != nil {
			reason = within(m.names.Categories, m.names.Classify(e.Reply))
		}
	case relay.EventRelayed, relay.EventDelivered:
		m.lastSuccess.Set(float64(e.Time.UnixMilli()) / 1000)
	}
	m.outcomes.WithLabelValues(string(e.Kind), reason).Inc()
	if e.Provider != "" && slices.Contains(byProvider, e.Kind) {
		m.providerOutcomes.WithLabelValues(m.ProviderLabel(e.Provider), string(e.Kind)).Inc()
	}
	if e.Kind != relay.EventDelayed && e.Kind != relay.EventDeleted {
		m.ageSeconds.WithLabelValues(string(e.Kind)).Observe(e.Age.Seconds())
	}
}

// sessionOf is the TLS of a session as labels; spoke: the host answered.
func sessionOf(spoke bool, tls string, level relay.TLSLevel) session {
	s := session{tls: cmp.Or(tls, none), level: cmp.Or(string(level), none)}
	if !spoke {
		s = session{"unreached", none}
	}
	if !slices.Contains(sessions, s) {
		return session{other, other}
	}
	return s
}
