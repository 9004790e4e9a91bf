package bounce

import (
	"slices"
	"strings"

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

// Classify gives the category of a reply that was not positive: the first rule
// that fits. It looks at the stage, the enhanced status without its class, the
// code, and the words, which are matched in lower case.
func Classify(r relay.Reply) Category {
	status, text := subjectDetail(r.Status), strings.ToLower(r.Text)
	for i := range rules {
		if rules[i].fits(r, status, text) {
			return rules[i].category
		}
	}
	return Other
}

// subjectDetail is the status without its class, which says only how long the
// trouble lasts: "1.1"; "" when there is none.
func subjectDetail(s relay.Status) string {
	if s.IsZero() {
		return ""
	}
	return strings.TrimLeft(s.String(), "0123456789")[1:]
}

// rule fits when every condition that it has holds.
type rule struct {
	category Category
	stages   []relay.Stage
	cause    relay.Cause // what we make of it
	own      bool        // no server spoke
	codes    []int       // one of these
	status   []string    // one of these, without the class: "1.1", or "7." for a whole subject
	text     []string    // contains one of these; lower case
	not      []string    // contains none of these
}

func (u *rule) fits(r relay.Reply, status, text string) bool {
	return (!u.own || r.Code == 0) && (u.cause == "" || u.cause == r.Cause) &&
		(u.stages == nil || slices.Contains(u.stages, r.Stage)) &&
		(u.codes == nil || slices.Contains(u.codes, r.Code)) &&
		(u.status == nil || status != "" && slices.ContainsFunc(u.status, func(p string) bool { return matchStatus(p, status) })) &&
		(u.text == nil || containsAny(text, u.text)) &&
		!containsAny(text, u.not)
}

func matchStatus(pattern, status string) bool {
	if strings.HasSuffix(pattern, ".") {
		return strings.HasPrefix(status, pattern)
	}
	return status == pattern
}

// containsAny looks for the parts at the beginning of words, so that "rbl" is
// not found in the name of a host or a user.
func containsAny(text string, parts []string) bool {
	for _, p := range parts {
		for from := 0; ; {
			i := strings.Index(text[from:], p)
			if i < 0 {
				break
			}
			at := from + i
			if at == 0 || !isWord(p[0]) || !isWord(text[at-1]) {
				return true
			}
			from = at + 1
		}
	}
	return false
}

func isWord(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80 }
