package replies

import (
	"cmp"
	"strings"

	"dawk/relay"
)

// Provider says whose words about accounts are explained, and what is known of
// its ways.
type Provider string

// The providers.
const (
	ProviderOther     Provider = ""
	ProviderMicrosoft Provider = "microsoft365"
	ProviderGoogle    Provider = "gmail"
)

const anySmartHost = "smarthost" // in the table

// Classify gives the category of a reply that was not positive.
func Classify(r relay.Reply) Category { return Find(r).Category }

// Find gives what is known of a reply that was not positive: the category, and
// what an administrator can do about it.
func Find(r relay.Reply) Rule {
	if c := ours(r); c != "" {
		return Rule{Category: c}
	}
	text := strings.ToLower(r.Text)
	for i := range table() {
		if u := &table()[i]; u.provider == "" && u.fits(r, text) {
			if u.Category == BadAddress && r.Stage == relay.StageMail { // it is about the sender (RFC 5321 §3.3)
				return Rule{Category: SenderAuth}
			}
			return *u
		}
	}
	return Rule{Category: Other}
}

// Account is what a reply says of our account at a smart host; with password if
// that logs in with one. The zero value: nothing.
func Account(p Provider, password bool, r relay.Reply) Rule {
	text := strings.ToLower(r.Text)
	for i := range table() {
		u := &table()[i]
		switch of, only, _ := strings.Cut(u.provider, " "); {
		case of != anySmartHost && (of == "" || of != string(p)), only != "" && !password:
			continue
		}
		if u.fits(r, text) {
			return *u
		}
	}
	return Rule{}
}

// Reread gives a reply that a smart host gave to mail the stage that it is
// about: "you are not logged in" is no verdict on the message that met it, and
// neither is "enough for today". What was permanent is so no longer.
func Reread(p Provider, r relay.Reply) (relay.Reply, Rule) {
	if r.Code < 400 {
		return r, Rule{}
	}
	u := Account(p, false, r)
	switch u.Cause { // to stages where a 5yz is temporary: see relay.Reply.Permanent
	case relay.CauseLogin:
		r.Stage, r.Cause = relay.StageAuth, u.Cause
	case relay.CauseThrottle:
		r.Stage, r.Cause = relay.StageRoute, u.Cause
	case relay.CauseSender:
		r.Cause = u.Cause
	}
	r.Remedy = cmp.Or(r.Remedy, u.Remedy)
	return r, u
}
