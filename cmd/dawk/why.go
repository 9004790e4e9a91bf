package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"dawk/relay"
	"dawk/relay/admin"
)

func newWhyCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "why ID",
		Short: "Say why a message is still here, or what became of it",
		Long: "Say why a message is still here: its route, every attempt with the replies, the\n" +
			"next try and the rule that set it, and what would unblock it; of a message that is\n" +
			"finished what became of it, as long as the history is kept ([history] keep).",
		Args: oneID,
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := relay.ParseQueueID(args[0])
		if err != nil {
			return err
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		var why admin.Why
		if err := c.get(cmd.Context(), "/v1/queue/"+id.String()+"/why", nil, &why); err != nil {
			return err
		}
		if asJSON {
			return json.NewEncoder(a.stdout).Encode(why)
		}
		return newPrinter(a.stdout, why.Now).why(&why)
	}
	return cmd
}

// oneID checks the arguments of a command about one message.
func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s needs one queue ID, such as 1RK3ZC8Q9D4-7ABC: it is in the client's 250 reply, in the log under qid, and in dawk queue list", cmd.CommandPath())
	}
	return nil
}

// printer writes what commands say of one message. The first error of its
// writer stays in err.
type printer struct {
	w        io.Writer
	now      time.Time
	location *time.Location
	colour   bool
	err      error
}

func newPrinter(w io.Writer, now time.Time) *printer {
	return &printer{w: w, now: now, location: time.Local, colour: isTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// The colours of ECMA-48 that are readable on dark and light alike.
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (p *printer) paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// when is a moment with its distance from now.
func (p *printer) when(t time.Time) string {
	s := p.clock(t)
	switch d := t.Sub(p.now); {
	case d > 0:
		return s + " (in " + age(d) + ")"
	default:
		return s + " (" + age(-d) + " ago)"
	}
}

func (p *printer) clock(t time.Time) string {
	return t.In(p.location).Format("2006-01-02 15:04:05 MST")
}

// why writes the whole answer: what is the matter first, the history below.
func (p *printer) why(y *admin.Why) error {
	state := p.paint(yellow, y.State)
	if y.State == "finished" {
		state = p.paint(green, y.State)
	}
	p.line("%s is %s.", p.paint(bold, y.ID.String()), state)
	p.head(y.From, y.Identity, y.Client, y.Protocol, y.MessageID, y.Arrival, y.Size, y.Notice)
	for i := range y.Waiting {
		p.waiting(&y.Waiting[i], y.To)
	}
	if len(y.Delayed) > 0 {
		p.line("")
		p.line("%s", p.paint(bold, "Attempts before"))
	}
	for i := range y.Delayed {
		p.ended(&y.Delayed[i])
	}
	if len(y.Ended) > 0 {
		p.line("")
		p.line("%s", p.paint(bold, "Finished"))
	}
	for i := range y.Ended {
		p.ended(&y.Ended[i])
	}
	if y.MoreEnded > 0 {
		p.line("  and %s more", plural(y.MoreEnded, "recipient"))
	}
	if y.State == "finished" && len(y.Ended) == 0 {
		p.line("How it ended is not remembered; the log has its lines, under qid=%s.", y.ID)
	}
	if len(y.Notices) > 0 {
		p.line("")
		p.line("%s", p.paint(bold, "Notices"))
	}
	for _, n := range y.Notices {
		if n.ID.IsZero() {
			p.line("  A notice (%s) is part of a later list, since its mailbox gets many, %s.", relay.Sanitize(n.Kind), p.when(n.At))
			continue
		}
		p.line("  A notice (%s) was queued as %s, %s.", relay.Sanitize(n.Kind), n.ID, p.when(n.At))
	}
	return p.err
}

// head writes what never changes of a message.
func (p *printer) head(from relay.Path, identity, client, protocol, messageID string, arrival time.Time, octets int64, notice bool) {
	p.line("  From        %s", sender(from))
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
	p.line("  Accepted    %s%s", p.when(arrival), how)
	if octets > 0 {
		p.line("  Size        %s", size(octets))
	}
	if messageID != "" {
		p.line("  Message-ID  %s", relay.Sanitize(messageID))
	}
}

func (p *printer) waiting(d *admin.WhyDelivery, to []relay.Path) {
	p.line("")
	p.line("%s by %s: %s", p.paint(bold, "To "+relay.Sanitize(d.Destination)), routeWords(d.Route), p.paint(yellow, stateWords(d)))
	for i, r := range d.Open { // recipients that share a reply stand together
		p.line("  %s", r.Recipient)
		if i+1 == len(d.Open) || d.Open[i+1].Last != r.Last {
			p.lastReply(r.Last)
		}
	}
	switch {
	case !d.Next.IsZero() && d.Next.After(p.now):
		p.line("  Next try    %s%s", p.when(d.Next), because(d.Rule))
	case !d.Next.IsZero():
		p.line("  Next try    now%s", because(d.Rule))
	}
	if !d.HeldSince.IsZero() {
		p.line("  On hold     since %s", p.when(d.HeldSince))
	}
	if !d.Expires.IsZero() {
		p.line("  Expires     %s; then it goes back to the sender", p.when(d.Expires))
	}
	for _, a := range d.Advice {
		p.line("  %s %s", p.paint(bold, "→"), relay.Sanitize(a))
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
		tried = "tried " + times(d.Tried)
	}
	switch d.State {
	case "held":
		return "on hold, " + tried
	case "in progress":
		return "being attempted now, " + tried
	case "ready":
		return "waiting for its turn, " + tried
	case "new":
		return tried
	}
	return d.State + ", " + tried
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (p *printer) lastReply(r relay.Reply) {
	if !r.IsZero() {
		p.line("      %s", p.reply(r))
	}
}

// reply is one reply with who gave it, when.
func (p *printer) reply(r relay.Reply) string {
	s := relay.Sanitize(r.Advised())
	switch {
	case r.Positive():
		s = p.paint(green, s)
	case r.Permanent():
		s = p.paint(red, s)
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

func at(stage relay.Stage) string {
	if stage == "" {
		return ""
	}
	return " at " + relay.Sanitize(string(stage))
}

// attempts writes the history. to are all recipients of the message.
func (p *printer) attempts(attempts []relay.Attempt, to []relay.Path) {
	if len(attempts) == 0 {
		return
	}
	p.line("  Attempts")
	if attempts[0].N > 1 {
		p.line("    (%s no longer kept)", plural(attempts[0].N-1, "earlier attempt"))
	}
	for _, a := range attempts {
		p.line("   %2d  %s  %s", a.N, p.clock(a.At), p.attemptPlace(a))
		p.visits(a.Visits)
		for rest := a.Outcomes; len(rest) > 0; {
			n := 1
			for n < len(rest) && rest[n].Action == rest[0].Action && rest[n].Reply == rest[0].Reply {
				n++
			}
			p.line("       %s: %s  %s", outcomeOf(rest[:n], to), rest[0].Action, p.reply(rest[0].Reply))
			rest = rest[n:]
		}
	}
}

// visits writes the hosts that an attempt turned to, where they were several, and
// what each said.
func (p *printer) visits(all []relay.Visit) {
	for _, v := range all {
		tls := relay.TLSWords(v.TLS, v.TLSLevel, v.TLSPolicy)
		p.line("       tried %s: %s", strings.TrimSpace(fmt.Sprintf("%s [%s] %s", relay.Sanitize(v.Host), relay.Sanitize(v.Addr), relay.Sanitize(tls))), p.reply(v.Reply))
	}
}

// outcomeOf names the first recipient of those that fared alike.
func outcomeOf(alike []relay.Outcome, to []relay.Path) string {
	if i := alike[0].Recipient; len(alike) == 1 && i >= 0 && i < len(to) {
		return to[i].String()
	}
	return plural(len(alike), "recipient")
}

func (p *printer) attemptPlace(a relay.Attempt) string {
	s := routeWords(a.Route)
	if a.Host != "" {
		s += " " + relay.Sanitize(a.Host)
	}
	if a.Addr != "" {
		s += " [" + relay.Sanitize(a.Addr) + "]"
	}
	if a.TLS != "" {
		s += " " + relay.Sanitize(a.TLS)
	}
	if a.Source != "" {
		s += " from source " + relay.Sanitize(a.Source)
	}
	return s + fmt.Sprintf(", took %s", a.Took.Round(time.Millisecond))
}

func (p *printer) ended(e *admin.Ended) {
	colour := red
	switch e.Action {
	case relay.ActionRelayed, relay.ActionDelivered:
		colour = green
	case relay.ActionDelayed:
		colour = yellow
	}
	p.line("  %s  %s %s%s", e.Recipient, p.paint(colour, string(e.Action)), p.when(e.At), via(e))
	if !e.Reply.IsZero() {
		p.line("      %s", p.reply(e.Reply))
	}
}

func via(e *admin.Ended) string {
	var parts []string
	if e.Host != "" {
		parts = append(parts, " by "+relay.Sanitize(e.Host))
	}
	if e.Addr != "" {
		parts = append(parts, " ["+relay.Sanitize(e.Addr)+"]")
	}
	if e.TLS != "" {
		parts = append(parts, " "+relay.Sanitize(e.TLS))
	}
	if e.Source != "" {
		parts = append(parts, " from source "+relay.Sanitize(e.Source))
	}
	if !e.SentAs.IsNull() {
		parts = append(parts, " as "+e.SentAs.String())
	}
	if e.Attempt > 0 {
		parts = append(parts, fmt.Sprintf(", attempt %d", e.Attempt))
	}
	return strings.Join(parts, "")
}

// item writes a message as the store has it.
func (p *printer) item(item *relay.Item) error {
	m := &item.Message
	to := make([]relay.Path, len(m.Recipients))
	for i, r := range m.Recipients {
		to[i] = r.Path
	}
	p.line("%s", p.paint(bold, m.ID.String()))
	p.head(m.From, m.Identity, m.Client, m.Protocol, m.MessageID, m.Arrival, m.Size, m.Notice)
	for i := range item.Deliveries {
		d := &item.Deliveries[i]
		p.line("")
		state := nextTry(d.Held, d.Due, p.now)
		if !d.Held {
			state = "next try " + state + because(d.Rule)
		}
		p.line("%s: %s, %s", p.paint(bold, "To "+relay.Sanitize(d.Destination)), plural(d.Attempts, "attempt"), p.paint(yellow, state))
		for i, o := range d.Open {
			if o.Recipient >= 0 && o.Recipient < len(to) {
				p.line("  %s", to[o.Recipient])
			}
			if i+1 == len(d.Open) || d.Open[i+1].Last != o.Last {
				p.lastReply(o.Last)
			}
		}
		p.attempts(item.Attempts[d.Job], to)
	}
	return p.err
}
