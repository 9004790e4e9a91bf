package bounce_test

import (
	"fmt"
	"testing"

	"dawk/bounce"
	"dawk/relay"
)

// Every combination of the parameters of RFC 3461 with every kind of next hop:
// who is told follows from its §5.2, what the notice holds from §6.
func TestEveryCombinationOfRFC3461(t *testing.T) {
	const (
		never, success, failure, delay = relay.NotifyNever, relay.NotifySuccess, relay.NotifyFailure, relay.NotifyDelay
	)
	notifies := []relay.Notify{0, never, success, failure, delay, success | failure, success | delay, failure | delay, success | failure | delay}
	orcpts := []relay.ORcpt{{}, {Type: "rfc822", Addr: "Bob+list@Old.example.com"}, {Type: "utf-8", Addr: "用户@例子.example"}}
	results := []struct {
		name   string
		action relay.Action
		passed bool // the next hop offers DSN and was given the parameters
		asked  relay.Notify
		absent bool // told without NOTIFY
		kind   bounce.Kind
	}{
		{"fails, next hop without DSN (§5.2.2 c, d, f)", relay.ActionFailed, false, failure, true, bounce.KindFailed},
		{"fails, next hop with DSN (§5.2.6)", relay.ActionFailed, true, failure, true, bounce.KindFailed},
		{"expires (§5.2.6)", relay.ActionExpired, false, failure, true, bounce.KindFailed},
		{"is late (§5.2.5)", relay.ActionDelayed, false, delay, true, bounce.KindDelayed},
		{"relayed without DSN (§5.2.2 b, e)", relay.ActionRelayed, false, success, false, bounce.KindRelayed},
		{"relayed with DSN (§5.2.1)", relay.ActionRelayed, true, 0, false, ""},
		{"delivered (§5.2.3)", relay.ActionDelivered, true, success, false, bounce.KindRelayed},
		{"expanded (§5.2.7)", relay.ActionExpanded, false, success, false, bounce.KindRelayed},
	}
	told := 0
	for _, res := range results {
		for _, notify := range notifies {
			for _, ret := range []relay.Ret{"", relay.RetFull, relay.RetHdrs} {
				for _, envID := range []string{"", "QQ314159+a b"} {
					for i, orcpt := range orcpts {
						r := report(t)
						r.Message.Ret, r.Message.EnvID = ret, envID
						r.Message.Recipients[0].Notify, r.Message.Recipients[0].ORcpt = notify, orcpt
						r.Outcomes[0].Action = res.action
						v := bounce.Wanted(config(t), r.Message, r.Outcomes, bounce.Situation{DelayDue: true, Passed: res.passed})
						want := res.kind != "" && (notify == 0 && res.absent || notify != 0 && notify&res.asked != 0)
						at := fmt.Sprintf("%s NOTIFY=%v RET=%s ENVID=%q ORCPT=%v", res.name, notify, ret, envID, orcpt)
						if got := len(v.Notices) == 1; got != want || len(v.Dropped) != 0 || got && v.Notices[0].Kind != res.kind {
							t.Errorf("%s: %+v, want a notice: %v", at, v, want)
							continue
						}
						if !want {
							continue
						}
						told++
						r.Kind = res.kind
						n, p := mustCompose(t, r)
						m := n.Message
						if !m.From.IsNull() || m.Ret != "" || m.Recipients[0].Notify&^never != 0 { // §6.1
							t.Errorf("%s: envelope %+v", at, m.Envelope)
						}
						if got := p.perMessage.Get("Original-Envelope-Id"); got != envID { // §6.3 (a): undone xtext, never made up
							t.Errorf("%s: Original-Envelope-Id %q", at, got)
						}
						if got, want := p.recipients[0].Get("Original-Recipient"), []string{"", "rfc822; Bob+list@Old.example.com", `utf-8; \x{7528}\x{6237}@\x{4F8B}\x{5B50}.example`}[i]; got != want {
							t.Errorf("%s: Original-Recipient %q", at, got) // §6.3 (d)
						}
						whole := res.kind == bounce.KindFailed && ret != relay.RetHdrs // §6.2
						if got := p.types[2] == "message/rfc822"; got != whole {
							t.Errorf("%s: returned %s", at, p.types[2])
						}
					}
				}
			}
		}
	}
	if want := (3*5 + 5 + 3*4) * 3 * 2 * 3; told != want {
		t.Errorf("%d combinations cause a notice, want %d", told, want)
	}
}
