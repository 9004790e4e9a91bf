package relay_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"dawk/relay"
)

func TestPermanentDependsOnCodeStatusAndStage(t *testing.T) {
	noStatus := relay.Status{}
	for _, c := range []struct {
		code      int
		status    relay.Status
		stage     relay.Stage
		permanent bool
	}{
		{550, relay.Status{Class: 5, Subject: 1, Detail: 1}, relay.StageRcpt, true},
		{550, noStatus, relay.StageRcpt, true},
		{550, noStatus, relay.StageMail, true},
		{554, noStatus, relay.StageData, true},
		{554, noStatus, relay.StageBody, true},
		// The code decides: an enhanced class that contradicts it does not.
		{550, relay.Status{Class: 4, Subject: 2, Detail: 2}, relay.StageRcpt, true},
		{450, relay.Status{Class: 5, Subject: 1, Detail: 1}, relay.StageRcpt, false},
		// The host or our account there, not this message.
		{554, noStatus, relay.StageGreeting, false},
		{550, noStatus, relay.StageEHLO, false},
		{502, noStatus, relay.StageTLS, false},
		{535, relay.Status{Class: 5, Subject: 7, Detail: 8}, relay.StageAuth, false},
		// RFC 5321 §4.5.3.1.10.
		{552, relay.Status{Class: 5, Subject: 5, Detail: 3}, relay.StageRcpt, false},
		{552, relay.Status{Class: 5, Subject: 2, Detail: 2}, relay.StageRcpt, true},
		{452, noStatus, relay.StageRcpt, false},
		// The session.
		{503, noStatus, relay.StageMail, false},
		{503, relay.Status{Class: 5, Subject: 5, Detail: 1}, relay.StageRcpt, false},
		{503, noStatus, relay.StageData, false},
		{503, relay.Status{Class: 5, Subject: 1, Detail: 1}, relay.StageRcpt, true},
		{503, relay.Status{Class: 5, Subject: 5, Detail: 1}, relay.StageBody, true},
		// What no one understands is temporary.
		{0, noStatus, relay.StageBody, false},
		{999, noStatus, relay.StageRcpt, false},
		{354, noStatus, relay.StageMail, false},
		{650, noStatus, relay.StageRcpt, false},
		// Our own verdicts.
		{0, relay.Status{Class: 5, Subject: 1, Detail: 2}, relay.StageDNS, true},
		{0, relay.Status{Class: 4, Subject: 4, Detail: 3}, relay.StageDNS, false},
	} {
		r := relay.Reply{Code: c.code, Status: c.status, Stage: c.stage}
		if r.Permanent() != c.permanent {
			t.Errorf("%+v: Permanent() = %v", r, !c.permanent)
		}
		wantClass := 4
		if c.permanent {
			wantClass = 5
		}
		if got := r.Enhanced().Class; got != wantClass {
			t.Errorf("%+v: Enhanced() = %v, class %d wanted", r, r.Enhanced(), wantClass)
		}
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("550 no\r\nsuch user\x00\xff\u2028")
	f.Add(strings.Repeat("ü", 2000))
	f.Fuzz(func(t *testing.T, s string) {
		got := relay.Sanitize(s)
		if len(got) > relay.MaxReplyText || !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) {
			t.Fatalf("Sanitize(%q) = %q", s, got)
		}
	})
}

func TestStatusText(t *testing.T) {
	for in, ok := range map[string]bool{"5.1.1": true, "4.7.999": true, "2.0.0": true,
		"3.1.1": false, "5.1": false, "5.1.1.1": false, "5.1000.1": false, "5.-1.0": false, "55.1.1": false} {
		s, got := relay.ParseStatus(in)
		if got != ok || ok && s.String() != in {
			t.Errorf("ParseStatus(%q) = %v, %v", in, s, got)
		}
	}
}

func TestNotify(t *testing.T) {
	for in, ok := range map[string]bool{"NEVER": true, "success,failure": true, "FAILURE,DELAY": true,
		"NEVER,FAILURE": false, "": false, "FAILURE,": false, "SOMETIMES": false} {
		if _, got := relay.ParseNotify(in); got != ok {
			t.Errorf("ParseNotify(%q) ok = %v", in, got)
		}
	}
}

// The decisive failure comes first: that a fallback refuses connections hides
// neither the silence of the real host nor the words of a server.
func TestSummaryDecisiveFirst(t *testing.T) {
	silent := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "cannot connect to mx1: no answer within 30s")
	refused := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "cannot connect to mx2: connection refused")
	refused.Refused = true
	busy := relay.Reply{Code: 421, Text: "busy", Stage: relay.StageGreeting, MTA: "mx1"}
	lookup := relay.Failure(relay.StageDNS, relay.Status{Class: 4, Subject: 4, Detail: 3}, "SERVFAIL")
	for _, x := range []struct {
		in   []relay.Reply
		want string
	}{
		{[]relay.Reply{silent, refused}, "4.4.1 cannot connect to mx1: no answer within 30s; also 4.4.1 cannot connect to mx2: connection refused"},
		{[]relay.Reply{refused, silent}, "4.4.1 cannot connect to mx1: no answer within 30s; also 4.4.1 cannot connect to mx2: connection refused"},
		{[]relay.Reply{busy, refused, refused}, "421 busy; also "},
		{[]relay.Reply{lookup, refused}, "4.4.1 cannot connect to mx2: connection refused; also "},
		{[]relay.Reply{refused}, "4.4.1 cannot connect to mx2: connection refused"},
	} {
		if got := relay.Summary(x.in); !strings.HasPrefix(got.String(), x.want) || got.Refused {
			t.Errorf("%v: %q, want %q", x.in, got, x.want)
		}
	}
}
