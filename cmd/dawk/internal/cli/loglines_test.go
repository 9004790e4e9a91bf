package cli

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// reader stands in for what reads the log: each write waits for an answer.
type reader struct {
	got    strings.Builder
	answer chan error
}

func (r *reader) Write(b []byte) (int, error) {
	if err := <-r.answer; err != nil {
		return 0, err
	}
	return r.got.Write(b)
}

// A reader that stands still, or is gone, holds up nobody: what it does not take
// is dropped and counted, and it is told so when it reads again.
func TestLogReaderStandsStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &reader{answer: make(chan error)}
		l := newLogLines(r)
		go l.run(slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key != "lines" {
				return slog.Attr{}
			}
			return a
		}})))
		fmt.Fprintln(l, "first")
		synctest.Wait() // run holds the first line, and stands
		line := strings.Repeat("x", 1023) + "\n"
		for range linesKept/1024 + 7 {
			io.WriteString(l, line)
		}
		if l.Lost() != 7 {
			t.Errorf("%d lines are lost", l.Lost())
		}
		r.answer <- nil // the first
		r.answer <- nil // what was kept
		r.answer <- nil // the line about those that were lost
		synctest.Wait()
		if !strings.HasPrefix(r.got.String(), "first\n") || !strings.HasSuffix(r.got.String(), "x\nlines=7\n") {
			t.Errorf("%d octets, the last %q", r.got.Len(), r.got.String()[max(0, r.got.Len()-20):])
		}
		fmt.Fprintln(l, "nobody")
		r.answer <- io.ErrClosedPipe
		fmt.Fprintln(l, "somebody")
		r.answer <- nil
		r.answer <- nil
		synctest.Wait()
		if l.Lost() != 8 || !strings.HasSuffix(r.got.String(), "\nsomebody\nlines=1\n") {
			t.Errorf("%d lines are lost", l.Lost())
		}
		fmt.Fprintln(l, "stuck")
		l.close() // ends, though the reader stands still
		close(r.answer)
		<-l.ended
	})
}
