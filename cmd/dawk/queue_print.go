package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"dawk/relay"
	"dawk/relay/admin"
)

// tableBatch is how many lines are aligned together: a table is printed while
// it comes in.
const tableBatch = 500

// listTable prints Deliveries, one a line.
type listTable struct {
	w    *tabwriter.Writer
	rows int
}

func newListTable(w io.Writer) *listTable {
	return &listTable{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

func (t *listTable) add(item *relay.Item, now time.Time) error {
	m := &item.Message
	for i := range item.Deliveries {
		if t.rows == 0 {
			fmt.Fprintln(t.w, "ID\tAGE\tSIZE\tTRIES\tNEXT\tFROM\tTO\tLAST REPLY")
		}
		d := &item.Deliveries[i]
		fmt.Fprintf(t.w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", m.ID, age(now.Sub(m.Arrival)), size(m.Size), d.Attempts,
			nextTry(d.Held, d.Due, now), sender(m.From), recipients(m, d), clipText(lastReply(d), 100))
		if t.rows++; t.rows%tableBatch == 0 {
			if err := t.w.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *listTable) flush() error { return t.w.Flush() }

func nextTry(held bool, due, now time.Time) string {
	switch {
	case held:
		return "held"
	case !due.After(now):
		return "now"
	}
	return "in " + age(due.Sub(now))
}

func sender(p relay.Path) string {
	if p.IsNull() {
		return "<>"
	}
	return p.String()
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

func lastReply(d *relay.Delivery) string {
	for _, o := range d.Open {
		if !o.Last.IsZero() {
			return relay.Sanitize(o.Last.Advised())
		}
	}
	return ""
}

func listSummary(e *admin.End, everything bool) string {
	if e.Deliveries == 0 {
		if everything {
			return "The queue is empty."
		}
		return "Nothing in the queue matches."
	}
	s := fmt.Sprintf("%s of %s, %s", plural(e.Deliveries, "delivery"), plural(e.Messages, "message"), size(e.Bytes))
	if e.Held > 0 {
		s += fmt.Sprintf(", %d held", e.Held)
	}
	s += fmt.Sprintf(", oldest %s.", age(e.Now.Sub(e.Oldest)))
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
	_, err := fmt.Fprintf(w, "%s  %s  %s → %s\n", a.ID, verb, sender(a.From), strings.Join(to, ", "))
	return err
}

var doneWords = map[admin.Verb]string{admin.Retry: "due now", admin.Hold: "held", admin.Release: "released",
	admin.Delete: "deleted", admin.Bounce: "bounced"}

func actSummary(req admin.ActRequest, e *admin.End) string {
	switch {
	case e.Deliveries+e.Gone+e.Failed+e.Skipped == 0:
		return "Nothing in the queue matches; nothing was done."
	case e.Deliveries+e.Gone+e.Failed == 0:
		return fmt.Sprintf("Nothing was done: %s.", skipped(req.Verb, e.Skipped))
	}
	what := plural(e.Deliveries, "delivery") + " of " + plural(e.Messages, "message")
	if req.Verb == admin.Delete || req.Verb == admin.Bounce { // which pick recipients
		what = plural(e.Recipients, "recipient") + " of " + plural(e.Messages, "message")
	}
	if req.DryRun {
		return fmt.Sprintf("Would %s %s; nothing was done (--dry-run).", req.Verb, what)
	}
	s := doneWords[req.Verb] + ": " + what
	if e.Skipped > 0 {
		s += "; " + skipped(req.Verb, e.Skipped)
	}
	if e.Gone > 0 {
		s += fmt.Sprintf("; %d ended by themselves meanwhile", e.Gone)
	}
	if e.Failed > 0 {
		s += fmt.Sprintf("; %d failed", e.Failed)
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

// skipped says why a verb passed over Deliveries.
func skipped(verb admin.Verb, n int) string {
	switch verb {
	case admin.Retry:
		return fmt.Sprintf("%d on hold (dawk queue release ends a hold)", n)
	case admin.Hold:
		return fmt.Sprintf("%d on hold already", n)
	}
	return fmt.Sprintf("%d not on hold", n)
}

// printShape is a table in the manner of qshape: who has how much of what age.
func printShape(w io.Writer, s *admin.Shape) error {
	if s.Total.Total == 0 {
		_, err := fmt.Fprintln(w, "Nothing is waiting.")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "TOTAL\tHELD\t")
	for _, b := range s.Bounds {
		fmt.Fprintf(t, "<%s\t", age(b))
	}
	fmt.Fprintf(t, "older\t  %s\n", strings.ToUpper(s.By))
	row := func(r *admin.ShapeRow, name string) {
		fmt.Fprintf(t, "%d\t%d\t", r.Total, r.Held)
		for _, n := range r.Ages {
			if n == 0 {
				fmt.Fprint(t, ".\t") // the eye finds the numbers
			} else {
				fmt.Fprintf(t, "%d\t", n)
			}
		}
		fmt.Fprintf(t, "  %s\n", relay.Sanitize(name))
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
			name = "<" + age(s.Bounds[i])
		}
		fmt.Fprintf(t, "%s\t%d\t\n", name, n)
	}
	fmt.Fprintf(t, "all\t%d\t\n", s.Total.Total)
	return t.Flush()
}

// age writes a duration as people say it, in its two largest units: "45s",
// "12m", "3h12m", "2d4h".
func age(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	days, hours, minutes := int(d/(24*time.Hour)), int(d/time.Hour)%24, int(d/time.Minute)%60
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", minutes)
	case days == 0 && minutes == 0:
		return fmt.Sprintf("%dh", hours)
	case days == 0:
		return fmt.Sprintf("%dh%dm", hours, minutes)
	case hours == 0:
		return fmt.Sprintf("%dd", days)
	}
	return fmt.Sprintf("%dd%dh", days, hours)
}

// size writes octets with three digits at most.
func size(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// clipText bounds text to so many characters.
func clipText(s string, most int) string {
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return string(r[:most-1]) + "…"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// visible writes control characters, except for line ends and tabs, as what
// they are. Pieces of UTF-8 that fall between two writes stay as they are: the
// controls that they could form (C1) are ignored by terminals in UTF-8 mode.
type visible struct{ w io.Writer }

func (v *visible) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, c := range p {
		switch {
		case c == '\n' || c == '\t' || c >= ' ' && c != 0x7f:
			b.WriteByte(c)
		case c == '\r': // of CRLF
		default:
			fmt.Fprintf(&b, "^%c", unicode.ToUpper(rune(c^0x40)))
		}
	}
	if _, err := io.WriteString(v.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
