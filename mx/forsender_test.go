package mx_test

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
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
	// token logs in with a token that a real endpoint is asked for.
	token := func(change func(*oauth.Config)) func() relay.Reply {
		return func() relay.Reply {
			endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusUnauthorized)
				io.WriteString(w, `{"error": "invalid_client", "error_description": "AADSTS7000222: the secret keys of tenant example.onmicrosoft.com are expired"}`)
			}))
			t.Cleanup(endpoint.Close)
			roots := x509.NewCertPool()
			roots.AddCert(endpoint.Certificate())
			cfg := oauth.Config{Route: "office", User: "scanner@example.org", Provider: replies.ProviderMicrosoft, Flow: oauth.ClientCredentials,
				TokenURL: endpoint.URL, ClientID: "client", RootCAs: roots, SecretFile: filepath.Join(t.TempDir(), "client_secret"),
				Connect: time.Minute, Answer: time.Minute, Dial: new(net.Dialer).DialContext, Log: slog.New(slog.DiscardHandler)}
			if err := os.WriteFile(cfg.SecretFile, []byte("swordfish"), 0o600); err != nil {
				t.Fatal(err)
			}
			change(&cfg)
			src, err := oauth.NewSource(cfg)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { src.Close() })
			tr, _, _ := smartHost(t, mxtest.Config{Auth: "XOAUTH2", Good: isGood, Users: map[string]string{}},
				mx.Route{Token: true, Credential: src, Provider: replies.ProviderMicrosoft}, time.Hour)
			return tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Replies[0]
		}
	}
	ownCertificate := func() relay.Reply {
		ca, err := mxtest.NewCA()
		if err != nil {
			t.Fatal(err)
		}
		tr, _, _ := smartHost(t, mxtest.Config{Certificate: certificate(t, ca, 100*time.Hour, "127.0.0.1"), ClientCAs: x509.NewCertPool()}, mx.Route{TLS: tlspolicy.LevelRequired,
			Certificate: func() (*tls.Certificate, error) { return nil, errors.New("open /etc/dawk/client.pem: no such file") }}, time.Hour)
		return tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Replies[0]
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
		"secret file missing":     {login(&oauth.Error{Words: "password_file: /etc/dawk/pw cannot be read", Fix: "put the password into that file"}, "", ""), relay.CauseLogin, true, "cannot log in"},
		"token endpoint refuses":  {token(func(*oauth.Config) {}), relay.CauseLogin, true, "cannot log in"},
		"client secret missing":   {token(func(c *oauth.Config) { os.Remove(c.SecretFile) }), relay.CauseLogin, true, "cannot log in"},
		"our certificate missing": {ownCertificate, relay.CauseLocal, false, "trouble of its own"},
		"other trouble":           {login(errors.New("open /etc/dawk/key: no such file"), "", ""), relay.CauseLogin, false, "cannot log in"},
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
			for _, no := range []string{cmp.Or(strings.Join(strings.Fields(r.Remedy), " "), "→"), "→", "/etc/", "_file", "allow_networks", "tls =", "swordfish", "client_secret", "client.pem", "scanner@", "onmicrosoft", "pool-a", "New-ServicePrincipal"} {
				if strings.Contains(text, no) {
					t.Errorf("tells the sender of %q: %s", no, text)
				}
			}
		})
	}
}
