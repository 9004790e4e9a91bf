package accept_test

import (
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/accept/accepttest"
	"dawk/relay/identity"
)

// TestSendersBindTheHeader: alice may send as example.org, and the header may
// say nothing else, whatever the reverse-path.
func TestSendersBindTheHeader(t *testing.T) {
	q := &accepttest.Queue{}
	a, _ := acceptor(t, q, nil)
	domain, err := identity.ParseSender("@example.org")
	check(t, err)
	alice := &identity.User{Name: "alice", MaxMessageSize: 1000, Policy: identity.Policy{Senders: []identity.Sender{domain}}}
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
		{"From: a@example.org <a@example.org>", ""},
		{"From: b@example.org <a@example.org>;", ""},
		{"From: a@example.org a@example.org", ""},
		{"From: Scanner <a@example.org", ""},
		{"From: a@example.org <b@example.com>", "From"},
		{"From: (b@example.com <a@example.org>", "From"},
		{"From: b (x) @example.com <a@example.org", "From"},
		{"From: \"b\"@example.com; a@example.org", "From"},
		{"From: <@example.org:b@example.com> a@example.org", "From"},
		{"From: b@[192.0.2.1]; a@example.org", "From"},
		{"From: a@example.org@example.com; a@example.org", "From"},
		{"From: b@example.com", "From"},
		{"From : b@example.com", "From"},
		{"from\t : b@example.com", "From"},
		{"From:\r\n b@example.com", "From"},
		{"From: a@example.org, b@example.com", "From"},
		{"From: all: a@example.org, b@example.com;", "From"},
		{"From: b@example.com x <a@example.org>", "From"},
		{"From: a@example.org.", ""},
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

// TestOtherRulesBindTheHeader: rewrite_from gives From and Sender and binds the
// Resent fields; from = "any" frees the header and not the reverse-path; what a
// device leaves out is not filled with an author that it may not name.
func TestOtherRulesBindTheHeader(t *testing.T) {
	sender := func(s string) identity.Sender {
		one, err := identity.ParseSender(s)
		check(t, err)
		return one
	}
	desk := path(t, "desk@example.org")
	rewritten := identity.Policy{RewriteFrom: desk}
	both := identity.Policy{RewriteFrom: desk, Senders: []identity.Sender{sender("@example.net")}}
	bound := identity.Policy{Senders: []identity.Sender{sender("printer@example.org")}}
	free := identity.Policy{Senders: bound.Senders, FromAny: true}
	for _, c := range []struct {
		name   string
		policy identity.Policy
		from   string
		header string
		field  string // that is refused; "": none; "MAIL": the reverse-path
		want   string // in the header of what was accepted
	}{
		{"From is replaced", rewritten, "b@example.com", "From: b@example.com", "", "\r\nFrom: <desk@example.org>\r\n"},
		{"Sender is replaced", rewritten, "", "Sender: b@example.com", "", "\r\nFrom: <desk@example.org>\r\n"},
		{"Resent-From is bound", rewritten, "", "Resent-From: b@example.com", "Resent-From", ""},
		{"Resent-Sender is bound", both, "", "Resent-Sender : b@example.com", "Resent-Sender", ""},
		{"the address itself may resend", rewritten, "", "Resent-From: Desk <desk@example.org>", "", "Resent-From"},
		{"so may senders", both, "", "Resent-From: a@example.net", "", "Resent-From"},
		{"any frees the header", free, "printer@example.org", "From: b@example.com", "", "From: b@example.com"},
		{"any frees Sender", free, "", "Sender: b@example.com", "", "Sender: b@example.com"},
		{"any does not free the reverse-path", free, "b@example.com", "From: printer@example.org", "MAIL", ""},
		{"a device gets its reverse-path", bound, "printer@example.org", "Subject: x", "", "\r\nFrom: <printer@example.org>\r\n"},
		{"so does one that gives a name only", bound, "printer@example.org", "From: HP LaserJet", "", "\r\nFrom: <printer@example.org>\r\n"},
		{"in any words", bound, "printer@example.org", "From: =?utf-8?q?B=C3=BCro?=", "", "\r\nFrom: <printer@example.org>\r\n"},
		{"a device is not our postmaster", bound, "", "Subject: x", "", ""},
	} {
		q := &accepttest.Queue{}
		a, _ := acceptor(t, q, nil)
		s := submit(t, pieces{c.header + "\r\n\r\nbody\r\n", 5})
		s.User, s.From, s.AddFrom = identity.ForProgram("local:x", c.policy), path(t, c.from), true
		_, err := a.Submit(t.Context(), s)
		if c.field != "" {
			r := accept.RefusalOf(err)
			if err == nil || r.Reply.Code != 550 || r.Reply.Status.String() != "5.7.1" || c.field != "MAIL" && !strings.Contains(r.Reply.Text+" ", " field "+c.field) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil || !strings.Contains("\r\n"+q.Messages()[0].Header()+"\r\n", c.want) || c.want == "" && strings.Contains(q.Messages()[0].Header(), "From: ") {
			t.Errorf("%s: %v %+v", c.name, err, q.Messages())
		}
	}
}
