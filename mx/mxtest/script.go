package mxtest

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Event is a moment of a session at which a script may act.
type Event string

// The events. EventBody is after the 354, before the content is read;
// EventDot is after the final dot; EventTLS is between the 220 to STARTTLS and
// the handshake.
const (
	EventConnect  Event = "connect"
	EventEHLO     Event = "ehlo"
	EventHELO     Event = "helo"
	EventSTARTTLS Event = "starttls"
	EventTLS      Event = "tls"
	EventAUTH     Event = "auth"
	EventMAIL     Event = "mail"
	EventRCPT     Event = "rcpt"
	EventRSET     Event = "rset"
	EventDATA     Event = "data"
	EventBody     Event = "body"
	EventDot      Event = "dot"
	EventQUIT     Event = "quit"
)

var events = []Event{EventConnect, EventEHLO, EventHELO, EventSTARTTLS, EventTLS, EventAUTH, EventMAIL,
	EventRCPT, EventRSET, EventDATA, EventBody, EventDot, EventQUIT}

// rule is one line of a script.
type rule struct {
	event Event
	glob  string // of the mailbox of MAIL or RCPT; "" matches all
	times int    // left; below 0: for ever
	action
}

// action is what is done instead of the usual.
type action struct {
	delay time.Duration // first
	slow  time.Duration // between octets of the reply
	verb  string        // "reply", "raw", "drop", "reset", "halfclose", "stall", "noread", "endless", "accept"
	text  string        // of reply and raw
	close bool          // after the reply
}

// takes says whether the message is the server's, if it acts so on the final dot.
func (a action) takes() bool { return a.verb != "reply" || a.text[0] == '2' }

// parseRule reads the arguments of Server.Script.
func parseRule(match, act string, times int) (rule, error) {
	r := rule{times: times}
	if times <= 0 {
		r.times = -1
	}
	event, glob, _ := strings.Cut(match, ":")
	for _, e := range events {
		if string(e) == event {
			r.event = e
		}
	}
	if r.event == "" {
		return rule{}, fmt.Errorf("script: %q is not an event: it is one of %v", event, events)
	}
	if strings.HasPrefix(glob, "@") {
		glob = "*" + glob
	}
	if _, err := path.Match(glob, ""); err != nil {
		return rule{}, fmt.Errorf("script: pattern %q: %w", glob, err)
	}
	r.glob = strings.ToLower(glob)
	var err error
	r.action, err = parseAction(act)
	return r, err
}

var replyLine = regexp.MustCompile(`^[0-9]{3}( |$)`)

func parseAction(s string) (a action, err error) {
	for {
		word, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
		switch word {
		case "delay", "slow":
			d, rest, _ := strings.Cut(rest, " ")
			t, err := time.ParseDuration(d)
			if err != nil {
				return action{}, fmt.Errorf("script: %q: %w", s, err)
			}
			if word == "delay" {
				a.delay = t
			} else {
				a.slow = t
			}
			s = rest
			continue
		case "close":
			a.close, s = true, rest
			continue
		case "", "accept":
			a.verb = "accept"
			return a, nil
		case "drop", "reset", "halfclose", "stall", "noread", "endless":
			a.verb = word
			return a, nil
		case "raw":
			a.verb, a.text = "raw", rest
			if u, err := strconv.Unquote(rest); err == nil {
				a.text = u
			}
			return a, nil
		}
		if !replyLine.MatchString(s) {
			return action{}, fmt.Errorf("script: %q is neither a reply nor one of accept, drop, reset, halfclose, stall, noread, endless, raw, delay, slow, close", s)
		}
		a.verb, a.text = "reply", formatReply(s)
		a.close = a.close || strings.HasPrefix(s, "421")
		return a, nil
	}
}

// formatReply makes "550 5.1.1 no\nsuch user" a reply of two lines.
func formatReply(s string) string {
	s = strings.ReplaceAll(s, `\n`, "\n")
	code, lines := s[:3], strings.Split(strings.TrimPrefix(s[3:], " "), "\n")
	var b strings.Builder
	for i, line := range lines {
		switch {
		case i < len(lines)-1:
			b.WriteString(code + "-" + line + "\r\n")
		case line == "":
			b.WriteString(code + "\r\n")
		default:
			b.WriteString(code + " " + line + "\r\n")
		}
	}
	return b.String()
}

func (r *rule) matches(e Event, mailbox string) bool {
	if r.event != e || r.times == 0 {
		return false
	}
	if r.glob == "<>" { // mail without a sender
		return mailbox == ""
	}
	ok, _ := path.Match(r.glob, strings.ToLower(mailbox))
	return r.glob == "" || ok
}
