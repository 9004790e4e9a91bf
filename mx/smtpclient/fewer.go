package smtpclient

import (
	"dawk/relay"
	"dawk/relay/replies"
)

// tooMany says whether RCPT was refused for the number of recipients: this is how a 452 or 552 is
// read unless its status says otherwise. If a full mailbox was meant, the server refuses that
// recipient again when it comes first.
func (t *Transaction) tooMany(r relay.Reply) bool {
	if len(t.Accepted) == 0 {
		return false
	}
	count := r.Status.Subject == 5 && r.Status.Detail == 3
	if (r.Code == 452 || r.Code == 552) && (count || r.Status.IsZero()) {
		return true
	}
	_, says := replies.Recipients(r, len(t.Accepted)+1)
	return says
}

// fewer says whether a server objects to the number of recipients only after it has accepted them,
// at DATA or after the final dot. Then they have no verdict, and are sent again in smaller
// transactions: once in an attempt, since each time the whole content is sent. If the number is
// still too large they wait, and the next attempt begins with a smaller one.
func (t *Transaction) fewer(r relay.Reply) bool {
	most, minds := replies.Recipients(r, len(t.Accepted))
	if !minds {
		return false
	}
	t.Fewer = most
	if t.TooMany = !t.Split; t.Split {
		t.Trouble = t.c.Named(relay.Failure(r.Stage, relay.Status{Class: 4, Subject: 5, Detail: 3},
			"the server takes fewer recipients at a time, and at most %d are sent at a time from the next attempt on: %s", most, r.String()))
	}
	return true
}
