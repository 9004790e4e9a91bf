package show_test

import (
	"testing"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
)

func TestCause(t *testing.T) {
	at := relay.Status{Class: 4, Subject: 4, Detail: 1}
	for _, x := range []struct {
		reply relay.Reply
		want  string
	}{
		{relay.Failure(relay.StageConnect, at, "cannot connect to mx1.example.net:25 [192.0.2.1]: no answer within 30s; also 4.4.1 cannot connect to mx2: connection refused"), "4.4.1 no answer within 30s"},
		{relay.Failure(relay.StageDNS, at, "no host"), "4.4.1 no host"},
		{relay.Failure(relay.StageDNS, at, "DNS: timeout for a.test MX (127.0.0.1:53: read: connection refused)"), "4.4.1 connection refused"},
		{relay.Reply{Code: 452, Status: relay.Status{Class: 4, Subject: 2, Detail: 2}, Text: "full: try later"}, "452 4.2.2 full: try later"},
		{relay.Reply{}, ""},
	} {
		if got := show.Cause(x.reply); got != x.want {
			t.Errorf("%q, want %q", got, x.want)
		}
	}
}
