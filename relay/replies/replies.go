package replies

import (
	"cmp"
	"regexp"
	"slices"
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

// In the table, in place of a provider.
const (
	anySmartHost = "smarthost"
	except       = "except"
)

// Classify gives the category of a reply that was not positive.
func Classify(r relay.Reply) Category { return Find(r).Category }

// Find gives what is known of a reply that was not positive: the category, and
// what an administrator can do about it.
func Find(r relay.Reply) Rule {
	if c := ours(r); c != "" {
		return Rule{Category: c}
	}
	text := address.ReplaceAllString(strings.ToLower(r.Text), "@") // its words are anybody's choice
	for i := range table() {
		if u := &table()[i]; u.provider == "" && u.fits(r, text) {
			if passedOver(u.Category, r, text) {
				continue
			}
			if u.Category == BadAddress && r.Stage == relay.StageMail { // it is about the sender (RFC 5321 §3.3)
				return Rule{Category: SenderAuth}
			}
			return *u
		}
	}
	return Rule{Category: Other}
}

var address = regexp.MustCompile(`[^\s<>()\[\]"':;,=]*@([a-z0-9-]+\.)*[a-z0-9-]+`)

// passedOver says whether a reply that has a sign of a category speaks of something
// else.
func passedOver(c Category, r relay.Reply, text string) bool {
	return slices.ContainsFunc(table(), func(u Rule) bool { return u.provider == except && u.Category == c && u.fits(r, text) })
}

// OfSender gives a reply to RCPT that misses a mailbox, and names the sender but
// not the recipient, the stage that it is about: a server that looked for the sender
// says nothing of the recipient.
func OfSender(r relay.Reply, sender, recipient string) relay.Reply {
	if r.Stage != relay.StageRcpt || sender == "" || !mentions(r, strings.ToLower(sender)) || mentions(r, strings.ToLower(recipient)) {
		return r
	}
	if Classify(r) == BadAddress {
		r.Stage = relay.StageMail
	}
	return r
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
