package lab

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// TestCase is one claim about dawk, proven by run or not.
type TestCase struct {
	Name string
	Run  func(*T, *World)
}

// T reports on one case. Fatalf and Skipf end it.
type T struct {
	ctx      context.Context
	name     string
	failures []string
	skipped  string
	notes    []string // figures for the table
	cleanups []func()
}

type ended struct{} // the panic by which Fatalf and Skipf leave a case

func (t *T) Errorf(format string, a ...any) {
	t.failures = append(t.failures, fmt.Sprintf(format, a...))
}

func (t *T) Fatalf(format string, a ...any) { t.Errorf(format, a...); panic(ended{}) }

func (t *T) Skipf(format string, a ...any) { t.skipped = fmt.Sprintf(format, a...); panic(ended{}) }

// Notef adds a figure to the case's line in the table.
func (t *T) Notef(format string, a ...any) { t.notes = append(t.notes, fmt.Sprintf(format, a...)) }

// Cleanup runs f after the case, last one first.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Must ends the case on an error.
func (t *T) Must(what string, err error) {
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

type outcome struct {
	name, result, detail string
	took                 time.Duration
}

type Suite struct {
	Ctx      context.Context
	Filter   *regexp.Regexp
	Verbose  bool
	outcomes []outcome
}

func (s *Suite) Run(w *World, group string, cases []TestCase) {
	for _, c := range cases {
		name := group + "/" + c.Name
		if !s.Filter.MatchString(name) || s.Ctx.Err() != nil {
			continue
		}
		start := time.Now()
		t := &T{ctx: s.Ctx, name: name}
		t.do(func() { c.Run(t, w) })
		for i := len(t.cleanups) - 1; i >= 0; i-- {
			t.do(t.cleanups[i])
		}
		o := outcome{name: name, result: "ok", took: time.Since(start), detail: strings.Join(t.notes, "; ")}
		switch {
		case len(t.failures) > 0:
			o.result, o.detail = "FAIL", strings.Join(append(t.failures, t.notes...), "\n")
		case t.skipped != "":
			o.result, o.detail = "skip", t.skipped
		}
		s.outcomes = append(s.outcomes, o)
		if s.Verbose || o.result == "FAIL" {
			fmt.Println(o.line())
		}
	}
}

// do runs f and takes a panic for what it is: the end of the case, or a bug.
func (t *T) do(f func()) {
	defer func() {
		switch p := recover().(type) {
		case nil, ended:
		default:
			t.Errorf("panic: %v", p)
		}
	}()
	f()
}

func (o outcome) line() string {
	return fmt.Sprintf("%-4s  %-52s %6.2fs  %s", o.result, o.name, o.took.Seconds(),
		strings.ReplaceAll(o.detail, "\n", "\n        "))
}

// Report prints the table and gives the number of failed cases.
func (s *Suite) Report(out io.Writer) (failed int) {
	var passed, skipped int
	fmt.Fprintln(out)
	for _, o := range s.outcomes {
		o.detail, _, _ = strings.Cut(o.detail, "\n") // a failure was told in full when it happened
		fmt.Fprintln(out, o.line())
		switch o.result {
		case "ok":
			passed++
		case "skip":
			skipped++
		default:
			failed++
		}
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed
}

type Settings struct {
	Rounds        int
	Verbose, Keep bool
	Binary        string
	Seed          uint64
}
