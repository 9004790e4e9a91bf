package replies

import (
	"slices"

	"dawk/relay"
)

// Category is what a reply means, in a few stable words: a label of metrics,
// the key of the words in notices and in `dawk why`. Names are never reused
// with another meaning.
type Category string

// The categories.
const (
	BadAddress      Category = "bad_address"      // no such mailbox
	BadDomain       Category = "bad_domain"       // the domain does not exist or takes no mail
	MailboxFull     Category = "mailbox_full"     // quota
	MailboxDisabled Category = "mailbox_disabled" // exists, takes no mail now
	TooBig          Category = "too_big"          // larger than the receiver allows
	Spam            Category = "spam"             // content or our address looks like spam to them
	SenderAuth      Category = "sender_auth"      // SPF, DKIM, DMARC or reverse DNS of the sending side
	Policy          Category = "policy"           // another rule of theirs, or of ours
	Content         Category = "content"          // malformed, or of a kind that they do not take
	RateLimited     Category = "rate_limited"     // too much at a time
	Greylisted      Category = "greylisted"       // come back later
	Login           Category = "login"            // our own login at the smart host
	TLS             Category = "tls"              // no encryption, or not a good enough one
	DNS             Category = "dns"              // lookups do not answer
	Connection      Category = "connection"       // not reached, cut, or silent
	Loop            Category = "loop"             // the message goes in circles
	ServerTrouble   Category = "server_trouble"   // something is broken over there
	Expired         Category = "expired"          // out of time, and no better reason is known
	Operator        Category = "operator"         // the administrator of this relay decided it
	Damaged         Category = "damaged"          // this relay's own disk lost, spoilt or cannot read the message
	Other           Category = "other"            // no rule knows
)

// Categories are all categories, in the order of the documentation.
func Categories() []Category {
	return []Category{BadAddress, BadDomain, MailboxFull, MailboxDisabled, TooBig, Spam, SenderAuth, Policy,
		Content, RateLimited, Greylisted, Login, TLS, DNS, Connection, Loop, ServerTrouble, Expired, Operator, Damaged, Other}
}

// ours is the category of what is known without reading words: by the stage, by
// our own decision, or because no server spoke. "" where the table has to tell.
func ours(r relay.Reply) Category {
	switch {
	case r.Stage == relay.StageAuth:
		return Login
	case r.Stage == relay.StageTLS:
		return TLS
	case r.Cause == relay.CauseOperator:
		return Operator
	case r.Cause == relay.CauseDamage:
		return Damaged
	case r.Cause == relay.CauseSuppressed:
		return Policy
	case r.Cause == relay.CauseThrottle:
		return RateLimited
	case r.Code == 0:
		return silent(r)
	}
	return ""
}

// silent is the category of what happened without a server's word.
func silent(r relay.Reply) Category {
	status := relay.Status{Subject: r.Status.Subject, Detail: r.Status.Detail}.String()
	switch {
	case status == "0.4.6":
		return Loop
	case status == "0.1.2", status == "0.1.10", status == "0.4.4":
		return BadDomain
	case r.Stage == relay.StageDNS, status == "0.4.3":
		return DNS
	case status == "0.4.7":
		return Expired
	case slices.Contains([]string{"0.7.4", "0.7.5", "0.7.10", "0.7.11", "0.7.30"}, status):
		return TLS
	case r.Status.Subject == 6:
		return Content
	case r.Stage != relay.StageRoute && r.Stage != "":
		return Connection
	}
	return ""
}
