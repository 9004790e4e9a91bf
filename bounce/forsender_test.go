package bounce_test

import (
	"strings"
	"testing"

	"dawk/bounce"
	"dawk/relay"
)

// What is for the administrator alone, files, accounts and the words of token
// endpoints, does not leave in a notice to a sender. The postmaster has it.
func TestNoticesKeepTheRelaysOwnTrouble(t *testing.T) {
	const secret = "/etc/dawk/m365.secret"
	own := relay.Status{Class: 4, Subject: 3}
	for name, c := range map[string]struct {
		reply relay.Reply
		told  string // "": the reply's own words
	}{
		"our login": {relay.Failure(relay.StageAuth, relay.Status{Class: 4, Subject: 7}, "client_secret_file: %s cannot be read", secret),
			"cannot log in at the server that its mail goes through"},
		"our disk": {relay.Failure(relay.StageRoute, own, "read %s: input/output error", secret), "this relay has trouble of its own"},
		"a hold":   {relay.Decision(relay.CauseOperator, own, "on hold, by the administrator of this relay"), ""},
		"a server": {relay.Reply{Code: 451, Status: own, Stage: relay.StageRcpt, Text: "cannot open " + secret}, ""},
		"a host":   {relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "cannot connect to mx.example.com"), ""},
	} {
		for _, kind := range []bounce.Kind{bounce.KindDelayed, bounce.KindDoubleBounce} {
			r := report(t)
			r.Kind = kind
			if kind == bounce.KindDoubleBounce {
				r.Message.From = relay.Path{}
			}
			r.Outcomes[0] = relay.Outcome{Action: relay.ActionDelayed, Reply: c.reply}
			n, err := bounce.Compose(config(t), r)
			if err != nil {
				t.Fatal(err)
			}
			want := c.told
			if want == "" || kind == bounce.KindDoubleBounce {
				want = c.reply.Text
			}
			text := strings.Join(strings.Fields(string(n.Content)), " ")
			if strings.Count(text, want) != 2 { // for people, and in Diagnostic-Code
				t.Errorf("%s, %s: %q is not there twice:\n%s", name, kind, want, n.Content)
			}
			if want != c.reply.Text && strings.Contains(text, secret) {
				t.Errorf("%s, %s: tells of %s", name, kind, secret)
			}
		}
	}
}
