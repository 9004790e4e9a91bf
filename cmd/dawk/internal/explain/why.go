package explain

import (
	"fmt"
	"io"
	"strings"
	"time"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/history"
)

// Printer tells of messages and hosts.
type Printer struct{ *show.Printer }

func NewPrinter(w io.Writer, now time.Time) Printer { return Printer{show.NewPrinter(w, now)} }

// Why writes the whole answer: what is the matter first, the history below.
func (p Printer) Why(y *admin.Why) error {
	state := p.Paint(show.Yellow, y.State)
	if y.State == "finished" {
		state = p.Paint(show.Green, y.State)
	}
	p.Line("%s is %s.", p.Paint(show.Bold, y.ID.String()), state)
	p.head(y.From, y.Identity, y.Client, y.Protocol, y.MessageID, y.Arrival, y.Size, y.Notice)
	for i := range y.Waiting {
		p.waiting(&y.Waiting[i], y.To)
	}
	all := y.Timeline()
	p.title(len(all), "What happened")
	for _, h := range all {
		switch {
		case h.Notice == nil:
			p.ended(&h.Ended)
		case h.Notice.ID.IsZero():
			p.Line("  A notice (%s) is part of a later list, since its mailbox gets many, %s.", relay.Sanitize(h.Notice.Kind), p.When(h.At))
		default:
			p.Line("  A notice (%s) was queued as %s, %s.", relay.Sanitize(h.Notice.Kind), h.Notice.ID, p.When(h.At))
		}
	}
	if y.MoreEnded > 0 {
		p.Line("  and %s more", show.Plural(y.MoreEnded, "recipient"))
	}
	if y.State == "finished" && len(y.Ended) == 0 {
		p.Line("How it ended is not remembered; the log has its lines, under qid=%s.", y.ID)
	}
	p.transcripts(y.Transcripts)
	return p.Err
}

// transcripts writes what was said in sessions.
func (p Printer) transcripts(all []relay.Transcript) {
	mark := map[relay.Speaker]string{relay.SpokenByUs: ">", relay.SpokenByHost: "<", relay.SpokenNote: "-"}
	for _, t := range all {
		p.title(len(t.Lines), fmt.Sprintf("What was said in attempt %d, %s", t.Attempt, p.When(t.At)))
		if t.Omitted > 0 {
			p.Line("  (what was said before is not kept)")
		}
		for _, l := range t.Lines {
			p.Line("  %7.3fs %s %s", l.After.Duration().Seconds(), mark[l.By], relay.Sanitize(l.Text))
		}
	}
}

// title stands above a list that is not empty.
func (p Printer) title(n int, words string) {
	if n > 0 {
		p.Line("")
		p.Line("%s", p.Paint(show.Bold, words))
	}
}

// head writes what never changes of a message.
func (p Printer) head(from relay.Path, identity, client, protocol, messageID string, arrival time.Time, octets int64, notice bool) {
	p.Line("  From        %s", show.Sender(from))
	how := ""
	if identity != "" {
		how += " by " + relay.Sanitize(identity)
	}
	if client != "" {
		how += " from " + relay.Sanitize(client)
	}
	if protocol != "" {
		how += " with " + relay.Sanitize(protocol)
	}
	if notice {
		how = " by dawk itself: a notice"
	}
	p.Line("  Accepted    %s%s", p.When(arrival), how)
	if octets > 0 {
		p.Line("  Size        %s", show.Size(octets))
	}
	if messageID != "" {
		p.Line("  Message-ID  %s", relay.Sanitize(messageID))
	}
}

func (p Printer) waiting(d *admin.WhyDelivery, to []relay.Path) {
	p.Line("")
	p.Line("%s by %s: %s", p.Paint(show.Bold, "To "+relay.Sanitize(d.Destination)), routeWords(d.Route), p.Paint(show.Yellow, stateWords(d)))
	for i, r := range d.Open { // recipients that share a reply stand together
		p.Line("  %s", r.Recipient)
		if i+1 == len(d.Open) || d.Open[i+1].Last != r.Last {
			p.lastReply(r.Last)
		}
	}
	switch {
	case !d.Next.IsZero() && d.Next.After(p.Now):
		p.Line("  Next try    %s%s", p.When(d.Next), because(d.Rule))
	case !d.Next.IsZero():
		p.Line("  Next try    now%s", because(d.Rule))
	}
	if !d.HeldSince.IsZero() {
		p.Line("  On hold     since %s", p.When(d.HeldSince))
	}
	if !d.Expires.IsZero() {
		p.Line("  Expires     %s; then it goes back to the sender", p.When(d.Expires))
	}
	for _, a := range d.Advice {
		p.Line("  %s %s", p.Paint(show.Bold, "→"), relay.Sanitize(a))
	}
	p.attempts(d.Attempts, to)
}

func because(rule string) string {
	if rule == "" {
		return ""
	}
	return ", by " + relay.Sanitize(rule)
}

func routeWords(route string) string {
	if route == "mx" {
		return "MX"
	}
	return "route " + relay.Sanitize(route)
}

func stateWords(d *admin.WhyDelivery) string {
	tried := "not tried yet"
	if d.Tried > 0 {
		tried = "tried " + show.Times(d.Tried)
	}
	if words := deliveryWords[d.State]; words != "" {
		return words + ", " + tried
	}
	return tried
}

// deliveryWords are the states in a sentence.
var deliveryWords = map[relay.DeliveryState]string{relay.StateHeld: "on hold", relay.StateActive: "being attempted now",
	relay.StateSuspended: "suspended", relay.StateDeferred: "deferred", relay.StateReady: "waiting for its turn"}

func (p Printer) lastReply(r relay.Reply) {
	if r.IsZero() {
		return
	}
	p.Line("      %s", p.reply(r))
	if r.Remedy != "" {
		p.Line("      %s %s", p.Paint(show.Bold, "→"), relay.Sanitize(r.Remedy))
	}
}

// reply is one reply with who gave it, when; without the remedy, which is not theirs.
func (p Printer) reply(r relay.Reply) string {
	s := relay.Sanitize(r.String())
	switch {
	case r.Positive():
		s = p.Paint(show.Green, s)
	case r.Permanent():
		s = p.Paint(show.Red, s)
	}
	switch {
	case r.Code == 0 && r.MTA == "":
		return s + at(r.Stage)
	case r.Code == 0:
		return s + " (no reply from " + relay.Sanitize(r.MTA) + at(r.Stage) + ")"
	case r.MTA != "":
		return s + " (said " + relay.Sanitize(r.MTA) + at(r.Stage) + ")"
	}
	return s
}

// at is the stage, where the words of a failure do not tell it themselves.
func at(stage relay.Stage) string {
	switch stage {
	case "", relay.StageRoute, relay.StageDNS, relay.StageConnect:
		return ""
	}
	return " at " + relay.Sanitize(string(stage))
}

// attempts writes the history. to are all recipients of the message.
func (p Printer) attempts(attempts []relay.Attempt, to []relay.Path) {
	if len(attempts) == 0 {
		return
	}
	p.Line("  Attempts")
	if attempts[0].N > 1 {
		p.Line("    (%s no longer kept)", show.Plural(attempts[0].N-1, "earlier attempt"))
	}
	for _, a := range attempts {
		p.Line("   %2d  %s  %s", a.N, p.Clock(a.At), p.attemptPlace(a))
		for _, v := range a.Visits { // where it turned to several
			tls := relay.TLSWords(v.TLS, v.TLSLevel, v.TLSPolicy)
			p.Line("       tried %s: %s", strings.TrimSpace(fmt.Sprintf("%s [%s] %s", relay.Sanitize(v.Host), relay.Sanitize(v.Addr), relay.Sanitize(tls))), p.reply(v.Reply))
		}
		for rest := a.Outcomes; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].Action == rest[0].Action && rest[n].Reply == rest[0].Reply {
				n++
			}
			p.Line("       %s: %s  %s", outcomeOf(rest[:n], to), rest[0].Action, p.reply(rest[0].Reply))
			rest = rest[n:]
		}
	}
}

// outcomeOf names the first recipient of those that fared alike.
func outcomeOf(alike []relay.Outcome, to []relay.Path) string {
	if i := alike[0].Recipient; len(alike) == 1 && i >= 0 && i < len(to) {
		return to[i].String()
	}
	return show.Plural(len(alike), "recipient")
}

func (p Printer) attemptPlace(a relay.Attempt) string {
	return fmt.Sprintf("%s%s, took %s", routeWords(a.Route), place(" ", a.Host, a.Addr, a.TLS, a.Source), a.Took.Duration().Round(time.Millisecond))
}

// place is what is known of a session, with by before the host.
func place(by, host, addr, tls, source string) (s string) {
	for _, part := range []struct{ before, words, after string }{{by, host, ""}, {" [", addr, "]"}, {" ", tls, ""}, {" from source ", source, ""}} {
		if part.words != "" {
			s += part.before + relay.Sanitize(part.words) + part.after
		}
	}
	return s
}

func (p Printer) ended(e *admin.Ended) {
	colour := show.Red
	switch e.Action {
	case relay.ActionRelayed, relay.ActionDelivered:
		colour = show.Green
	case relay.ActionDelayed:
		colour = show.Yellow
	}
	who := "" // no single recipient is held or released
	if !e.Recipient.IsNull() {
		who = e.Recipient.String() + "  "
	}
	p.Line("  %s%s %s%s", who, p.Paint(colour, string(e.Action)), p.When(e.At), via(e))
	p.lastReply(e.Reply)
}

func via(e *admin.Ended) string {
	s := place(" by ", e.Host, e.Addr, e.TLS, e.Source)
	if !e.SentAs.IsNull() {
		s += " as " + e.SentAs.String()
	}
	if e.Attempt > 0 {
		s += fmt.Sprintf(", attempt %d", e.Attempt)
	}
	return s
}

// Item writes a message as the store has it.
func (p Printer) Item(item *relay.Item) error {
	m := &item.Message
	to := make([]relay.Path, len(m.Recipients))
	for i, r := range m.Recipients {
		to[i] = r.Path
	}
	p.Line("%s", p.Paint(show.Bold, m.ID.String()))
	p.head(m.From, m.Identity, m.Client, m.Protocol, m.MessageID, m.Arrival, m.Size, m.Notice)
	for i := range item.Deliveries {
		d := &item.Deliveries[i]
		p.Line("")
		state := show.NextTry(d.Held, d.Due, p.Now)
		if !d.Held {
			state = "next try " + state + because(d.Rule)
		}
		p.Line("%s: %s, %s", p.Paint(show.Bold, "To "+relay.Sanitize(d.Destination)), show.Plural(d.Attempts, "attempt"), p.Paint(show.Yellow, state))
		for i, o := range d.Open {
			if o.Recipient >= 0 && o.Recipient < len(to) {
				p.Line("  %s", to[o.Recipient])
			}
			if i+1 == len(d.Open) || d.Open[i+1].Last != o.Last {
				p.lastReply(o.Last)
			}
		}
		p.attempts(item.Attempts[d.Job], to)
	}
	return p.Err
}

// Record is one line of the history, and one more for a reply.
func (p Printer) Record(r *history.Record) {
	if r.Kind == relay.EventNotified {
		what := "was queued as " + r.NoticeID.String()
		if r.NoticeID.IsZero() {
			what = "is part of a later list"
		}
		p.Line("%s  %s  %s  a notice (%s) %s to %s", p.Clock(r.Time), r.ID, p.Paint(show.Yellow, "notified"),
			relay.Sanitize(r.NoticeKind), what, r.Recipient)
		return
	}
	colour := show.Red
	switch r.Kind {
	case relay.EventRelayed, relay.EventDelivered:
		colour = show.Green
	case relay.EventDelayed:
		colour = show.Yellow
	}
	where := via(&admin.Ended{Source: r.Source, Host: r.Host, Addr: r.Addr, TLS: r.TLS, Attempt: r.Attempt})
	p.Line("%s  %s  %s  %s → %s%s", p.Clock(r.Time), r.ID, p.Paint(colour, string(r.Kind)), show.Sender(r.From), r.Recipient, where)
	details := []string{}
	if !r.Reply.IsZero() {
		details = append(details, p.reply(r.Reply))
	}
	if r.Kind == relay.EventDelayed && !r.Next.IsZero() {
		details = append(details, fmt.Sprintf("next try %s%s", p.Clock(r.Next), because(r.Rule)))
	}
	if len(details) > 0 {
		p.Line("    %s", strings.Join(details, "; "))
	}
}
