package show

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"dawk/relay"
)

// Age writes a duration as people say it, in its two largest units: "45s",
// "12m", "3h12m", "2d4h".
func Age(d time.Duration) string {
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

// Size writes octets with three digits at most.
func Size(n int64) string {
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

func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func IsTerminal(w io.Writer) bool {
	if e, ok := w.(*escaped); ok {
		w = e.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func Times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func Sender(p relay.Path) string {
	if p.IsNull() {
		return "<>"
	}
	return p.String()
}

// Cause is a reply for a narrow place: what a server said or, where none spoke, the
// innermost reason of what happened, which stands at the end of its words.
func Cause(r relay.Reply) string {
	if r.Code != 0 {
		return relay.Sanitize(r.String())
	}
	text, _, _ := strings.Cut(r.Text, "; also ")
	if i := strings.LastIndex(text, ": "); i >= 0 {
		r.Text = text[i+2:]
		if !strings.Contains(r.Text, "(") {
			r.Text = strings.TrimSuffix(r.Text, ")") // of a parenthesis that begins before it
		}
	}
	return relay.Sanitize(r.String())
}

func NextTry(held bool, due, now time.Time) string {
	switch {
	case held:
		return "held"
	case !due.After(now):
		return "now"
	}
	return "in " + Age(due.Sub(now))
}

// LastReply is the cause why d is still here: of the first recipient that has one.
func LastReply(d *relay.Delivery) string {
	for _, o := range d.Open {
		if !o.Last.IsZero() {
			return Cause(o.Last)
		}
	}
	return ""
}
