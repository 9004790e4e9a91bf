package bounce

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"
	"unicode/utf8"

	"dawk/relay"
	"dawk/relay/replies"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
)

// Bounds of the human-readable part; the machine-readable one is complete.
const (
	maxInline  = 3  // recipients named in the sentence itself
	maxNamed   = 20 // recipients listed below it
	maxSaid    = 5  // different replies quoted for one paragraph
	maxSubject = 120
	textWidth  = 72
)

// writeText writes the part for people: first who did not get what, why, and what to do; then the
// receiver's words; then the details.
func writeText(b *bytes.Buffer, c Config, l *language, r Report, o original, p part) {
	subject := subjectOf(o)
	groups := groupOutcomes(r)
	for i, g := range groups {
		if i > 0 {
			b.WriteString("\r\n")
		}
		wrap(b, "", paragraph(c, l, r, g, subject))
		writeNames(b, l, r, g)
		writeSaid(b, l, g)
	}
	if r.Kind == KindDoubleBounce && r.Message.Notice { // the postmaster gets the text of the notice that reached nobody
		writeNotice(b, l, r.Content)
	}
	b.WriteString("\r\n")
	writeDetails(b, c, l, r, subject)
	b.WriteString("\r\n")
	wrap(b, "", sentences(l.say("footer", "host", c.Hostname), l.say(attached(p))))
}

func writeDetails(b *bytes.Buffer, c Config, l *language, r Report, subject string) {
	m := r.Message
	wrap(b, "", l.say("details.title"))
	detail := func(key, value string) {
		if value != "" {
			wrap(b, "  ", l.say("details."+key, "value", value, "host", c.Hostname))
		}
	}
	detail("subject", subject)
	detail("message_id", messageIDOf(m.MessageID))
	if !m.Arrival.IsZero() {
		detail("accepted", l.date(m.Arrival))
	}
	if at := r.lastAttempt(); !at.IsZero() {
		detail("last_attempt", l.date(at))
	}
	detail("queue_id", m.ID.String())
}

func attached(p part) string {
	switch {
	case p.body == nil:
		return "attached.none"
	case p.whole:
		return "attached.whole"
	}
	return "attached.header"
}

// group is outcomes that one paragraph can report.
type group struct {
	action   relay.Action
	category replies.Category
	outcomes []relay.Outcome
}

// groupOutcomes puts equal outcomes together, in the order of the first of each.
func groupOutcomes(r Report) []group {
	var groups []group
next:
	for _, o := range r.Outcomes {
		var c replies.Category
		if action, _ := actionStatus(o); action == relay.ActionFailed || action == relay.ActionDelayed {
			c = replies.Classify(o.Reply)
		}
		for i := range groups {
			if groups[i].action == o.Action && groups[i].category == c {
				groups[i].outcomes = append(groups[i].outcomes, o)
				continue next
			}
		}
		groups = append(groups, group{o.Action, c, []relay.Outcome{o}})
	}
	return groups
}

// paragraph is the plain-language sentence or two of a group.
func paragraph(c Config, l *language, r Report, g group, subject string) string {
	why, do := l.wordsFor(g.category)
	pairs := []string{"message", what(l, r, subject), "recipients", whom(l, r, g), "why", why,
		"host", hostOf(l, g.outcomes[0].Reply), "span", l.span(r.Now.Sub(r.Message.Arrival))}
	say := func(key string) string { return l.say(key, pairs...) }
	switch g.action {
	case relay.ActionDelayed:
		return sentences(append([]string{say("delayed")}, outlook(c, l, r)...)...)
	case relay.ActionRelayed, relay.ActionDelivered, relay.ActionExpanded:
		switch {
		case r.Kind == KindLate:
			return say("late")
		case g.action == relay.ActionRelayed:
			return say("relayed")
		}
		return say("delivered")
	}
	s := say("failed")
	if g.action == relay.ActionExpired {
		s = say("expired")
	}
	if r.Kind == KindDoubleBounce {
		return sentences(s, l.say("postmaster", "host", c.Hostname))
	}
	return sentences(s, do)
}

// sentences joins sentences in the way of their script.
func sentences(list ...string) string {
	var b strings.Builder
	for i, s := range list {
		if last, _ := utf8.DecodeLastRuneInString(b.String()); i > 0 && !wide(last) {
			b.WriteByte(' ')
		}
		b.WriteString(s)
	}
	return b.String()
}

// what is the message as the sentence calls it.
func what(l *language, r Report, subject string) string {
	switch {
	case r.Kind == KindDoubleBounce && r.Message.Notice:
		return l.say("message.notice")
	case r.Kind == KindDoubleBounce:
		return l.say("message.returnless")
	case subject == "":
		return l.say("message.untitled")
	}
	return l.say("message", "subject", subject)
}

// outlook is what a delay notice says about the next attempts.
func outlook(c Config, l *language, r Report) []string {
	s := []string{l.say("delayed.calm")}
	if !r.Until.IsZero() {
		s = append(s, l.say("delayed.until", "until", l.date(r.Until)))
	}
	if c.TellLate {
		return append(s, l.say("delayed.tell_end"))
	}
	return append(s, l.say("delayed.tell_failure"))
}

func whom(l *language, r Report, g group) string {
	n := len(g.outcomes)
	if n > maxInline {
		return l.say("recipients.many", "n", strconv.Itoa(n))
	}
	names := make([]string, n)
	for i, o := range g.outcomes {
		names[i] = address(r.Message.Recipients[o.Recipient].Path)
	}
	return l.list(names)
}

func hostOf(l *language, r relay.Reply) string {
	if v, ok := strings.CutPrefix(remoteMTA(r), "dns; "); ok {
		return v
	}
	return l.say("next_system")
}

// address is a path as people write it, the domain in its own script.
func address(p relay.Path) string {
	return clean(strings.TrimSuffix(p.String(), p.Domain()) + p.UDomain())
}

// writeNames lists the recipients of a group that has too many for a sentence.
func writeNames(b *bytes.Buffer, l *language, r Report, g group) {
	if len(g.outcomes) <= maxInline {
		return
	}
	b.WriteString("\r\n")
	for i, o := range g.outcomes {
		if i == maxNamed {
			wrap(b, "    ", l.say("names.more", "n", strconv.Itoa(len(g.outcomes)-i)))
			break
		}
		wrap(b, "    ", address(r.Message.Recipients[o.Recipient].Path))
	}
}

// writeSaid quotes the replies of a group, each once. They are indented, so a stranger's text
// cannot look like ours.
func writeSaid(b *bytes.Buffer, l *language, g group) {
	seen := map[string]bool{}
	for _, o := range g.outcomes {
		words := said(o.Reply)
		if words == "" || o.Reply.Positive() || seen[o.Reply.MTA+words] {
			continue
		}
		if len(seen) == maxSaid {
			wrap(b, "  ", l.say("said.more"))
			return
		}
		seen[o.Reply.MTA+words] = true
		b.WriteString("\r\n")
		if o.Reply.Code == 0 {
			wrap(b, "  ", l.say("said.found"))
		} else {
			wrap(b, "  ", l.say("said.words", "host", hostOf(l, o.Reply)))
		}
		wrap(b, "    ", words)
	}
}

// subjectOf is the original's Subject for people to recognise it by: decoded
// (RFC 2047), cleaned and bounded; "" when it is in a charset that we do not
// know.
func subjectOf(o original) string {
	s, ok := decodeWords(o.field("Subject"))
	if !ok {
		return ""
	}
	s = strings.ReplaceAll(clean(s), "=?", "= ?") // or it would be decoded again
	if len(s) > maxSubject {
		s = strings.TrimSpace(s[:relay.CutAt(s, maxSubject)]) + "..."
	}
	return s
}

// decodeWords undoes RFC 2047; false when a charset is unknown.
func decodeWords(s string) (string, bool) {
	d := mime.WordDecoder{CharsetReader: readCharset}
	v, err := d.DecodeHeader(s)
	if err != nil {
		return s, false
	}
	return v, true
}

// readCharset reads the charsets that package mime does not know.
func readCharset(charset string, in io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil || e == encoding.Replacement {
		return nil, fmt.Errorf("charset %q is unknown", relay.Clip(charset))
	}
	return e.NewDecoder().Reader(in), nil
}

// noticeSubject is the Subject of the notice itself, unencoded.
func noticeSubject(l *language, r Report, o original) string {
	key := "subject." + strings.ReplaceAll(string(r.Kind), "-", "_")
	if r.Kind == KindRelayed && r.Outcomes[0].Action != relay.ActionRelayed {
		key = "subject.delivered"
	}
	subject := subjectOf(o)
	if subject == "" {
		subject = l.say("subject.untitled", "day", l.day(r.Message.Arrival))
	}
	return l.say(key, "subject", subject)
}
