package mx_test

import (
	"cmp"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"dawk/bounce"
	"dawk/mx"
	"dawk/mx/dial"
	"dawk/mx/mxtest"
	"dawk/mx/oauth"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/replies"
)

// delayNotice is what the sender gets to read of a reply.
func delayNotice(t *testing.T, m *relay.Message, r relay.Reply) string {
	t.Helper()
	m.ID = relay.QueueID{Key: 1772442000000000, Dir: 77}
	n, err := bounce.Compose(bounce.Config{Hostname: "relay.example.org", Postmaster: path(t, "postmaster@example.org")}, bounce.Report{
		Kind: bounce.KindDelayed, ID: relay.QueueID{Key: 1772442007000000, Dir: 77}, Message: m, Now: time.Unix(1772442007, 0),
		Outcomes: []relay.Outcome{{Action: relay.ActionDelayed, Reply: r}}})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(n.Content)), " ")
}

// Whatever is wrong with a route, its remedy, and the keys, files and accounts
// of this relay, are not in the notice to the sender.
func TestRouteTroubleInNotices(t *testing.T) {
	login := func(err error, reply string, provider replies.Provider) func() relay.Reply {
		return func() relay.Reply {
			tr, srv, _ := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}},
				mx.Route{Token: true, Credential: &secret{token: "good", err: err}, Provider: provider}, time.Hour)
			if reply != "" {
				if serr := srv.Script("auth", reply, 1); serr != nil {
					t.Fatal(serr)
				}
				tr.Deliver(t.Context(), task(t, letter, "first@b.test")) // the second finds the route held
			}
			return tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Replies[0]
		}
	}
	direct := func(to string, change func(*mx.Config)) func() relay.Reply {
		return func() relay.Reply {
			return newWorld(t, mxtest.Config{}, change).deliver(task(t, letter, to)).Replies[0]
		}
	}
	for name, c := range map[string]struct {
		reply func() relay.Reply
		cause relay.Cause
		fix   bool   // there is a remedy
		words string // in the notice
	}{
		"login refused, the route held": {login(nil, "535 5.7.3 Authentication unsuccessful", replies.ProviderMicrosoft), relay.CauseLogin, true, "Authentication unsuccessful"},
		"token endpoint fails": {login(&oauth.Error{Code: "AADSTS7000222", Words: "the secret of tenant example.onmicrosoft.com is too old", Fix: "put another into client_secret_file"}, "", ""),
			relay.CauseLogin, true, "cannot log in"},
		"secret file missing": {login(&oauth.Error{Words: "password_file: /etc/dawk/pw cannot be read", Fix: "put the password into that file"}, "", ""), relay.CauseLogin, true, "cannot log in"},
		"other trouble":       {login(errors.New("open /etc/dawk/key: no such file"), "", ""), relay.CauseLogin, false, "cannot log in"},
		"no TLS": {direct("b@b.test", func(c *mx.Config) {
			c.Routes = []mx.Route{{Name: "mx", To: []string{"*"}, TLS: tlspolicy.LevelRequired}}
		}), relay.CauseTLS, true, "does not offer STARTTLS"},
		"an address that is refused": {direct("b@b.test", func(c *mx.Config) { c.AllowNetworks = nil }), relay.CausePolicy, true, "a loopback address"},
		"connection refused":         {direct("b@b.test", func(c *mx.Config) { c.Port = 1 }), relay.CauseConnect, false, "cannot connect"},
		"DNS":                        {direct("b@b.test", func(c *mx.Config) { c.Resolver = failingLookup{} }), relay.CauseDNS, false, "cannot look up"},
		"a source that is not here": {direct("b@b.test", func(c *mx.Config) {
			c.Sources = []dial.Source{{Name: "pool-a", Addr4: netip.MustParseAddr("192.0.2.77")}}
			c.Routes = []mx.Route{{Name: "mx", To: []string{"*"}, Sources: []string{"pool-a"}}}
		}), relay.CauseLocal, false, "trouble of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.reply()
			if r.Cause != c.cause || (r.Remedy != "") != c.fix {
				t.Errorf("%+v", r)
			}
			text := delayNotice(t, task(t, letter, "b@b.test").Message, r)
			if !strings.Contains(text, c.words) {
				t.Errorf("%q is not in %s", c.words, text)
			}
			for _, no := range []string{cmp.Or(strings.Join(strings.Fields(r.Remedy), " "), "→"), "→", "/etc/", "_file", "allow_networks", "tls =", "scanner@", "onmicrosoft", "pool-a", "New-ServicePrincipal"} {
				if strings.Contains(text, no) {
					t.Errorf("tells the sender of %q: %s", no, text)
				}
			}
		})
	}
}
