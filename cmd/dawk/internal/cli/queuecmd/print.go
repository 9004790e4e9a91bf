package queuecmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
	"dawk/relay/admin"
)

// tableBatch is how many lines are aligned together: a table is printed while
// it comes in.
const tableBatch = 500

// listTable prints Deliveries, one a line.
type listTable struct{ *show.Table }

func newListTable(w io.Writer) *listTable {
	return &listTable{show.NewTable(w, show.Column{Name: "ID", Weight: 9}, show.Column{Name: "AGE", Weight: 6}, show.Column{Name: "SIZE"},
		show.Column{Name: "TRIES", Weight: 2}, show.Column{Name: "NEXT", Weight: 8}, show.Column{Name: "FROM", Weight: 3, Least: 12},
		show.Column{Name: "TO", Weight: 7, Least: 16}, show.Column{Name: "LAST REPLY", Weight: 5, Least: 20})}
}

func (t *listTable) add(item *relay.Item, now time.Time) error {
	m := &item.Message
	for i := range item.Deliveries {
		d := &item.Deliveries[i]
		t.Row(m.ID, show.Age(now.Sub(m.Arrival)), show.Size(m.Size), d.Attempts,
			next(d, now), show.Sender(m.From), recipients(m, d), relay.ClipTo(show.LastReply(d), 100))
		if t.Rows() == tableBatch {
			if err := t.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// next is when d is tried next, or the state in which that is not known.
func next(d *relay.Delivery, now time.Time) string {
	switch d.Activity.State {
	case relay.StateHeld, relay.StateActive, relay.StateSuspended:
		return d.Activity.State.String()
	}
	return show.NextTry(d.Held, d.Due, now)
}

// recipients names the first open recipient and counts the others.
func recipients(m *relay.Message, d *relay.Delivery) string {
	if len(d.Open) == 0 || d.Open[0].Recipient >= len(m.Recipients) {
		return d.Destination
	}
	to := m.Recipients[d.Open[0].Recipient].Path.String()
	if n := len(d.Open) - 1; n > 0 {
		to += fmt.Sprintf(" +%d", n)
	}
	if strings.HasPrefix(d.Destination, "route:") {
		to += " via " + strings.TrimPrefix(d.Destination, "route:")
	}
	return to
}

func listSummary(e *admin.End, everything bool) string {
	if e.Deliveries == 0 {
		if everything {
			return "The queue is empty."
		}
		return "Nothing in the queue matches."
	}
	s := fmt.Sprintf("%s of %s, %s", show.Plural(e.Deliveries, "delivery"), show.Plural(e.Messages, "message"), show.Size(e.Bytes))
	if e.Held > 0 {
		s += fmt.Sprintf(", %d held", e.Held)
	}
	s += fmt.Sprintf(", oldest %s.", show.Age(e.Now.Sub(e.Oldest)))
	if e.More {
		s += " There are more: --limit 0 lists all, a filter or --by dest is quicker to read."
	}
	return s
}

func printActed(w io.Writer, req admin.ActRequest, a *admin.Acted) error {
	verb := doneWords[req.Verb]
	if req.DryRun {
		verb = "would " + string(req.Verb)
	}
	to := make([]string, len(a.To)) // all of them, however many: who is hit must be seen before
	for i, p := range a.To {
		to[i] = p.String()
	}
	if !a.Was.IsZero() && a.Was != a.ID {
		verb += ", was " + a.Was.String()
	}
	if a.Pending {
		verb += " when the attempt under way ends"
	}
	_, err := fmt.Fprintf(w, "%s  %s  %s → %s\n", a.ID, verb, show.Sender(a.From), strings.Join(to, ", "))
	return err
}

var doneWords = map[relay.Verb]string{relay.VerbRetry: "due now", relay.VerbHold: "held", relay.VerbRelease: "released",
	relay.VerbDelete: "deleted", relay.VerbBounce: "bounced", relay.VerbReroute: "rerouted", verbUndo: "undone", verbConfirm: "let go", verbImport: "imported"}

func actSummary(req admin.ActRequest, e *admin.End) string {
	switch {
	case e.Deliveries+e.Gone+e.Failed+e.Skipped == 0:
		return "Nothing in the queue matches; nothing was done."
	case e.Deliveries+e.Gone+e.Failed == 0:
		return fmt.Sprintf("Nothing was done: %s.", skipped(req.Verb, e.Skipped))
	}
	what := show.Plural(e.Deliveries, "delivery") + " of " + show.Plural(e.Messages, "message")
	if req.Verb == relay.VerbDelete || req.Verb == relay.VerbBounce || req.Verb == relay.VerbReroute { // which pick recipients
		what = show.Plural(e.Recipients, "recipient") + " of " + show.Plural(e.Messages, "message")
	}
	if req.DryRun {
		return fmt.Sprintf("Would %s %s; nothing was done (--dry-run).", req.Verb, what)
	}
	s := doneWords[req.Verb] + ": " + what
	if e.Skipped > 0 {
		s += "; " + skipped(req.Verb, e.Skipped)
	}
	if e.Pending > 0 {
		s += fmt.Sprintf("; for %s of these an attempt is under way: it is done when that ends", show.Plural(e.Pending, "delivery"))
	}
	if e.Gone > 0 {
		s += fmt.Sprintf("; %s ended meanwhile without it", show.Plural(e.Gone, "delivery"))
	}
	if e.Failed > 0 {
		s += fmt.Sprintf("; %d failed", e.Failed)
	}
	s = strings.ToUpper(s[:1]) + s[1:] + "."
	if e.Act == "" || req.Verb == relay.VerbRetry || req.Verb == verbImport {
		return s
	}
	s += " Act " + e.Act
	switch {
	case e.Unkept > 0:
		return s + fmt.Sprintf("; %s could not be kept for undo: the log says why.", show.Plural(e.Unkept, "message"))
	case req.Verb == verbUndo || req.Verb == verbConfirm || req.Purge:
		return s + "."
	}
	return s + ": dawk queue undo " + e.Act + " takes it back."
}

// skipped says why a verb passed over Deliveries.
func skipped(verb relay.Verb, n int) string {
	switch verb {
	case relay.VerbRetry:
		return fmt.Sprintf("%d on hold (dawk queue release ends a hold)", n)
	case relay.VerbHold:
		return fmt.Sprintf("%d on hold already", n)
	case relay.VerbReroute:
		return fmt.Sprintf("%d sent there already", n)
	case verbUndo:
		return fmt.Sprintf("%d have changed since", n)
	case verbImport:
		return fmt.Sprintf("%d came from this file before", n)
	}
	return fmt.Sprintf("%d not on hold", n)
}

// printShape is a table in the manner of qshape: who has how much of what age.
func printShape(w io.Writer, s *admin.Shape) error {
	if s.Total.Total == 0 {
		_, err := fmt.Fprintln(w, "Nothing is waiting.")
		return err
	}
	cols := []show.Column{{Name: "TOTAL", Weight: 98, Right: true}, {Name: "HELD", Weight: 96, Right: true}}
	for i, b := range s.Bounds {
		cols = append(cols, show.Column{Name: "<" + show.Age(b.Duration()), Weight: i, Right: true})
	}
	cols = append(cols, show.Column{Name: "older", Weight: 97, Right: true}, show.Column{Name: strings.ToUpper(s.By), Weight: 99, Least: 18})
	t := show.NewTable(w, cols...)
	row := func(r *admin.ShapeRow, name string) {
		cells := []any{r.Total, r.Held}
		for _, n := range r.Ages {
			if n == 0 {
				cells = append(cells, ".") // the eye finds the numbers
			} else {
				cells = append(cells, n)
			}
		}
		t.Row(append(cells, relay.Sanitize(name))...)
	}
	row(&s.Total, "(all)")
	for i := range s.Rows {
		name := s.Rows[i].Name
		if name == "" {
			name = "(none)"
		}
		row(&s.Rows[i], name)
	}
	if s.Others > 0 {
		row(&s.Rest, fmt.Sprintf("(%d others)", s.Others))
	}
	return t.Flush()
}

func printAges(w io.Writer, s *admin.Shape) error {
	if s.Total.Total == 0 {
		_, err := fmt.Fprintln(w, "Nothing is waiting.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "AGE\tDELIVERIES\t")
	for i, n := range s.Total.Ages {
		name := "older"
		if i < len(s.Bounds) {
			name = "<" + show.Age(s.Bounds[i].Duration())
		}
		fmt.Fprintf(t, "%s\t%d\t\n", name, n)
	}
	fmt.Fprintf(t, "all\t%d\t\n", s.Total.Total)
	return t.Flush()
}
