package metrics

import (
	"slices"

	"dawk/relay"
)

// other stands for every value that is not in the set of its label.
const other = "other"

// none is the reason of an outcome without trouble.
const none = "none"

// The closed sets of values. What package submission, delivery or bounce says
// beyond them is counted as other; a test in cmd/dawk can compare.
var (
	refusalReasons = []string{"connections", "auth_required", "relay_denied", "sender", "recipients", "size", "no_space",
		"loop", "bare_newline", "nul", "long_line", "header", "tls", "internal", "cut", "syntax", "sequence", "line",
		"timeout", "errors", "shutdown", "suppressed", "quota", other}
	loginResults = []string{"ok", "credentials", "blocked", "mechanism", "syntax", "tls", "off", "temporary", other}
	tlsVersions  = []string{"TLS1.2", "TLS1.3", none, "unreached", other}
	tlsPolicies  = []string{"dane", "mta-sts", "mta-sts-testing", none}
	noticeKinds  = []string{"failed", "delayed", "relayed", "late", "double-bounce", "digest", other}
	holdActions  = []string{"held", "released"}
	holdReasons  = []string{"copies", "new_recipients", other}

	// The actions of recipients: without trouble, and with a reason.
	smooth   = []relay.EventKind{relay.EventRelayed, relay.EventDelivered, relay.EventDeleted}
	troubled = []relay.EventKind{relay.EventDelayed, relay.EventFailed, relay.EventExpired}
	// Those after which the recipient is done with, but for the operator's hand.
	ended = []relay.EventKind{relay.EventRelayed, relay.EventDelivered, relay.EventFailed, relay.EventExpired}
)

// within keeps a label inside its set.
func within(set []string, value string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// reasons are the values of the label reason of an outcome.
func (m *Set) reasons() []string {
	if slices.Contains(m.sources.Categories, other) {
		return m.sources.Categories
	}
	return append(slices.Clone(m.sources.Categories), other)
}

// zero makes every series exist: a counter that appears with its first event
// hides that event from rate().
func (m *Set) zero() {
	for _, v := range refusalReasons {
		m.refused.WithLabelValues(v)
	}
	for _, v := range loginResults {
		m.logins.WithLabelValues(v)
	}
	for _, v := range tlsVersions {
		m.attempts.WithLabelValues(v)
	}
	for _, policy := range tlsPolicies {
		for _, result := range m.tlsResults() {
			m.tlsSessions.WithLabelValues(policy, result)
		}
	}
	for _, v := range noticeKinds {
		m.notices.WithLabelValues(v)
	}
	for _, v := range holdActions {
		m.holds.WithLabelValues(v)
	}
	for _, v := range holdReasons {
		m.identityHolds.WithLabelValues(v)
	}
	for _, action := range smooth {
		m.outcomes.WithLabelValues(string(action), none)
	}
	for _, action := range troubled {
		for _, reason := range m.reasons() {
			m.outcomes.WithLabelValues(string(action), reason)
		}
	}
	for _, action := range ended {
		m.ageSeconds.WithLabelValues(string(action))
	}
}
