// Package notice reads what comes back to a return address: notices about deliveries (RFC
// 3464, RFC 6522, RFC 6533) and those that programs write in words of their own, reports of
// complaints (RFC 5965), and answers of machines. It is pure, bounded in what it reads, and
// takes any octets. Begin reading at Read.
package notice

import (
	"regexp"
	"strings"

	"dawk/relay"
	"dawk/relay/replies"
)

// Kind is what a message is.
type Kind int

// The kinds.
const (
	Unknown    Kind = iota // nothing that is understood
	Failed                 // the mail did not arrive
	Delayed                // it is still under way
	Arrived                // it was delivered, relayed or expanded
	Complained             // the recipient called it unwanted
	Automatic              // an answer of a machine: an absence, a question whether the sender is a person
)

func (k Kind) String() string {
	return [...]string{"unknown", "failed", "delayed", "arrived", "complained", "automatic"}[k]
}

// Notice is what a message says.
type Notice struct {
	Kind       Kind
	Recipients []Recipient // that it names; none where it names nobody
	Addresses  []string    // return addresses in what a report of a complaint encloses
}

// Recipient is one recipient of the mail that the message is about.
type Recipient struct {
	Address  string // as the notice has it
	Original string // as the sender wrote it, if the notice says so
	Kind     Kind
	Reply    relay.Reply // of class 4 or 5: what was said, with the status that the notice gives
	Category replies.Category
}

// Sent is the address that the sender wrote, as far as the notice tells it.
func (r *Recipient) Sent() string {
	if r.Original != "" {
		return r.Original
	}
	return r.Address
}

// About is what the notice says of a recipient: by its name, else of the only one that
// failed, else of the first that did.
func (n *Notice) About(address string) Recipient {
	var failed *Recipient
	for i := range n.Recipients {
		r := &n.Recipients[i]
		if r.Kind != Failed {
			continue
		}
		if strings.EqualFold(r.Address, address) || strings.EqualFold(r.Original, address) {
			return *r
		}
		if failed == nil {
			failed = r
		}
	}
	if failed != nil {
		return *failed
	}
	return Recipient{Address: address, Kind: Failed, Category: replies.Other}
}

// Read reads a message.
func Read(message []byte) (n Notice) {
	m := parse(message)
	defer func() { n.Recipients = n.Recipients[:min(len(n.Recipients), maxRecipients)] }()
	if c := m.find(isFeedback); c != nil {
		return m.complaint(c)
	}
	if s := m.find(isStatus); s != nil {
		if n := m.status(s); n.Kind != Unknown {
			return n
		}
	}
	if m.kind == "multipart/mixed" && m.params["report-type"] != "" { // a gateway has put the notice into a message of its own
		if inner := m.find(isMessage); inner != nil {
			if p := parse(inner.body); p.kind == "multipart/report" {
				if s := p.find(isStatus); s != nil {
					return p.status(s)
				}
			}
		}
	}
	if at := looseStatus.FindStringIndex(m.readable()); at != nil { // somebody has taken its parts apart
		if n := m.status(&part{body: []byte(m.readable()[at[0]:])}); n.Kind != Unknown {
			return n
		}
	}
	if strings.HasPrefix(strings.ToLower(m.header["subject"]), "complaint about message from ") && m.returned() != nil { // Hotmail's, older than RFC 5965
		return m.complaint(&part{})
	}
	if m.automatic() {
		return Notice{Kind: Automatic}
	}
	return m.words()
}

var looseStatus = regexp.MustCompile(`(?mi)^Reporting-MTA:[^\n]+\n(?:[^\n]*\n){0,12}?Final-Recipient:`)

// Bounds of what is read.
const (
	maxParts      = 64
	maxDepth      = 6
	maxDecoded    = 1 << 20 // octets of one part
	maxRecipients = 100
	maxLines      = 2000 // of words
)

// classify completes a recipient of whom a notice says words. more are other words of the
// notice, for where these tell too little.
func (r *Recipient) classify(more string) {
	if r.Reply.Code == 0 {
		r.Reply.Code = 550
		if r.Reply.Status.Class == 4 {
			r.Reply.Code = 450
		}
	}
	r.Reply.Stage = relay.StageRcpt
	r.Reply.Text = relay.Sanitize(r.Reply.Text)
	for _, w := range sureWords {
		if w.words.MatchString(r.Reply.Text) {
			r.Category = w.category
			return
		}
	}
	if r.Category = replies.Classify(r.Reply); vague(r.Category) && more != "" {
		other := r.Reply
		other.Text = relay.Sanitize(more)
		if c := replies.Classify(other); !vague(c) && (c != replies.ServerTrouble || r.Category != replies.Policy) {
			r.Category = c
		}
	}
	if vague(r.Category) || r.Category == replies.ServerTrouble || r.Category == replies.RateLimited {
		for _, w := range plainWords {
			if w.words.MatchString(r.Reply.Text) || vague(r.Category) && w.words.MatchString(more) {
				r.Category = w.category
				break
			}
		}
	}
	if r.Category == replies.Other && r.Reply.Code/100 == 4 {
		r.Category = replies.Expired // tried for long, and given up
	}
}

func vague(c replies.Category) bool {
	return c == replies.Other || c == replies.Policy || c == replies.Expired
}

// wordsFor are words with the category that they mean.
type wordsFor struct {
	words    *regexp.Regexp
	category replies.Category
}

// sureWords go before what a reply means as one of a server to us.
var sureWords = []wordsFor{
	{regexp.MustCompile(`(?i)name service error.*(try again|malformed|time)`), replies.DNS},
	{regexp.MustCompile(`(?i)mailbox exceeds allowed size|exceed (the )?mailbox quota`), replies.MailboxFull},
	{regexp.MustCompile(`(?i)envelope expired|(after|failed) (\w+ )?multiple retries|has not been collected|could not deliver for the last|maximum delivery attempts|failing for a long time|aborted after [0-9.]+ hour|could not find a gateway`), replies.Expired},
	{regexp.MustCompile(`(?i)did not accept our requests to connect|network error on destination`), replies.Connection},
	{regexp.MustCompile(`(?i)no MX record found|indicated no SMTP service`), replies.BadDomain},
}

// plainWords are what programs write to people, which no server says in a reply.
var plainWords = []wordsFor{
	{regexp.MustCompile(`(?i)quota|(mail ?(box|folder)|inbox) is full|over its limit|insufficient (disk )?space`), replies.MailboxFull},
	{regexp.MustCompile(`(?i)does(n't| not) have an? [^ ]{1,60} account|not listed in|did not exactly match|no matches to nameserver query|recipient name is not recognized|user (is )?not (known|found)|unknown user|user unknown|no such (user|person|mailbox|recipient)|address(ee)? (is )?(wrong|unknown|invalid|not valid|no longer valid)|no longer valid|no (such )?mailbox|account (does not|doesn't) exist|addressee unknown|unrouteable address|mailbox unavailable|unknown (address|recipient)|invalid recipient|not a valid|invalid final delivery|n'existe pas`), replies.BadAddress},
	{regexp.MustCompile(`(?i)too many hops|looping|mail loop`), replies.Loop},
	{regexp.MustCompile(`(?i)(exceed|larger than|over)[^.]{0,40}(maximum|limit|allowed)[^.]{0,30}(size)|message (is )?too (big|large)|size limit`), replies.TooBig},
	{regexp.MustCompile(`(?i)unknown host|host (unknown|not found)|no such (domain|host)|domain [^ ]{0,80} ?not found`), replies.BadDomain},
	{regexp.MustCompile(`(?i)\bvirus(es)?\b|prohibited attachment|no [a-z-]+ field given`), replies.Content},
	{regexp.MustCompile(`(?i)does not have a final e-?mail`), replies.MailboxDisabled},
	{regexp.MustCompile(`(?i)unable to relay|not a member of this mailing list|groups\.google\.com/support|not accepting mail from|refuse(s|d)? (mail|messages) from`), replies.Policy},
	{regexp.MustCompile(`(?i)delivery time ?(was )?(expired|out)|too long in the queue|not been collected|retry timeout|maximum delivery attempts|maximum-time-expired|failed \d+ attempts`), replies.Expired},
	{regexp.MustCompile(`(?i)(unable|wasn't able|not able) to (connect|establish|reach)|connection (refused|timed out|to mail exchanger failed)|did not respond|not reachable|is not responding`), replies.Connection},
	{regexp.MustCompile(`(?i)encountered an error while|command died with`), replies.ServerTrouble},
}
