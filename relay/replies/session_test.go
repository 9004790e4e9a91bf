package replies_test

import (
	"testing"

	"dawk/relay"
	"dawk/relay/replies"
)

// Servers say with 530 that TLS is to be started, or that a login is needed.
func TestWantsTLS(t *testing.T) {
	for _, c := range []struct {
		reply        relay.Reply
		tls, noLogin bool
	}{
		{relay.Reply{Code: 530, Text: "5.7.0 Must issue a STARTTLS command first"}, true, true},
		{relay.Reply{Code: 530, Text: "5.7.0 Authentication required"}, true, false},
		{relay.Reply{Code: 530, Text: "SMTP AUTH is required"}, true, false},
		{relay.Reply{Code: 530, Text: "Authentication required, use STARTTLS first"}, true, true},
		{relay.Reply{Code: 523, Text: "Encryption needed"}, true, true},
		{relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 7, Detail: 10}, Text: "no"}, true, true},
		{relay.Reply{Code: 554, Text: "Please use StartTLS"}, true, false},
		{relay.Reply{Code: 550, Text: "No such user"}, false, false},
	} {
		if got := replies.WantsTLS(c.reply); got != c.tls {
			t.Errorf("WantsTLS(%v) = %v", c.reply, got)
		}
		if got := replies.WantsTLSNotLogin(c.reply); got != c.noLogin {
			t.Errorf("WantsTLSNotLogin(%v) = %v", c.reply, got)
		}
	}
}
