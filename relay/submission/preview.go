package submission

import (
	"dawk/relay"
	"dawk/relay/identity"
)

// Preview gives m the envelope that it would have after acceptance from u
// (nil: a client without login), or says why it would be refused before its
// content is looked at; that error is a *Refusal. Nothing is counted or kept.
func (a *Acceptor) Preview(u *identity.User, m *relay.Message) error {
	if err := a.Sender(u, m.From, 0); err != nil {
		return err
	}
	if err := a.AnotherRecipient(u, len(m.Recipients)-1); err != nil {
		return err
	}
	m.From = a.Path(m.From)
	for i := range m.Recipients {
		m.Recipients[i].Path = a.Path(m.Recipients[i].Path)
	}
	a.rewrite(&Submission{User: u}, m)
	return nil
}
