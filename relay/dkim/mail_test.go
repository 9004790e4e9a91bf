package dkim_test

import (
	"slices"
	"testing"

	"dawk/relay"
	"dawk/relay/dkim"
)

// TestWhoSignsItself: mail is signed unless all of it goes where it is signed anyway,
// and what was changed for a destination goes by that one alone.
func TestWhoSignsItself(t *testing.T) {
	s := newSite(t)
	m := dkim.Mail{
		Keys:        s.open(s.key("ed25519", "example.org", "s1")),
		Destination: func(_ *relay.Message, to relay.Path) string { return to.Domain() },
		Unsigned:    func(destination string) bool { return destination == "hub.test" },
	}
	for _, c := range []struct {
		to     []string
		signed bool
	}{
		{[]string{"a@hub.test"}, false},
		{[]string{"a@hub.test", "b@hub.test"}, false},
		{[]string{"a@hub.test", "b@b.test"}, true},
		{[]string{"b@b.test"}, true},
	} {
		msg := &relay.Message{}
		for _, to := range c.to {
			p, err := relay.ParsePath(to)
			if err != nil {
				t.Fatal(err)
			}
			msg.Recipients = append(msg.Recipients, relay.Recipient{Path: p})
		}
		fields, err := m.Sign(msg, message("From: a@example.org\r\n\r\nhello\r\n"))
		if err != nil || (len(fields) > 0) != c.signed {
			t.Errorf("%q: %q, %v", c.to, fields, err)
		}
		domain := msg.Recipients[0].Path.Domain()
		changed, err := m.SignFor(domain, msg, message("From: a@example.org\r\n\r\nchanged\r\n"))
		if err != nil || (len(changed) > 0) != (domain != "hub.test") || len(fields) > 0 && slices.Equal(changed, fields) {
			t.Errorf("for %s: %q, %v", domain, changed, err)
		}
	}
}
