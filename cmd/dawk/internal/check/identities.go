package check

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/dkim"
	"dawk/relay/identity"
)

// identities names those who may send as anybody and are signed: whoever steals
// such a password, or takes over such a machine, signs as everyone of ours. And it
// finds identities that the configuration names and nobody has.
func (c *checker) identities(context.Context) []Finding {
	all := c.strays()
	keys := c.cfg.DKIMKeys()
	if len(keys) == 0 {
		return all
	}
	anybody := append(c.usersAsAnybody(keys), c.clientsAsAnybody(keys)...)
	if len(anybody) == 0 {
		return append(all, good("identities", "whoever is signed may send only as its senders allow"))
	}
	return append(all, warn("identities", "say by senders whom they may send as, or leave them out of [[dkim]] identities",
		"may send as anybody and are signed: %s", names(anybody)))
}

// strays are the identities that nobody has: what is to hold for them holds for
// nobody, and their mail goes another way. And those whose return addresses cannot be signed.
func (c *checker) strays() (all []Finding) {
	var users []string
	if c.cfg.WantsUsers() {
		table, err := identity.Open(c.cfg.Users.File, nil)
		if err != nil {
			return nil // told by users
		}
		var signed []string
		for _, u := range table.List() {
			users = append(users, u.Name)
			if u.SignedReturn && c.cfg.ReturnPathRules() == nil {
				signed = append(signed, u.Name)
			}
		}
		if len(signed) > 0 {
			all = append(all, warn("identities", "write a [return_path] section, or take return_address out of users.toml",
				"return_address is signed, and there is no [return_path], so mail leaves with the sender's address: %s", names(signed)))
		}
	}
	for _, s := range c.cfg.Strays(users) {
		all = append(all, warn("identities", "correct the name, or make the user with `dawk user add`", "%s", s))
	}
	return all
}

const maxNamed = 10 // users that one finding names

func (c *checker) usersAsAnybody(keys []dkim.Key) (found []string) {
	if !c.cfg.WantsUsers() {
		return nil
	}
	users, err := identity.Open(c.cfg.Users.File, nil)
	if err != nil {
		return nil // told by users
	}
	more := 0
	for _, u := range users.List() {
		m := &relay.Message{Identity: u.Name}
		switch {
		case u.BindsHeader() || !slices.ContainsFunc(keys, func(k dkim.Key) bool { return k.Signs(m) }):
		case len(found) == maxNamed:
			more++
		default:
			found = append(found, "user "+u.Name)
		}
	}
	if more > 0 {
		found = append(found, fmt.Sprintf("%d more users", more))
	}
	return found
}

func (c *checker) clientsAsAnybody(keys []dkim.Key) (found []string) {
	for i := range c.cfg.Listeners {
		l := &c.cfg.Listeners[i]
		if len(l.Senders) > 0 {
			continue
		}
		for _, n := range l.TrustedNetworks {
			if slices.ContainsFunc(keys, func(k dkim.Key) bool { return signsFrom(k, n) }) {
				found = append(found, fmt.Sprintf("clients of %s at %s", n, "listener "+l.Address))
			}
		}
	}
	return found
}

// signsFrom says whether a key signs mail from any address in n.
func signsFrom(k dkim.Key, n relay.Network) bool {
	return k.Signs(&relay.Message{Identity: "network:" + n.String()}) || slices.ContainsFunc(k.Identities, func(s string) bool {
		part, ok := strings.CutPrefix(s, "network:")
		p, err := relay.ParseNetwork(part)
		return ok && err == nil && p.Prefix().Overlaps(netip.Prefix(n))
	})
}
