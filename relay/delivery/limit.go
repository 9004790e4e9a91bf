package delivery

import (
	"strings"
	"sync"
	"time"

	"dawk/relay"
)

// noticeLimit counts notices by who gets them. Beyond the limit of a span they
// are held back in the queue, and go out together when the span ends.
//
// The counts live in memory: after a restart a span begins anew. What is held
// back is in the store, so that nothing is forgotten.
type noticeLimit struct {
	most int // in a span; 0: no limit
	span time.Duration

	mu      sync.Mutex
	windows map[relay.Path]noticeWindow
	sweep   int // size at which ended windows are dropped
}

type noticeWindow struct {
	began time.Time
	n     int
}

// take counts one notice to somebody. The time is when it may be sent: zero
// for at once.
func (l *noticeLimit) take(to relay.Path, now time.Time) time.Time {
	if l == nil || l.most == 0 {
		return time.Time{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w, known := l.windows[to]
	if !known || l.over(w, now) {
		l.forget(now)
		w = noticeWindow{began: now}
	}
	w.n++
	if l.windows == nil {
		l.windows = map[relay.Path]noticeWindow{}
	}
	l.windows[to] = w
	if w.n <= l.most {
		return time.Time{}
	}
	return w.began.Add(l.span)
}

// over says whether a window has ended, or lies in the future because the
// clock was set back.
func (l *noticeLimit) over(w noticeWindow, now time.Time) bool {
	return now.Before(w.began) || !now.Before(w.began.Add(l.span))
}

// forget drops ended windows when there are many, so that the map stays as
// small as the senders of one span are.
func (l *noticeLimit) forget(now time.Time) {
	if len(l.windows) < max(l.sweep, 1024) {
		return
	}
	for to, w := range l.windows {
		if l.over(w, now) {
			delete(l.windows, to)
		}
	}
	l.sweep = 2 * len(l.windows)
}

// digestPrefix begins the destination of notices that are held back: what is
// due for one mailbox is then one destination, whose turn comes once.
const digestPrefix = "digest:"

// HeldBack says whether m is a notice that was held back, and under which
// destination it waits. The store asks before it asks the transport.
func HeldBack(m *relay.Message) (destination string, ok bool) {
	if !m.Notice || !m.NotBefore.After(m.Arrival) || len(m.Recipients) == 0 {
		return "", false
	}
	return digestPrefix + m.Recipients[0].Path.String(), true
}

func isDigest(destination string) bool { return strings.HasPrefix(destination, digestPrefix) }
