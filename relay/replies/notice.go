package replies

import (
	"regexp"

	"dawk/relay"
)

// InTransaction says whether a server said it to a command of a transaction.
func InTransaction(r relay.Reply) bool {
	switch r.Stage {
	case relay.StageMail, relay.StageRcpt, relay.StageData, relay.StageBody:
		return true
	}
	return false
}

// Nowhere says whether a reply means that no way leads to a recipient.
func Nowhere(r relay.Reply) bool {
	return r.Permanent() && r.Stage == relay.StageRcpt && Classify(r) == BadAddress
}

var noSender = regexp.MustCompile(`(?i)<>|\bmail from null` +
	`|\b(blank|null|empty|missing|without an?) (envelope )?(sender|mail from|(return|reverse)[ -]?path)` +
	`|\b(blank|null|empty) (envelope )?from|\b(no|(specify|provide|requires?|needs?|want) an?) (valid )?(envelope )?(sender|(return|reverse)[ -]?path)\b` +
	`|\b(sender|(return|reverse)[ -]?path)( address)? (is |cannot be |can't be |must not be |may not be )?(blank|null|empty|missing|required|not (specified|given|set))` +
	`|\bbounces?( messages?| mail)? (is |are )?(not |rejected|refused|prohibited)`)

// WantsSender says whether a server refused mail without a sender for that, and
// so will refuse the next. At MAIL there is little else to refuse, unless the
// reply says what: the size, our login or account, our address, TLS, or the
// server's own trouble. Later the status or the words are about the sender.
func WantsSender(r relay.Reply) bool {
	switch {
	case !r.Permanent():
		return false
	case r.Stage == relay.StageMail && noSender.MatchString(r.Text):
		return true
	case r.Stage == relay.StageMail:
		switch Classify(r) {
		case TooBig, Login, TLS, Spam, RateLimited, ServerTrouble:
			return false
		}
		return Account(ProviderOther, false, r).Cause == ""
	case InTransaction(r):
		about := r.Status.Subject == 1 && (r.Status.Detail == 7 || r.Status.Detail == 8) // RFC 3463: the sender's address
		return about || noSender.MatchString(r.Text)
	}
	return false
}

// MayWantSender says whether a refusal of mail without a sender may be for that: it
// does not tell another reason. Mail with a sender is then worth a try.
func MayWantSender(r relay.Reply) bool {
	if !r.Permanent() || !InTransaction(r) {
		return false
	}
	switch Classify(r) {
	case Policy, SenderAuth, Other:
		return true
	}
	return WantsSender(r)
}
