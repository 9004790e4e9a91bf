package bounce_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/bounce"
	"dawk/relay"
)

func TestWanted(t *testing.T) {
	const (
		failed, expired, delayed  = relay.ActionFailed, relay.ActionExpired, relay.ActionDelayed
		relayed, delivered, expan = relay.ActionRelayed, relay.ActionDelivered, relay.ActionExpanded
	)
	due, passed := bounce.Situation{DelayDue: true}, bounce.Situation{Passed: true}
	sender := func(m *relay.Message) {}
	null := func(m *relay.Message) { m.From = relay.Path{} }
	notice := func(m *relay.Message) { m.Notice = true; m.From = relay.Path{} }
	toPostmaster := func(m *relay.Message) { notice(m); m.Recipients[0].Path = path(t, "postmaster@example.org") }
	quiet := func(m *relay.Message) { m.NoDelayNotes = true }
	for _, c := range []struct {
		name    string
		message func(*relay.Message)
		notify  relay.Notify
		action  relay.Action
		s       bounce.Situation
		want    bounce.Kind // "": nobody is told
		dropped bool
	}{
		{"failure", sender, 0, failed, bounce.Situation{}, bounce.KindFailed, false},
		{"failure, asked for", sender, relay.NotifyFailure, failed, bounce.Situation{}, bounce.KindFailed, false},
		{"failure, NEVER", sender, relay.NotifyNever, failed, bounce.Situation{}, "", false},
		{"failure, only SUCCESS", sender, relay.NotifySuccess, failed, bounce.Situation{}, "", false},
		{"failure, receiver had the parameters", sender, 0, failed, passed, bounce.KindFailed, false},
		{"expiry", sender, 0, expired, due, bounce.KindFailed, false},
		{"expiry, NEVER", sender, relay.NotifyNever, expired, due, "", false},
		{"deleted", sender, 0, relay.ActionDeleted, bounce.Situation{}, "", false},
		{"delay", sender, 0, delayed, due, bounce.KindDelayed, false},
		{"delay, not yet", sender, relay.NotifyDelay, delayed, bounce.Situation{}, "", false},
		{"delay, only FAILURE", sender, relay.NotifyFailure, delayed, due, "", false},
		{"delay, switched off", quiet, 0, delayed, due, "", false},
		{"success, not asked for", sender, 0, relayed, bounce.Situation{}, "", false},
		{"success, asked for", sender, relay.NotifySuccess, relayed, bounce.Situation{}, bounce.KindRelayed, false},
		{"success, receiver had the parameters", sender, relay.NotifySuccess, relayed, passed, "", false},
		{"delivery, asked for", sender, relay.NotifySuccess, delivered, passed, bounce.KindRelayed, false},
		{"expansion, asked for", sender, relay.NotifySuccess, expan, passed, bounce.KindRelayed, false},
		{"null sender fails", null, 0, failed, bounce.Situation{}, bounce.KindDoubleBounce, false},
		// RFC 3461 §5.2 wants the postmaster informed, and §5.2.6 (b) allows it for NEVER.
		{"null sender fails, NEVER", null, relay.NotifyNever, failed, bounce.Situation{}, bounce.KindDoubleBounce, false},
		{"notice fails, NEVER", notice, relay.NotifyNever, failed, bounce.Situation{}, bounce.KindDoubleBounce, false},
		{"null sender expires", null, relay.NotifyNever, expired, bounce.Situation{}, bounce.KindDoubleBounce, false},
		{"null sender is late", null, relay.NotifyDelay, delayed, due, "", false},
		{"null sender succeeds", null, relay.NotifySuccess, relayed, bounce.Situation{}, "", false},
		{"notice fails", notice, 0, failed, bounce.Situation{}, bounce.KindDoubleBounce, false},
		{"notice is deleted", notice, 0, relay.ActionDeleted, bounce.Situation{}, "", false},
		{"notice to the postmaster fails", toPostmaster, 0, failed, bounce.Situation{}, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := report(t).Message
			m.Recipients[0].Notify = c.notify
			c.message(m)
			o := []relay.Outcome{{Action: c.action}}
			var want bounce.Verdict
			if c.want != "" {
				want.Notices = []bounce.Want{{Kind: c.want, Outcomes: o}}
			}
			if c.dropped {
				want.Dropped = o
			}
			if d := cmp.Diff(want, bounce.Wanted(config(t), m, o, c.s)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestOneNoticeForRecipientsThatFailTogether(t *testing.T) {
	m := report(t).Message
	m.Recipients = append(m.Recipients, m.Recipients[0], relay.Recipient{Path: path(t, "no@example.com"), Notify: relay.NotifyNever}, m.Recipients[0])
	o := []relay.Outcome{{Recipient: 0, Action: relay.ActionFailed}, {Recipient: 3, Action: relay.ActionDelayed},
		{Recipient: 2, Action: relay.ActionFailed}, {Recipient: 1, Action: relay.ActionExpired}}
	want := bounce.Verdict{Notices: []bounce.Want{
		{Kind: bounce.KindFailed, Outcomes: []relay.Outcome{o[0], o[3]}},
		{Kind: bounce.KindDelayed, Outcomes: []relay.Outcome{o[1]}},
	}}
	if d := cmp.Diff(want, bounce.Wanted(config(t), m, o, bounce.Situation{DelayDue: true})); d != "" {
		t.Error(d)
	}
}

// However a double bounce ends, it ends: without a postmaster, and when the
// notice to the postmaster fails, under either spelling of the address.
func TestDoubleBouncesEnd(t *testing.T) {
	failed := []relay.Outcome{{Action: relay.ActionFailed, Reply: relay.Reply{Code: 550}}}
	for _, postmaster := range []string{"", "postmaster", "postmaster@relay.example.org", "root@example.org"} {
		c := config(t)
		c.Postmaster = path(t, postmaster)
		r := report(t)
		for step, want := range []bounce.Kind{bounce.KindFailed, bounce.KindDoubleBounce, ""} {
			v := bounce.Wanted(c, r.Message, failed, bounce.Situation{})
			if len(v.Notices) == 0 {
				if len(v.Dropped) != 1 || want == bounce.KindFailed || postmaster != "" && want != "" {
					t.Errorf("postmaster %q, step %d: %+v", postmaster, step, v)
				}
				break
			}
			if want == "" || v.Notices[0].Kind != want {
				t.Fatalf("postmaster %q, step %d: %+v", postmaster, step, v)
			}
			r.Kind, r.Outcomes = want, failed
			n, err := bounce.Compose(c, r)
			if err != nil {
				t.Fatal(err)
			}
			r.Message = &n.Message
		}
	}
}
