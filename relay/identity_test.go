package relay_test

import (
	"testing"

	"dawk/relay"
)

// TestSubmittedBy: a list of identities holds names, with "*" for any run of
// characters, and networks of clients without a login.
func TestSubmittedBy(t *testing.T) {
	shop := relay.Message{Identity: "shop", Client: "192.0.2.7"}
	client := relay.Message{Identity: "network:192.0.2.0/24", Client: "192.0.2.7"}
	client6 := relay.Message{Identity: "network:2001:db8::/32", Client: "2001:db8::7"}
	for _, c := range []struct {
		m    relay.Message
		list []string
		want bool
	}{
		{shop, nil, true},
		{shop, []string{"shop"}, true},
		{shop, []string{"office", "s*p"}, true},
		{shop, []string{"sho"}, false},
		{shop, []string{"sh*ho*op"}, false},
		{shop, []string{"network:192.0.2.0/24"}, false}, // it has a login
		{client, []string{"shop"}, false},
		{client, []string{"network:192.0.2.0/24"}, true},
		{client, []string{"network:192.0.2.0/28"}, true},
		{client, []string{"network:192.0.2.8/29"}, false},
		{client, []string{"network:192.0.0.0/16"}, true},
		{client, []string{"network:192.0.2.7"}, true},
		{client, []string{"network:*"}, true},
		{client6, []string{"network:2001:db8::/64"}, true},
		{client6, []string{"network:192.0.2.0/24"}, false},
		{relay.Message{Identity: "network:192.0.2.0/24"}, []string{"network:192.0.0.0/16"}, true},
		{relay.Message{Identity: "network:192.0.2.0/24"}, []string{"network:192.0.2.0/28"}, false},
		{relay.Message{Identity: "local:shop", Client: "127.0.0.1"}, []string{"network:127.0.0.0/8"}, false},
		{relay.Message{}, []string{"*"}, true},
		{relay.Message{}, []string{"shop"}, false},
	} {
		if got := c.m.SubmittedBy(c.list); got != c.want {
			t.Errorf("%s %s in %q: %v", c.m.Identity, c.m.Client, c.list, got)
		}
	}
	for s, good := range map[string]bool{"shop": true, "s*": true, "network:192.0.2.0/24": true, "network:*": true, "network:192.0.2": false, "network:": false, "": false} {
		if err := relay.CheckIdentityPattern(s); (err == nil) != good {
			t.Errorf("%q: %v", s, err)
		}
	}
}
