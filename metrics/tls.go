package metrics

import "slices"

// TLSSession counts a session with an MX host. policy is "dane", "mta-sts",
// "mta-sts-testing" or "none"; result is one of Names.TLSResults. It does
// not block.
func (m *Set) TLSSession(policy, result string) {
	if !slices.Contains(tlsPolicies, policy) {
		policy = none
	}
	m.tlsSessions.WithLabelValues(policy, within(m.names.TLSResults, result)).Inc()
}

// tlsResults are the values of the label result.
func (m *Set) tlsResults() []string {
	return append(slices.Clone(m.names.TLSResults), other)
}
