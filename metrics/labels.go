package metrics

import (
	"slices"
	"strings"

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
		"loop", "bare_newline", "nul", "long_line", "header", "tls", "internal", "cut", "syntax", "sequence", "line", "line_end", "reset",
		"timeout", "errors", "shutdown", "suppressed", "quota", other}
	loginResults = []string{"ok", "credentials", "blocked", "mechanism", "syntax", "tls", "off", "temporary", other}
	tlsPolicies  = []string{"dane", "mta-sts", "mta-sts-testing", none}
	noticeKinds  = []string{"failed", "delayed", "relayed", "late", "double-bounce", "digest", other}
	holdActions  = []string{"held", "released"}
	holdReasons  = []string{"copies", "new_recipients", other}

	// What attempts end with: versions of TLS, and the levels reached with them.
	sessions = []session{
		{"TLS1.3", string(relay.TLSVerified)}, {"TLS1.3", string(relay.TLSUnverified)},
		{"TLS1.2", string(relay.TLSVerified)}, {"TLS1.2", string(relay.TLSUnverified)},
		{none, string(relay.TLSClear)}, {none, string(relay.TLSFallback)}, {none, string(relay.TLSLocal)}, {none, none},
		{"unreached", none}, {other, other},
	}

	// The actions of recipients: without trouble, and with a reason.
	smooth   = []relay.EventKind{relay.EventRelayed, relay.EventDelivered, relay.EventDeleted}
	troubled = []relay.EventKind{relay.EventDelayed, relay.EventFailed, relay.EventExpired}
	// Those that end a recipient, except by the operator.
	ended = []relay.EventKind{relay.EventRelayed, relay.EventDelivered, relay.EventFailed, relay.EventExpired}
)

// session is the TLS of an attempt as labels.
type session struct{ tls, level string }

// within keeps a label inside its set.
func within(set []string, value string) string {
	if slices.Contains(set, value) {
		return value
	}
	return other
}

// reasons are the values of the label reason of an outcome.
func (m *Set) reasons() []string {
	if slices.Contains(m.names.Categories, other) {
		return m.names.Categories
	}
	return append(slices.Clone(m.names.Categories), other)
}

// byProvider are the outcomes that are counted by provider.
var byProvider = []relay.EventKind{relay.EventRelayed, relay.EventDelayed, relay.EventFailed, relay.EventExpired}

// ofRoute stands for all routes with `via`: those have metrics of their own.
const ofRoute = "route"

// providers are the values of the label provider.
func (m *Set) providers() []string {
	return append(slices.Clone(*m.rules.Load()), ofRoute, other)
}

// SetProviders changes which providers have a rule of their own.
func (m *Set) SetProviders(names []string) {
	m.rules.Store(&names)
	for _, p := range m.providers() {
		m.providerSlowed.WithLabelValues(p)
		if p == ofRoute {
			continue
		}
		for _, action := range byProvider {
			m.providerOutcomes.WithLabelValues(p, string(action))
		}
	}
}

// ProviderLabel is a provider as a value of the label.
func (m *Set) ProviderLabel(name string) string {
	if strings.HasPrefix(name, "route:") {
		return ofRoute
	}
	return within(*m.rules.Load(), name)
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
	for _, s := range sessions {
		m.attempts.WithLabelValues(s.tls, s.level)
		m.visits.WithLabelValues(s.tls, s.level)
	}
	for _, policy := range tlsPolicies {
		for _, result := range m.tlsResults() {
			m.tlsSessions.WithLabelValues(policy, result)
		}
	}
	m.SetProviders(m.names.Providers)
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
