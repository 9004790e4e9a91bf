package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Ledger knows which messages were promised (acknowledged with 250) and which
// arrived. It is safe for concurrent use.
type Ledger struct {
	recipients int

	mu       sync.Mutex
	acked    []bool
	arrivals []uint16 // of recipient r of message id at id*recipients+r
	refused  []bool   // by the sink, for good: nothing is to arrive

	ackedN, settledN int
	counts           Counts
	lastArrival      time.Time
	closed           bool // the source has ended
	done             chan struct{}
	ended            bool
}

// Counts is what a ledger found.
type Counts struct {
	Acknowledged int `json:"acknowledged"` // messages
	Arrived      int `json:"arrived"`      // recipients' copies, duplicates not counted
	Missing      int `json:"missing"`      // copies promised that never came
	Duplicate    int `json:"duplicate"`    // copies too many
	Damaged      int `json:"damaged"`      // whose body is not what was sent
	Unpromised   int `json:"unpromised"`   // copies that came although no 250 was heard
	Refused      int `json:"refused"`      // recipients that the sink refused for good
	Foreign      int `json:"foreign"`      // messages of somebody else: notices
}

// Fault says what is wrong with the counts, "" for nothing.
func (c Counts) Fault() string {
	switch {
	case c.Missing > 0:
		return fmt.Sprintf("%d acknowledged copies never arrived", c.Missing)
	case c.Damaged > 0:
		return fmt.Sprintf("%d copies arrived damaged", c.Damaged)
	case c.Duplicate > 0:
		return fmt.Sprintf("%d copies arrived twice", c.Duplicate)
	}
	return ""
}

// NewLedger is for messages with this many recipients each.
func NewLedger(messages, recipients int) *Ledger {
	n := messages * recipients
	return &Ledger{recipients: recipients, acked: make([]bool, messages), arrivals: make([]uint16, n),
		refused: make([]bool, n), done: make(chan struct{})}
}

// Acked notes a promise.
func (l *Ledger) Acked(id int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.acked[id] {
		return
	}
	l.acked[id] = true
	l.ackedN++
	for r := range l.recipients {
		if i := id*l.recipients + r; l.arrivals[i] > 0 || l.refused[i] {
			l.settledN++
		}
	}
	l.check()
}

// SourceEnded says that no more promises come.
func (l *Ledger) SourceEnded() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.check()
}

// Observe notes what the sink was given.
func (l *Ledger) Observe(a Arrival) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := a.ID*l.recipients + a.Recipient
	switch {
	case a.Foreign || a.ID >= len(l.acked) || a.Recipient >= l.recipients:
		l.counts.Foreign++
		return
	case a.Refused:
		if l.refused[i] {
			return
		}
		l.refused[i] = true
		l.counts.Refused++
	default:
		if !a.Whole {
			l.counts.Damaged++
		}
		if l.arrivals[i]++; l.arrivals[i] > 1 {
			l.counts.Duplicate++
			return
		}
		l.counts.Arrived++
		l.lastArrival = a.At
	}
	if l.acked[a.ID] {
		l.settledN++
	}
	l.check()
}

// check needs the lock.
func (l *Ledger) check() {
	if l.closed && !l.ended && l.settledN >= l.ackedN*l.recipients {
		l.ended = true
		close(l.done)
	}
}

// Wait returns when everything promised has arrived, or ctx ends.
func (l *Ledger) Wait(ctx context.Context) {
	select {
	case <-l.done:
	case <-ctx.Done():
	}
}

// Counts is the balance, and when the last copy came.
func (l *Ledger) Counts() (Counts, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.counts
	c.Acknowledged = l.ackedN
	for i, n := range l.arrivals {
		promised := l.acked[i/l.recipients]
		switch {
		case promised && n == 0 && !l.refused[i]:
			c.Missing++
		case !promised && n > 0:
			c.Unpromised++
		}
	}
	return c, l.lastArrival
}
