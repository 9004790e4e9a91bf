package cli

import (
	"bytes"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	linesKept = 1 << 20         // octets of lines that may wait for the reader of the log
	linesLast = 2 * time.Second // for what waits when the relay ends
)

// logLines is the writer of the log. Write never waits: a reader that stands
// still or has gone away costs lines, which are counted, and stops no mail. One
// goroutine, run, does the writing.
type logLines struct {
	out    io.Writer
	wake   chan struct{}
	quit   chan struct{}
	ended  chan struct{}
	ending sync.Once

	mu      sync.Mutex // held by nobody who writes to out
	waiting []byte
	lost    uint64 // in all
}

func newLogLines(out io.Writer) *logLines {
	return &logLines{out: out, wake: make(chan struct{}, 1), quit: make(chan struct{}), ended: make(chan struct{})}
}

// Write takes whole lines. It never fails.
func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting)+len(b) > linesKept {
		l.lost += uint64(bytes.Count(b, []byte("\n")))
		return len(b), nil
	}
	l.waiting = append(l.waiting, b...)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Lost is how many lines were dropped. Any goroutine may ask.
func (l *logLines) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// run writes what comes, until close, and then what is left. log, which writes to
// l, is told of lines that were lost once lines can be written again.
func (l *logLines) run(log *slog.Logger) {
	defer close(l.ended)
	var batch []byte
	var told uint64
	for last := false; ; {
		l.mu.Lock()
		batch, l.waiting = l.waiting, batch[:0]
		l.mu.Unlock()
		if len(batch) > 0 {
			n, err := l.out.Write(batch)
			l.mu.Lock()
			if err != nil {
				l.lost += uint64(bytes.Count(batch[min(n, len(batch)):], []byte("\n")))
			}
			lost, room := l.lost, len(l.waiting) == 0
			l.mu.Unlock()
			if err == nil && room && lost > told {
				log.Warn("lines of this log were dropped, since nobody read them in time; mail went on", "lines", lost-told)
				told = lost
			}
			continue
		}
		if last {
			return
		}
		select {
		case <-l.wake:
		case <-l.quit:
			last = true
		}
	}
}

// close lets run write what waits, as long as the reader takes it. A reader that
// stands still keeps run, and nobody else. It may be called again.
func (l *logLines) close() {
	l.ending.Do(func() { close(l.quit) })
	t := time.NewTimer(linesLast)
	defer t.Stop()
	select {
	case <-l.ended:
	case <-t.C:
	}
}
