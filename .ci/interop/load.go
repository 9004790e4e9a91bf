package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
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

	mu       sync.Mutex
	acked    map[string]time.Time // marker → when 250 queued as came
	id       map[string]string    // marker → queue ID, of what has arrived
	refused  map[string]int       // reply (code and status) → how often, at MAIL, RCPT, DATA or the end
	attempts int

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// startLoad starts clients; their messages have the sizes given, in turn.
func startLoad(ctx context.Context, addr, prefix string, clients int, sizes ...int) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{prefix: prefix, addr: addr, sizes: sizes, stop: stop,
		acked: map[string]time.Time{}, id: map[string]string{}, refused: map[string]int{}}
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

// end stops the clients and waits for them.
func (l *load) end() { l.stop(); l.wg.Wait() }

// message gives the next marker and the size that goes with it.
func (l *load) message() (marker string, size int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attempts++
	return fmt.Sprintf("%s-%06d", l.prefix, l.attempts), l.sizes[l.attempts%len(l.sizes)]
}

func (l *load) ackedCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

func (l *load) refusals() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.refused)
}

// session sends over one connection until it breaks. The envelope and DATA
// are pipelined (RFC 2920).
func (l *load) session(ctx context.Context) error {
	d, err := dialPlain(l.addr)
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.play("< 220\n> EHLO load.test\n< 250"); err != nil {
		return err
	}
	for ctx.Err() == nil {
		d.log.Reset()
		if err := l.one(d); err != nil {
			return err
		}
	}
	return d.play("> QUIT\n< 221")
}

func (l *load) one(d *dialogue) error {
	marker, size := l.message()
	if err := d.send("MAIL FROM:<load@sender.test>\r\nRCPT TO:<someone@sink.test>\r\nDATA\r\n"); err != nil {
		return err
	}
	ok := true
	for _, want := range []string{"250", "250", "354"} {
		code, text, err := d.reply()
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
	if err := d.send("Subject: " + marker + "\r\n\r\n" + body + "END " + marker + "\r\n.\r\n"); err != nil {
		return err
	}
	code, text, err := d.reply()
	switch {
	case err != nil:
		return err
	case code == "250" && strings.Contains(text, "queued as"):
		l.mu.Lock()
		l.acked[marker] = time.Now()
		l.mu.Unlock()
		return nil
	}
	l.refuse(code, text)
	return fmt.Errorf("refused")
}

func (l *load) refuse(code, text string) {
	status, _, _ := strings.Cut(text, " ")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[code+" "+status]++
}

var receivedID = regexp.MustCompile(`\n\tid ([0-9A-Z-]+)`)

// tally is what the sink has of a load: marker → when its copies came.
func (l *load) tally(s *sink) (map[string][]time.Time, error) {
	end := []byte("END " + l.prefix + "-")
	copies := map[string][]time.Time{}
	found, err := s.arrivals(func(raw []byte) bool { return bytes.Contains(raw, end) })
	for _, a := range found {
		i := bytes.LastIndex(a.content, end)
		marker := string(bytes.TrimSpace(a.content[i+len("END "):]))
		copies[marker] = append(copies[marker], a.at)
		if m := receivedID.FindSubmatch(a.content); m != nil {
			l.id[marker] = string(m[1])
		}
	}
	return copies, err
}

// settled waits until every promised message has arrived. lost is those that
// have not at the limit.
func (l *load) settled(ctx context.Context, s *sink, limit time.Duration) (copies map[string][]time.Time, lost []string) {
	eventually(ctx, limit, func() bool {
		var err error
		if copies, err = l.tally(s); err != nil {
			return false
		}
		lost = nil
		for m := range l.acked {
			if len(copies[m]) == 0 {
				lost = append(lost, m)
			}
		}
		return len(lost) == 0
	})
	return copies, lost
}
