package config

import (
	"testing"

	"dawk/relay"
	"dawk/relay/sendmail"
)

// TestWhoProgramsMaySendAs: a user of this machine sends as itself, or as
// [sendmail] senders says; root as anybody.
func TestWhoProgramsMaySendAs(t *testing.T) {
	for _, c := range []struct {
		section, identity, from string
		want                    bool
	}{
		{"", "local:www-data", "www-data@relay.test", true},
		{"", "local:www-data", "WWW-Data@relay.test", true},
		{"", "local:www-data", "ceo@relay.test", false},
		{"", "local:www-data", "www-data@office.test", false},
		{"", "local:www-data", "", true},
		{"", "local:1234", "1234@relay.test", true},
		{"", "local:me@office.test", "me@office.test", true}, // a login name that is an address
		{"", "local:a b", "ceo@relay.test", false},
		{"", sendmail.Identity(0), "ceo@relay.test", true},
		{"domain = 'office.test'", "local:www-data", "www-data@office.test", true},
		{"domain = 'office.test'", "local:www-data", "www-data@relay.test", false},
		{"senders = ['@shop.test']", "local:www-data", "any@shop.test", true},
		{"senders = ['@shop.test']", "local:www-data", "www-data@relay.test", false},
		{"senders = ['@shop.test']", sendmail.Identity(0), "ceo@relay.test", true},
	} {
		cfg, err := parseConfig("dawk.toml", []byte("hostname = 'relay.test'\n[sendmail]\n"+c.section))
		if err != nil {
			t.Fatal(err)
		}
		from, err := relay.ParsePath(c.from)
		if err != nil {
			t.Fatal(err)
		}
		u := cfg.Program(c.identity)
		if u.MaySend(from) != c.want || !from.IsNull() && u.MayName(from) != c.want {
			t.Errorf("%q: %s as %s: reverse-path %v, header %v", c.section, c.identity, c.from, u.MaySend(from), u.MayName(from))
		}
	}
}
