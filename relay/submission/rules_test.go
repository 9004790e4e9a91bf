package submission_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/accept/accepttest"
	"dawk/relay/identity"
	"dawk/relay/submission"
)

// A refusal before the content is the answer to DATA or MAIL; one while it
// comes is the answer to its end. The session goes on.
func TestNoSpaceOverSMTP(t *testing.T) {
	q := &accepttest.Queue{NoDraft: relay.ErrNoSpace}
	f := start(t, options{listener: trusted(), queue: q})
	f.play(hello + envel + `=> "DATA\r\nMAIL FROM:<evil@example.org>\r\n.\r\n"` + "\n<- 452 4.3.1\n<- EOF") // content without waiting
	c := f.play(hello + envel + "-> DATA\n<- 452 4.3.1\n" + envel)
	q.Lock()
	q.NoDraft, q.NoWrite = nil, relay.ErrNoSpace
	q.Unlock()
	f.more(c, data+"-> "+strings.Repeat("x", 900)+"\n-> .\n<- 452 4.3.1")
	q.Lock()
	q.NoWrite, q.NoRoom = nil, fmt.Errorf("%w: little is left", relay.ErrNoSpace)
	q.Unlock()
	f.more(c, "-> MAIL FROM:<a@example.org>\n<- 452 4.3.1 no space for new mail now, try again later")
	q.Lock()
	q.NoRoom = errors.New("secret")
	q.Unlock()
	f.more(c, "-> MAIL FROM:<a@example.org>\n<- 451 4.3.0 local trouble, try again later")
	q.Lock()
	q.NoRoom = nil
	q.Unlock()
	f.more(c, envel+data+"-> x\n-> .\n<- 250 2.0.0 queued as")
	if e := f.seen.Of(relay.EventAccepted); len(e) != 1 || e[0].Count != 1 || e[0].ID.IsZero() {
		t.Errorf("%+v", e)
	}
}

// A panic ends its connection with 421, and no other.
func TestPanic(t *testing.T) {
	q := &accepttest.Queue{}
	f := start(t, options{listener: trusted(), queue: q})
	other := f.play(hello + envel)
	q.Lock()
	q.Panics = true
	q.Unlock()
	f.play(hello + envel + data + "-> x\n-> .\n<- 421\n<- EOF")
	q.Lock()
	q.Panics = false
	q.Unlock()
	f.more(other, data+"-> x\n-> .\n<- 250")
}

// TestSendersOfAListener bind whoever needs no login there, and nobody who has
// one.
func TestSendersOfAListener(t *testing.T) {
	l := trusted()
	l.AuthWithoutTLS, l.Auth = true, "optional"
	printer, err := identity.ParseSender("printer@example.net")
	check(t, err)
	l.PerClient.Senders = []identity.Sender{printer}
	f := start(t, options{listener: l})
	f.play(hello + `-> EHLO client.example.com
		<- 250
		-> MAIL FROM:<a@example.org>
		<- 550 5.7.1 your address may not send as <a@example.org>
		-> MAIL FROM:<>
		<- 250
		-> RCPT TO:<b@example.com>
		<- 250
		-> DATA
		<- 354
		-> From: a@example.org
		->
		-> .
		<- 550 5.7.1 your address may not send as <a@example.org>, who stands in the field From
		-> AUTH PLAIN AGFsaWNlAHNlY3JldA==
		<- 235
		-> MAIL FROM:<a@example.org>
		<- 250
		-> QUIT
		<- 221`)
	var none submission.Listener
	if none.PerClient.Restricts() {
		t.Error("no rules restrict")
	}
}
