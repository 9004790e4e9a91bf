package notices

import (
	"time"

	"dawk/relay"
	"dawk/relay/limits"
)

// mailbox is the state of one recipient of notices.
type mailbox struct {
	told limits.Window // notices in the span
	list time.Time     // when the rows that are kept for it are due; zero: there are none
}

// take counts one notice to a mailbox, and says when it is due: zero is at once. While room is
// scant none is due at once.
func (n *Notices) take(to relay.Path, now time.Time, scant bool) time.Time {
	if n.Limit == 0 && !scant {
		return time.Time{}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.mailboxes[to]
	if b.told.Over(n.Span, now) {
		n.forget(now)
	}
	over := b.told.Add(1, n.Span, now) > n.Limit || scant
	n.mailboxes[to] = b
	if !over {
		return time.Time{}
	}
	return b.told.Began.Add(n.Span)
}

// forget drops spans that have ended when there are many, so that the map stays
// as small as the senders of one span are.
func (n *Notices) forget(now time.Time) {
	if len(n.mailboxes) < max(n.sweep, 1024) {
		return
	}
	for to, b := range n.mailboxes {
		if b.told.Over(n.Span, now) && b.list.IsZero() {
			delete(n.mailboxes, to)
		}
	}
	n.sweep = 2 * len(n.mailboxes)
}

// due notes that there are rows for a mailbox, due at that time.
func (n *Notices) due(to relay.Path, now, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := n.mailboxes[to]
	b.list = n.sooner(b.list, n.sooner(at, now.Add(n.Span))) // the clock may have been set back
	n.mailboxes[to] = b
	n.next = n.sooner(n.next, b.list)
}

// sooner is the earlier of two times; a zero one is none.
func (n *Notices) sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Next is when Lists has something to do; zero: never, as far as is known.
func (n *Notices) Next(now time.Time) time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.next.After(now.Add(n.Span)) {
		return now
	}
	return n.next
}

// takeDue returns the mailboxes whose list is due, and marks the lists as no longer due.
func (n *Notices) takeDue(now time.Time) map[relay.Path]bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	due := make(map[relay.Path]bool)
	n.next = time.Time{}
	for to, b := range n.mailboxes {
		switch {
		case b.list.IsZero():
		case now.Before(b.list) && !b.list.After(now.Add(n.Span)):
			n.next = n.sooner(n.next, b.list)
		default:
			due[to] = true
			b.list = time.Time{}
			n.mailboxes[to] = b
		}
	}
	return due
}
