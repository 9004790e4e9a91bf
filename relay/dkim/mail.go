package dkim

import "dawk/relay"

// Mail signs the mail that leaves, unless who takes it signs it itself.
type Mail struct {
	Keys *Signer
	// Destination names where the mail of a recipient goes.
	Destination func(*relay.Message, relay.Path) string
	// Unsigned says whether mail for a destination goes without our signature.
	Unsigned func(destination string) bool
}

// Sign gives the header fields that sign m; none where all its recipients go to
// destinations without our signature.
func (s Mail) Sign(m *relay.Message, content relay.Content) ([]byte, error) {
	for _, rcpt := range m.Recipients {
		if !s.Unsigned(s.Destination(m, rcpt.Path)) {
			return s.Keys.Sign(m, content)
		}
	}
	return nil, nil
}

// SignFor signs m, whose content was changed for a destination.
func (s Mail) SignFor(destination string, m *relay.Message, content relay.Content) ([]byte, error) {
	if s.Unsigned(destination) {
		return nil, nil
	}
	return s.Keys.Sign(m, content)
}
