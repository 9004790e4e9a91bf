package show

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress is a line on a terminal that says how far long work is, twice a second. Where
// there is no terminal it says nothing. Its goroutine ends with Close.
type Progress struct {
	w     io.Writer // nil: it says nothing
	what  string
	began time.Time
	done  chan struct{}
	group sync.WaitGroup

	mu    sync.Mutex
	state string
}

// NewProgress begins a line on w, which is that of errors; what is the work.
func NewProgress(w io.Writer, what string) *Progress {
	if !IsTerminal(w) {
		return &Progress{}
	}
	tick := time.NewTicker(500 * time.Millisecond)
	p := newProgress(w, what, tick.C)
	p.group.Go(func() { <-p.done; tick.Stop() })
	return p
}

func newProgress(w io.Writer, what string, tick <-chan time.Time) *Progress {
	p := &Progress{w: w, what: what, began: time.Now(), done: make(chan struct{})}
	p.group.Go(func() {
		for {
			select {
			case now := <-tick:
				p.mu.Lock()
				line := fmt.Sprintf("%s: %s%s", p.what, p.state, max(0, now.Sub(p.began)).Round(time.Second))
				if width := Width(w); width > 1 { // a second line would not be cleared
					line = cut(line, width-1)
				}
				fmt.Fprint(w, "\r\x1b[K"+line)
				p.mu.Unlock()
			case <-p.done:
				return
			}
		}
	})
	return p
}

// Say gives how far the work is.
func (p *Progress) Say(format string, args ...any) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = fmt.Sprintf(format, args...) + ", "
}

// Close ends the line and clears it. It may be called more than once, one at a time.
func (p *Progress) Close() {
	if p.w == nil {
		return
	}
	close(p.done)
	p.group.Wait()
	fmt.Fprint(p.w, "\r\x1b[K")
	p.w = nil
}

// Reader counts what is read through it as progress.
func (p *Progress) Reader(r io.Reader) io.Reader { return &countedReader{r: r, p: p} }

type countedReader struct {
	r io.Reader
	p *Progress
	n int64
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	c.p.Say("%s", Size(c.n))
	return n, err
}
