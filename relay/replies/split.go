package replies

import (
	"strconv"
	"strings"

	"dawk/relay"
)

// Causes of rules for replies that mind how the mail is sent. Replies do not keep them.
const (
	CauseSplit     relay.Cause = "split"     // the number of recipients in a transaction
	CauseReconnect relay.Cause = "reconnect" // the number of messages in a session
)

// Reconnect says whether a server minds the number of messages in a session, so
// that the one it refused may go on a new connection.
func Reconnect(r relay.Reply) bool { return r.Code >= 400 && Find(r).Cause == CauseReconnect }

// Recipients is how many recipients a server takes at a time, that had so many
// in a transaction and answered with r; ok is false if it minds something else.
func Recipients(r relay.Reply, had int) (most int, ok bool) {
	if had < 2 || r.Code < 400 || Find(r).Cause != CauseSplit {
		return 0, false
	}
	// The number is in many of these replies, beside others: the largest that is
	// less than what it had, and not absurdly so.
	for _, word := range strings.FieldsFunc(r.Text, func(c rune) bool { return c < '0' || c > '9' }) {
		if n, err := strconv.Atoi(word); err == nil && n < had && n >= had/8 {
			most = max(most, n)
		}
	}
	if most == 0 {
		most = had / 2
	}
	return most, true
}
