package demo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"dawk/cmd/dawk/internal/show"
	"dawk/relay"
)

// news wakes whoever waits for what a lock guards.
type news struct {
	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

func newNews() news { return news{changed: make(chan struct{})} }

// tell says that something has changed; mu is held.
func (n *news) tell() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// until waits until done says so, which is called with mu held.
func (n *news) until(ctx context.Context, done func() bool) error {
	for {
		n.mu.Lock()
		ok, changed := done(), n.changed
		n.mu.Unlock()
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

// screen prints the timeline of the demo: it is an Observer of the relay.
type screen struct {
	*show.Printer
	began time.Time

	news
	letters []*letter // in the order in which they are sent
}

func newScreen(w io.Writer) *screen {
	now := time.Now()
	return &screen{Printer: show.NewPrinter(w, now), began: now, news: newNews()}
}

// say is Line beside the events.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Line(format, args...)
}

// of is the letter that e is about, itself or by its notice. The first attempt may
// end before the acceptance is told.
func (s *screen) of(e relay.Event) *letter {
	for _, l := range s.letters {
		if e.ID == l.id || e.ID == l.notice || l.id.IsZero() && (e.Kind == relay.EventAccepted || e.Recipient.String() == l.to) {
			return l
		}
	}
	return new(letter)
}

// Observe prints one line for what a person would want to know.
func (s *screen) Observe(e relay.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	colour, verb, what := show.Green, "relayed", ""
	l := s.of(e)
	switch e.Kind {
	case relay.EventAccepted:
		if e.From.IsNull() {
			return // the bounce: EventNotified has told of it
		}
		l.id, colour, verb = e.ID, show.Bold, "accepted"
		what = fmt.Sprintf("for %s: on stable storage, 250 2.0.0 queued as %s", l.to, e.ID)
	case relay.EventDelayed:
		l.delays++
		colour, verb = show.Yellow, "deferred"
		what = fmt.Sprintf("%s said %q; next try in %s (%s)", e.Host, e.Reply, time.Until(e.Next).Round(100*time.Millisecond), e.Rule)
	case relay.EventRelayed, relay.EventDelivered:
		l.ended = l.ended || e.ID == l.id
		what = fmt.Sprintf("%s took it for %s: %q", e.Host, e.Recipient, e.Reply)
		if e.From.IsNull() {
			what = fmt.Sprintf("the bounce is in the mailbox of %s", e.Recipient)
		}
	case relay.EventFailed, relay.EventExpired:
		l.ended, colour, verb = true, show.Red, "failed"
		what = fmt.Sprintf("for %s: %s", e.Recipient, e.Reply)
		if e.Host != "" {
			what = fmt.Sprintf("%s said %q, and means it", e.Host, e.Reply)
		}
	case relay.EventNotified:
		l.notice, colour, verb = e.NoticeID, show.Red, "bounced"
		what = fmt.Sprintf("a notice to %s is queued as %s, in the same commit", e.From, e.NoticeID)
	default:
		return
	}
	s.Line("%6.2fs  %s  %s %s", time.Since(s.began).Seconds(), s.Paint(show.Bold, fmt.Sprintf("✉ %d", l.number)), s.Paint(colour, fmt.Sprintf("%-9s", verb)), what)
	s.tell()
}
