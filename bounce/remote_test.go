package bounce

import (
	"testing"

	"dawk/relay"
)

// An address is not a name: RFC 3464 §2.1.2 has it in brackets.
func TestRemoteMTA(t *testing.T) {
	for _, c := range []struct {
		reply relay.Reply
		want  string
	}{
		{relay.Reply{MTA: "mx.example.org", Addr: "192.0.2.1"}, "dns; mx.example.org"},
		{relay.Reply{MTA: "192.0.2.1", Addr: "192.0.2.1"}, "dns; [192.0.2.1]"},
		{relay.Reply{MTA: "2001:db8::1"}, "dns; [IPv6:2001:db8::1]"},
		{relay.Reply{Addr: "192.0.2.1"}, "dns; [192.0.2.1]"},
		{relay.Reply{}, ""},
	} {
		if got := remoteMTA(c.reply); got != c.want {
			t.Errorf("%+v: %q, want %q", c.reply, got, c.want)
		}
	}
}
