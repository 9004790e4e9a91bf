package lab

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// load is clients that send as fast as they are served, through any number of
// deaths of the relay, and remember what they were promised.
type load struct {
	prefix string
	addr   string
	sizes  []int // octets of the bodies, in turn

	Mu       sync.Mutex
	Acked    map[string]time.Time // marker → when 250 queued as came
	Queued   []string             // queue IDs of these
	id       map[string]string    // marker → queue ID, of what has arrived
	Refused  map[string]int       // reply (code and status) → how often, at MAIL, RCPT, DATA or the end
	Attempts int

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Load and Sink are for those who hand them on.
type (
	Load = load
	Sink = sink
)

// StartLoad starts clients; their messages have the sizes given, in turn.
func StartLoad(ctx context.Context, addr, prefix string, clients int, sizes ...int) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{prefix: prefix, addr: addr, sizes: sizes, stop: stop,
		Acked: map[string]time.Time{}, id: map[string]string{}, Refused: map[string]int{}}
	for range clients {
		l.wg.Go(func() {
			for ctx.Err() == nil {
				if err := l.session(ctx); err != nil {
					// The relay is down, or tells us to wait.
					select {
					case <-ctx.Done():
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		})
	}
	return l
}

// End stops the clients and waits for them.
func (l *load) End() { l.stop(); l.wg.Wait() }

// Message gives the next marker and the size that goes with it.
func (l *load) Message() (marker string, size int) {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Attempts++
	return fmt.Sprintf("%s-%06d", l.prefix, l.Attempts), l.sizes[l.Attempts%len(l.sizes)]
}

func (l *load) AckedCount() int {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return len(l.Acked)
}

func (l *load) Refusals() string {
	l.Mu.Lock()
	defer l.Mu.Unlock()
	return fmt.Sprint(l.Refused)
}

// session sends over one connection until it breaks. The envelope and DATA
// are pipelined (RFC 2920).
func (l *load) session(ctx context.Context) error {
	d, err := DialPlain(l.addr)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Play("< 220\n> EHLO load.test\n< 250"); err != nil {
		return err
	}
	for ctx.Err() == nil {
		d.log.Reset()
		if err := l.one(d); err != nil {
			return err
		}
	}
	return d.Play("> QUIT\n< 221")
}

func (l *load) one(d *dialogue) error {
	marker, size := l.Message()
	if err := d.Send("MAIL FROM:<load@sender.test>\r\nRCPT TO:<someone@sink.test>\r\nDATA\r\n"); err != nil {
		return err
	}
	ok := true
	for _, want := range []string{"250", "250", "354"} {
		code, text, err := d.Reply()
		if err != nil {
			return err
		}
		if code != want {
			if ok { // what follows is only a consequence
				l.refuse(code, text)
			}
			ok = false
		}
		if code == "421" {
			return fmt.Errorf("421 %s", text)
		}
	}
	if !ok {
		return fmt.Errorf("refused")
	}
	body := strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/72)
	if err := d.Send("Subject: " + marker + "\r\n\r\n" + body + "END " + marker + "\r\n.\r\n"); err != nil {
		return err
	}
	code, text, err := d.Reply()
	switch {
	case err != nil:
		return err
	case code == "250" && strings.Contains(text, "queued as"):
		l.Mu.Lock()
		l.Acked[marker] = time.Now()
		_, id, _ := strings.Cut(text, "queued as ")
		l.Queued = append(l.Queued, strings.TrimSpace(id))
		l.Mu.Unlock()
		return nil
	}
	l.refuse(code, text)
	return fmt.Errorf("refused")
}

func (l *load) refuse(code, text string) {
	status, _, _ := strings.Cut(text, " ")
	l.Mu.Lock()
	defer l.Mu.Unlock()
	l.Refused[code+" "+status]++
}

var receivedID = regexp.MustCompile(`\n\tid ([0-9A-Z-]+)`)

// tally is what the sink has of a load: marker → when its copies came.
func (l *load) tally(s *sink) (map[string][]time.Time, error) {
	end := []byte("END " + l.prefix + "-")
	copies := map[string][]time.Time{}
	found, err := s.Arrivals(func(raw []byte) bool { return bytes.Contains(raw, end) })
	for _, a := range found {
		i := bytes.LastIndex(a.Content, end)
		marker := string(bytes.TrimSpace(a.Content[i+len("END "):]))
		copies[marker] = append(copies[marker], a.at)
		if m := receivedID.FindSubmatch(a.Content); m != nil {
			l.id[marker] = string(m[1])
		}
	}
	return copies, err
}

// Settled waits until every promised message has arrived. lost is those that
// have not at the limit.
func (l *load) Settled(ctx context.Context, s *sink, limit time.Duration) (copies map[string][]time.Time, lost []string) {
	Eventually(ctx, limit, func() bool {
		var err error
		if copies, err = l.tally(s); err != nil {
			return false
		}
		lost = nil
		for m := range l.Acked {
			if len(copies[m]) == 0 {
				lost = append(lost, m)
			}
		}
		return len(lost) == 0
	})
	return copies, lost
}

// JudgeCopies wants every second copy to come from a later life of the relay
// than the first: within one life nothing may be sent twice.
func (w *World) JudgeCopies(t *T, l *load, copies map[string][]time.Time, starts []time.Time) (duplicates int) {
	life := func(at time.Time) int {
		i, _ := slices.BinarySearchFunc(starts, at, time.Time.Compare)
		return i
	}
	for m, at := range copies {
		slices.SortFunc(at, time.Time.Compare)
		for i := 1; i < len(at); i++ {
			duplicates++
			if life(at[i-1]) == life(at[i]) {
				t.Errorf("%s arrived twice in one life of the relay (number %d), at %s and %s:\n%s", m, life(at[i]),
					at[i-1].Format(time.RFC3339Nano), at[i].Format(time.RFC3339Nano), w.logOf(l.id[m]))
				continue
			}
		}
		if len(at) < 2 {
			continue
		}
		// The log tells of what is settled, and what is settled is not sent again.
		if lines := w.logOf(l.id[m]); strings.Count(lines, "msg=relayed ") > 1 {
			t.Errorf("%s was settled more than once:\n%s", m, lines)
		}
	}
	return duplicates
}
