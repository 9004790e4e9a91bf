package submission_test

import (
	"net/netip"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/accept"
)

// TestSendersBindTheHeader: alice may send as example.org, and the header may
// say nothing else, whatever the reverse-path.
func TestSendersBindTheHeader(t *testing.T) {
	q := &memQueue{}
	a, _ := acceptor(t, q, nil)
	alice, err := newUsers(t).Authenticate(t.Context(), "alice", "secret", netip.MustParseAddr("127.0.0.1"))
	check(t, err)
	for _, c := range []struct {
		header string
		field  string // that is refused; "": none
	}{
		{"From: a@example.org", ""},
		{"FROM: Alice <A@Example.ORG>", ""},
		{"From: J\xfcrgen <a@example.org>", ""},
		{"From: =?windows-1252?Q?J=FCrgen?= <a@example.org>", ""},
		{"From: Scanner [3.OG] <a@example.org>", ""},
		{"From: \"b@example.com\" <a@example.org>", ""},
		{"From: Alice\r\n <a@example.org>,\r\n\tb@example.org\r\nSender: b@example.org", ""},
		{"Subject: no author at all", ""},
		{"Reply-To: b@example.com\r\nFrom: a@example.org", ""},
		{"From: b@example.com", "From"},
		{"From : b@example.com", "From"},
		{"from\t : b@example.com", "From"},
		{"From:\r\n b@example.com", "From"},
		{"From: a@example.org, b@example.com", "From"},
		{"From: all: a@example.org, b@example.com;", "From"},
		{"From: b@example.com x <a@example.org>", "From"},
		{"From: a@example.org.", "From"},
		{"From: <>", "From"},
		{"From:", "From"},
		{"From: nobody", "From"},
		{"From: a@example.org\r\nSender: b@example.com", "Sender"},
		{"From: a@example.org\r\nSender: a@example.org\r\nSender : b@example.com", "Sender"},
		{"From: a@example.org\r\nResent-From: b@example.com", "Resent-From"},
		{"From: a@example.org\r\nResent-Sender : b@example.com", "Resent-Sender"},
		{"Resent-From: a@example.org\r\nFrom: b@example.com", "From"},
	} {
		for _, from := range []relay.Path{{}, path(t, "a@example.org")} {
			for _, rest := range []string{"\r\n\r\nFrom: body@example.com\r\n", "\r\nno field\r\n", "\r\n"} {
				s := submit(t, pieces{c.header + rest, 7})
				s.User, s.From = alice, from
				_, err := a.Submit(t.Context(), s)
				if c.field == "" {
					if err != nil {
						t.Errorf("%q from %s: %v", c.header+rest, from.Wire(), err)
					}
					continue
				}
				r := accept.RefusalOf(err)
				if err == nil || r.Reply.Code != 550 || r.Reply.Status.String() != "5.7.1" || r.Reason != accept.ReasonSender || !strings.Contains(r.Reply.Text+" ", " field "+c.field) {
					t.Errorf("%q from %s: %v", c.header+rest, from.Wire(), err)
				}
			}
		}
	}
}
