package bounce

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"time"

	"dawk/relay"
)

// Bounds of the human-readable part; the machine-readable one is complete.
const (
	maxInline  = 3  // recipients named in the sentence itself
	maxNamed   = 20 // recipients listed below it
	maxSaid    = 5  // different replies quoted for one paragraph
	maxSubject = 120
	textWidth  = 72
)

// writeText writes what people read: first who did not get what, why, and
// what to do; then the receiver's words; then the details.
func writeText(b *bytes.Buffer, c Config, r Report, o original, p part) {
	subject := subjectOf(o)
	groups := groupOutcomes(r)
	for i, g := range groups {
		if i > 0 {
			b.WriteString("\r\n")
		}
		wrap(b, "", paragraph(c, r, g, subject))
		writeNames(b, r, g)
		writeSaid(b, g)
	}
	m := r.Message
	b.WriteString("\r\nDetails\r\n")
	if subject != "" {
		wrap(b, "  ", "Subject: "+subject)
	}
	if id := messageIDOf(m.MessageID); id != "" {
		wrap(b, "  ", "Message-ID: "+id)
	}
	if !m.Arrival.IsZero() {
		wrap(b, "  ", "Accepted: "+date(m.Arrival))
	}
	if !r.LastAttempt.IsZero() {
		wrap(b, "  ", "Last attempt: "+date(r.LastAttempt))
	}
	wrap(b, "  ", "Queue ID: "+m.ID.String()+" at "+c.Hostname)
	b.WriteString("\r\n")
	wrap(b, "", "This notice was written by the mail system of "+c.Hostname+". "+attached(p))
}

func attached(p part) string {
	switch {
	case p.body == nil:
		return "The message is not attached."
	case p.whole:
		return "The message is attached."
	}
	return "The header of the message is attached."
}

// group is outcomes that one paragraph can tell.
type group struct {
	action   relay.Action
	category Category
	outcomes []relay.Outcome
}

// groupOutcomes puts together what happened alike, in the order of the first.
func groupOutcomes(r Report) []group {
	var groups []group
next:
	for _, o := range r.Outcomes {
		var c Category
		if action, _ := actionStatus(o); action == relay.ActionFailed || action == relay.ActionDelayed {
			c = Classify(o.Reply)
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
func paragraph(c Config, r Report, g group, subject string) string {
	what := "Your message"
	if r.Kind == KindDoubleBounce {
		what = "A message without a return address"
		if r.Message.Notice {
			what = "A notice of this mail system"
		}
	}
	if subject != "" {
		what += ` "` + subject + `"`
	}
	whom, w := whom(r, g), WordsFor(g.category)
	switch g.action {
	case relay.ActionDelayed:
		s := fmt.Sprintf("%s has not reached %s yet, because %s. There is nothing you need to do: we go on trying", what, whom, w.Why)
		if !r.Until.IsZero() {
			s += " until " + date(r.Until)
		}
		return s + ", and tell you if we have to give up."
	case relay.ActionRelayed:
		return fmt.Sprintf("%s was handed on for %s to %s, which does not confirm deliveries. You will hear of it again only if it comes back.",
			what, whom, hostOf(g.outcomes[0].Reply))
	case relay.ActionDelivered, relay.ActionExpanded:
		return fmt.Sprintf("%s was delivered to %s.", what, whom)
	}
	s := fmt.Sprintf("%s was not delivered to %s, because %s.", what, whom, w.Why)
	if g.action == relay.ActionExpired {
		s = fmt.Sprintf("%s could not be delivered to %s within %s, because %s. We have stopped trying.",
			what, whom, span(r.Now.Sub(r.Message.Arrival)), w.Why)
	}
	if r.Kind == KindDoubleBounce {
		return s + fmt.Sprintf(" You are told as the postmaster of %s; nobody else hears of it.", c.Hostname)
	}
	return s + " " + w.Do
}

func whom(r Report, g group) string {
	n := len(g.outcomes)
	if n > maxInline {
		return fmt.Sprintf("%d recipients", n)
	}
	names := make([]string, n)
	for i, o := range g.outcomes {
		names[i] = address(r.Message.Recipients[o.Recipient].Path)
	}
	if n == 1 {
		return names[0]
	}
	return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
}

func hostOf(r relay.Reply) string {
	if v, ok := strings.CutPrefix(remoteMTA(r), "dns; "); ok {
		return v
	}
	return "the next mail system"
}

// address is a path as people write it, the domain in its own script.
func address(p relay.Path) string {
	return clean(strings.TrimSuffix(p.String(), p.Domain()) + p.UDomain())
}

// writeNames lists the recipients of a group that has too many for a sentence.
func writeNames(b *bytes.Buffer, r Report, g group) {
	if len(g.outcomes) <= maxInline {
		return
	}
	b.WriteString("\r\n")
	for i, o := range g.outcomes {
		if i == maxNamed {
			wrap(b, "    ", fmt.Sprintf("and %d more, named in the second part of this notice", len(g.outcomes)-i))
			break
		}
		wrap(b, "    ", address(r.Message.Recipients[o.Recipient].Path))
	}
}

// writeSaid quotes the replies of a group, each once and indented, so that no
// line of a stranger begins at the margin.
func writeSaid(b *bytes.Buffer, g group) {
	seen := map[string]bool{}
	for _, o := range g.outcomes {
		words := said(o.Reply)
		if words == "" || o.Reply.Positive() || seen[o.Reply.MTA+words] {
			continue
		}
		if len(seen) == maxSaid {
			wrap(b, "  ", "Further answers are in the second part of this notice.")
			return
		}
		seen[o.Reply.MTA+words] = true
		b.WriteString("\r\n")
		switch host := hostOf(o.Reply); {
		case o.Reply.Code == 0:
			wrap(b, "  ", "What we found:")
		default:
			wrap(b, "  ", "The words of "+host+":")
		}
		wrap(b, "    ", words)
	}
}

// subjectOf is the original's Subject for people to recognise it by: decoded
// (RFC 2047), cleaned and bounded.
func subjectOf(o original) string {
	s := o.field("Subject")
	var d mime.WordDecoder
	if v, err := d.DecodeHeader(s); err == nil {
		s = v
	}
	s = strings.ReplaceAll(clean(s), "=?", "= ?") // or it would be decoded once more
	if len(s) > maxSubject {
		s = strings.TrimSpace(s[:cutAt(s, maxSubject)]) + "..."
	}
	return s
}

// noticeSubject is the Subject of the notice itself, unencoded.
func noticeSubject(r Report, o original) string {
	what := map[Kind]string{KindFailed: "Not delivered", KindDelayed: "Delayed", KindRelayed: "Handed on",
		KindDoubleBounce: "Undeliverable notice"}[r.Kind]
	if r.Kind == KindRelayed && r.Outcomes[0].Action != relay.ActionRelayed {
		what = "Delivered"
	}
	if s := subjectOf(o); s != "" {
		return what + ": " + s
	}
	return what + ": your message of " + r.Message.Arrival.Format(time.DateOnly)
}

// wrap writes text as lines of textWidth with an indent. No line is longer
// than RFC 5322 allows, whatever the words.
func wrap(b *bytes.Buffer, indent, text string) {
	column := 0
	for _, word := range strings.Fields(text) {
		if column > 0 && column+1+len(word) > textWidth {
			b.WriteString("\r\n")
			column = 0
		}
		for ; len(word) > maxLine-100; column = 0 {
			cut := cutAt(word, maxLine-100)
			b.WriteString(indent + word[:cut] + "\r\n")
			word = word[cut:]
		}
		if column == 0 {
			b.WriteString(indent)
			column = len(indent)
		} else {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	b.WriteString("\r\n")
}
