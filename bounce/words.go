package bounce

import (
	"fmt"
	"time"
)

// Words are what people are told about a category.
type Words struct {
	Why string // completes "... was not delivered, because"
	Do  string // what the sender can do
}

// WordsFor gives the words of a category in English.
func WordsFor(c Category) Words {
	if w, ok := english[c]; ok {
		return w
	}
	return english[Other]
}

// english is the one table of categories and words. Plain words: the reader
// sends mail, and has never heard of an MTA.
var english = map[Category]Words{
	BadAddress: {"there is no such mailbox at that address",
		"Check the address for typing errors, or ask the recipient for the right one."},
	BadDomain: {"the part of the address after the @ does not exist or takes no mail",
		"Check the address for typing errors, or ask the recipient for the right one."},
	MailboxFull: {"the recipient's mailbox is full",
		"Tell the recipient in another way, and send the message again later."},
	MailboxDisabled: {"the recipient's mailbox is switched off",
		"Reach the recipient in another way."},
	TooBig: {"the message is larger than the recipient's mail system takes",
		"Send it again with smaller or fewer attachments, or share the files in another way."},
	Spam: {"the recipient's mail system took it for unwanted mail",
		"Show this notice to your mail administrator. Sending the same message again will not help."},
	SenderAuth: {"the recipient's mail system could not verify that it came from your organisation",
		"Show this notice to your mail administrator: SPF, DKIM, DMARC or the reverse DNS name of the sending host is the matter."},
	Policy: {"a rule does not allow it",
		"The words below may tell which rule. If they do not help, show this notice to your mail administrator."},
	Content: {"its content or its form is not accepted there",
		"If it has an attachment, send it in another form. Otherwise show this notice to your mail administrator."},
	RateLimited: {"the recipient's mail system takes no more mail from us for now",
		"Send the message again later."},
	Greylisted: {"the recipient's mail system puts off mail from senders that it does not know yet",
		"Send the message again later."},
	Login: {"the next mail system did not accept us as its client",
		"Show this notice to your mail administrator: a login or a permission is the matter, not your message."},
	TLS: {"no sufficiently secure connection to the recipient's mail system was possible",
		"Show this notice to your mail administrator."},
	DNS: {"the recipient's mail system could not be looked up",
		"Check the part of the address after the @. If it is right, send the message again later."},
	Connection: {"the recipient's mail system could not be reached",
		"Check the part of the address after the @. If it is right, send the message again later."},
	Loop: {"it would have gone in circles between mail systems",
		"Show this notice to the mail administrator of the recipient, and to your own."},
	ServerTrouble: {"the recipient's mail system has trouble of its own",
		"Send the message again later."},
	Expired: {"its time was up before an attempt succeeded",
		"Send the message again later, or reach the recipient in another way."},
	Operator: {"the administrator of this mail system returned it",
		"Ask your mail administrator for the reason."},
	Other: {"the recipient's mail system did not accept it",
		"The words below may tell why. If they do not help, show this notice to your mail administrator."},
}

// span is a duration in the largest unit that keeps it exact enough.
func span(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "days"}, {time.Hour, "hours"}, {time.Minute, "minutes"}} {
		if n := (d + u.unit/10) / u.unit; n >= 2 {
			return fmt.Sprintf("%d %s", n, u.name)
		}
	}
	return "a minute"
}
