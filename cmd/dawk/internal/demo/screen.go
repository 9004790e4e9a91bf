package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"dawk/relay"
)

// screen prints the timeline of the demo: it is an Observer of the relay.
type screen struct {
	w      io.Writer
	colour bool
	began  time.Time

	mu      sync.Mutex
	changed chan struct{}              // closed and replaced at each event
	numbers map[string]int             // of the letters, by recipient
	ids     map[string]relay.QueueID   // accepted letters, by recipient
	letters map[relay.QueueID]int      // numbers of the letters, and of the notices about them
	ended   map[string]relay.EventKind // by queue ID
	delayed map[string]int             // by queue ID
}

func newScreen(w io.Writer) *screen {
	f, isFile := w.(*os.File)
	return &screen{w: w, began: time.Now(), changed: make(chan struct{}),
		colour:  isFile && term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "",
		numbers: map[string]int{}, ids: map[string]relay.QueueID{}, letters: map[relay.QueueID]int{}, ended: map[string]relay.EventKind{}, delayed: map[string]int{}}
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s *screen) bold(t string) string   { return s.paint("1", t) }
func (s *screen) green(t string) string  { return s.paint("32", t) }
func (s *screen) yellow(t string) string { return s.paint("33", t) }
func (s *screen) red(t string) string    { return s.paint("31", t) }
func (s *screen) blue(t string) string   { return s.paint("34", t) }
func (s *screen) grey(t string) string   { return s.paint("90", t) }

func (s *screen) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.w, format, args...)
}

// expect makes l known before it is sent.
func (s *screen) expect(l *letter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.numbers[l.to] = l.number
}

// Observe prints one line for what a person would want to know.
func (s *screen) Observe(e relay.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	to, id := e.Recipient.String(), e.ID.String()
	switch e.Kind {
	case relay.EventAccepted:
		if e.From.IsNull() {
			return // the bounce: EventNotified has told of it
		}
		// Which letter it is, the first event with a recipient would say; the
		// demo sends one at a time, so it is the one that has no ID yet.
		for to, n := range s.numbers {
			if _, known := s.ids[to]; !known {
				s.ids[to], s.letters[e.ID] = e.ID, n
				s.line(n, s.blue("accepted "), fmt.Sprintf("for %s: on stable storage, 250 2.0.0 queued as %s", to, id))
			}
		}
	case relay.EventDelayed:
		s.delayed[id]++
		s.line(s.number(e), s.yellow("deferred "), fmt.Sprintf("%s said %q; next try in %s (%s)", e.Host, e.Reply, time.Until(e.Next).Round(100*time.Millisecond), e.Rule))
	case relay.EventRelayed, relay.EventDelivered:
		s.ended[id] = e.Kind
		what := fmt.Sprintf("%s took it for %s: %q", e.Host, to, e.Reply)
		if e.From.IsNull() {
			what = fmt.Sprintf("the bounce is in the mailbox of %s", to)
		}
		s.line(s.number(e), s.green("relayed  "), what)
	case relay.EventFailed, relay.EventExpired:
		s.ended[id] = e.Kind
		what := fmt.Sprintf("for %s: %s", to, e.Reply)
		if e.Host != "" {
			what = fmt.Sprintf("%s said %q, and means it", e.Host, e.Reply)
		}
		s.line(s.number(e), s.red("failed   "), what)
	case relay.EventNotified:
		s.letters[e.NoticeID] = s.letters[e.ID]
		s.line(s.letters[e.ID], s.red("bounced  "), fmt.Sprintf("a notice to %s is queued as %s, in the same commit", e.From, e.NoticeID))
	default:
		return
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

// number is the letter that e is about. The first attempt may end before its
// acceptance is told.
func (s *screen) number(e relay.Event) int {
	if n, ok := s.letters[e.ID]; ok {
		return n
	}
	return s.numbers[e.Recipient.String()]
}

func (s *screen) line(number int, verb, what string) {
	fmt.Fprintf(s.w, "%s  %s  %s %s\n", s.grey(fmt.Sprintf("%6.2fs", time.Since(s.began).Seconds())),
		s.bold(fmt.Sprintf("✉ %d", number)), verb, what)
}

// until waits for a condition on what was observed.
func (s *screen) until(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// accepted waits for the queue ID of the letter to a recipient; "" if ctx ends
// first.
func (s *screen) accepted(ctx context.Context, to string) string {
	var id relay.QueueID
	_ = s.until(ctx, func() bool { id = s.ids[to]; return !id.IsZero() })
	return id.String()
}

// waitSettled waits until every letter has ended in the relay's own books too.
func (s *screen) waitSettled(ctx context.Context, letters []*letter) error {
	return s.until(ctx, func() bool {
		for _, l := range letters {
			if s.ended[l.id] == "" {
				return false
			}
		}
		return true
	})
}

// delays counts the deferrals of a message.
func (s *screen) delays(id string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delayed[id]
}
