package show

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// screen is what a terminal got; each tick waits until it was written.
type screen struct {
	mu    sync.Mutex
	b     bytes.Buffer
	wrote chan struct{}
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.wrote <- struct{}{}:
	default:
	}
	return s.b.Write(b)
}

// A line tells how far the work is, and is cleared at the end; without a terminal there is none.
func TestProgress(t *testing.T) {
	s, tick := &screen{wrote: make(chan struct{}, 1)}, make(chan time.Time)
	p := newProgress(s, "import", tick)
	r := p.Reader(strings.NewReader(strings.Repeat("x", 2048)))
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	tick <- p.began.Add(3 * time.Second)
	<-s.wrote
	p.Close()
	p.Close()
	p.Say("nothing")
	if got := s.b.String(); got != "\r\x1b[Kimport: 2.0 KiB, 3s\r\x1b[K" {
		t.Errorf("%q", got)
	}
	var b bytes.Buffer
	q := NewProgress(&b, "import")
	q.Say("%d", 7)
	q.Close()
	if b.Len() != 0 {
		t.Errorf("without a terminal: %q", b.String())
	}
}
