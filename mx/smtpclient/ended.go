package smtpclient

import (
	"errors"
	"os"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/replies"
)

// aboutSession says whether a refusal is about the dialogue and not about the mail: the server does
// not know a command that every server has to know (RFC 5321 §4.5.1), objects to the order of the
// commands (503), or wants EHLO first. If the status is about something else, or the text is about
// a mailbox or a rule, the server means something else by that code.
func aboutSession(r relay.Reply) bool {
	protocol := r.Status.IsZero() || r.Status.Subject == 5 || r.Status.Subject == 0
	switch {
	case r.Code/100 != 5:
		return false
	case missesHello(r):
		return true
	case r.Code == 503:
		return protocol
	case r.Code == 500, r.Code == 502:
		return protocol && (r.Status.Subject == 5 || replies.Classify(r) == replies.Other)
	}
	return false
}

// missesHello says whether a server wants EHLO or HELO first. A server that objects to the name in
// it means something else.
func missesHello(r relay.Reply) bool {
	text := strings.ToLower(r.Text)
	for _, hello := range []string{"ehlo", "helo"} {
		if slices.ContainsFunc([]string{hello + " first", "say " + hello, "send " + hello, "issue " + hello, "expected " + hello, "expecting " + hello},
			func(words string) bool { return strings.Contains(text, words) }) {
			return true
		}
	}
	return false
}

// ofEarlier notes an answer that is about earlier commands of the session: whatever its code, it is
// no verdict on the recipients that have none yet.
func (t *Transaction) ofEarlier(what string, r relay.Reply) {
	t.c.Last, t.Earlier = true, true
	t.Trouble = t.c.Named(relay.Failure(relay.StageMail, relay.Status{Class: 4, Subject: 5, Detail: 0},
		"the server refused %s: %s", what, r.String()))
}

// ofHistory says whether a server refuses to continue this session: too many errors, unknown
// recipients or messages. If there were none yet, it must mean something else.
func (t *Transaction) ofHistory(r relay.Reply) bool {
	if t.c.Served < 2 && !t.judged() || !replies.Reconnect(r) {
		return false
	}
	t.ofEarlier("more in this session", r)
	return true
}

// judged says whether a recipient has a verdict.
func (t *Transaction) judged() bool {
	return slices.ContainsFunc(t.Replies, func(r relay.Reply) bool { return !r.IsZero() })
}

// ended is the end of a transaction by a 421. If it says nothing about policy, the moment at which
// it comes shows how many recipients the server takes.
func (t *Transaction) ended(stage relay.Stage, r relay.Reply) {
	if t.ofHistory(r) {
		return
	}
	most, minds := replies.Recipients(r, len(t.Accepted))
	switch {
	case stage == relay.StageRcpt && (minds || r.Status.Subject != 7):
		t.Fewer = len(t.Accepted)
	case stage == relay.StageData && minds:
		t.Fewer = most
	}
	t.lost(r)
}

// cutOff learns from a connection that a server closed without a reply: the reason may be the
// number of recipients. If all were accepted, half of them may be few enough.
func (t *Transaction) cutOff(stage relay.Stage, err error) {
	if t.c.use.Ctx.Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errGarbled) {
		return
	}
	switch stage {
	case relay.StageRcpt:
		t.Fewer = len(t.Accepted)
	case relay.StageData:
		t.Fewer = len(t.Accepted) / 2
	}
}

// lost ends the transaction before the content was sent: the accepted recipients got nothing. If no
// recipient has a verdict yet, another host may be tried; this host is not offered any recipient
// again in this attempt.
func (t *Transaction) lost(r relay.Reply) {
	t.c.Dead = true
	if t.Earlier { // it closed for the reason that it gave then
		return
	}
	t.Trouble = r
	if len(t.Accepted) == 0 && !t.judged() && hostTrouble(r) {
		return
	}
	for i := range t.Replies {
		if t.Replies[i].IsZero() {
			t.Replies[i] = r
		}
	}
}
