// Package show is how commands print: colours, moments, durations, sizes and
// counts in words, and text of strangers that a terminal may be shown.
package show

import (
	"fmt"
	"io"
	"os"
	"time"
)

// Printer writes what commands say. The first error of its
// writer stays in Err.
type Printer struct {
	w        io.Writer
	Now      time.Time
	Location *time.Location
	colour   bool
	Err      error
}

func NewPrinter(w io.Writer, now time.Time) *Printer {
	return &Printer{w: w, Now: now, Location: time.Local, colour: IsTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (p *Printer) Line(format string, args ...any) {
	if p.Err == nil {
		_, p.Err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// The colours of ECMA-48 that are readable on dark and light alike.
const (
	Bold   = "1"
	Red    = "31"
	Green  = "32"
	Yellow = "33"
)

func (p *Printer) Paint(colour, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// When is a moment with its distance from now.
func (p *Printer) When(t time.Time) string {
	s := p.Clock(t)
	switch d := t.Sub(p.Now); {
	case d > 0:
		return s + " (in " + Age(d) + ")"
	default:
		return s + " (" + Age(-d) + " ago)"
	}
}

func (p *Printer) Clock(t time.Time) string {
	return t.In(p.Location).Format("2006-01-02 15:04:05 MST")
}

func (p *Printer) Verdict(good bool, words string) string {
	if good {
		return p.Paint(Green, "✔") + " " + words
	}
	return p.Paint(Red, "✘") + " " + words
}
