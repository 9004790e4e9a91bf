package shaping

import (
	"fmt"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/limits"
)

// Budget is how much a smart host allows one mailbox to send. Zero: no limit.
type Budget struct {
	Connections      int // at once
	PerMinute        int // messages in any 60 s
	MessagesPerDay   int // in any 24 h
	RecipientsPerDay int // in any 24 h
}

const longestPause = time.Hour // after a reply that the day's limit is used up

// Meter counts what a mailbox has sent, in memory and, by a Book, on disk.
type Meter struct {
	Budget
	name   string        // of the mailbox, for shared
	shared limits.Shared // who counts it together with us; nil: nobody

	mu     sync.Mutex
	minute []time.Time // of the last PerMinute messages, a ring
	next   int         // the oldest of them
	until  time.Time   // a pause
	day    [24 * 60]dayMinute
	sum    dayMinute       // of all entries of day that count
	dirty  bool            // it differs from what is on disk
	news   chan<- struct{} // told of every change; nil: nobody listens
}

// dayMinute is what was sent in one minute of the last 24 hours.
type dayMinute struct {
	minute               int64 // since 1970
	messages, recipients int
}

func NewMeter(b Budget) *Meter {
	return &Meter{Budget: b, minute: make([]time.Time, b.PerMinute)}
}

// Share has what the mailbox of a name sends counted together with other relays, before its first
// use. What the Meter says by itself holds as well.
func (b *Meter) Share(name string, with limits.Shared) { b.name, b.shared = name, with }

func (b *Meter) limit(what string, most int, per time.Duration) limits.Limit {
	return limits.Limit{Name: fmt.Sprintf("mailbox %s %d %s in %s", b.name, most, what, relay.Duration(per)), Most: most, Per: per}
}

// reserveShared takes room for one message of what is shared, or says when there may be room. The
// message of a minute goes first: where the day then has no room it is lost, and less is sent.
func (b *Meter) reserveShared() (wait time.Time) {
	if b.shared == nil {
		return time.Time{}
	}
	if b.RecipientsPerDay > 0 {
		wait = b.shared.Has(b.limit("recipients", b.RecipientsPerDay, 24*time.Hour))
	}
	if wait.IsZero() && b.MessagesPerDay > 0 {
		wait = b.shared.Has(b.limit("messages", b.MessagesPerDay, 24*time.Hour))
	}
	if wait.IsZero() && b.PerMinute > 0 {
		wait = b.shared.Take(b.limit("messages", b.PerMinute, time.Minute), 1)
	}
	if wait.IsZero() && b.MessagesPerDay > 0 {
		wait = b.shared.Take(b.limit("messages", b.MessagesPerDay, 24*time.Hour), 1)
	}
	return wait
}

// Reserve takes room for one message, or says when there may be room.
func (b *Meter) Reserve(now time.Time) (wait time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	until := b.wait(now)
	if until.IsZero() {
		until = b.reserveShared()
	}
	if !until.IsZero() {
		return until
	}
	if b.PerMinute > 0 {
		b.minute[b.next] = now
		b.next = (b.next + 1) % len(b.minute)
	}
	b.count(now, 1, 0)
	return time.Time{}
}

// wait is when there may be room for a message; zero: there is.
func (b *Meter) wait(now time.Time) time.Time {
	if now.Before(b.until) {
		return b.until
	}
	if b.full() {
		b.forget(now)
	}
	if b.full() {
		return b.firstLeaves(now)
	}
	if b.PerMinute > 0 {
		if end := b.minute[b.next].Add(time.Minute); now.Before(end) {
			return end
		}
	}
	return time.Time{}
}

func (b *Meter) full() bool {
	return b.MessagesPerDay > 0 && b.sum.messages >= b.MessagesPerDay ||
		b.RecipientsPerDay > 0 && b.sum.recipients >= b.RecipientsPerDay
}

// Sent counts recipients that were accepted.
func (b *Meter) Sent(now time.Time, recipients int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(now, 0, recipients)
	if b.shared != nil && b.RecipientsPerDay > 0 {
		b.shared.Owe(b.limit("recipients", b.RecipientsPerDay, 24*time.Hour), recipients)
	}
}

func (b *Meter) count(now time.Time, messages, recipients int) {
	if b.MessagesPerDay == 0 && b.RecipientsPerDay == 0 {
		return
	}
	m := now.Unix() / 60
	slot := &b.day[m%int64(len(b.day))]
	if slot.minute != m {
		b.drop(slot)
		slot.minute = m
	}
	b.changed()
	slot.messages, slot.recipients = slot.messages+messages, slot.recipients+recipients
	b.sum.messages, b.sum.recipients = b.sum.messages+messages, b.sum.recipients+recipients
}

func (b *Meter) drop(slot *dayMinute) {
	b.sum.messages, b.sum.recipients = b.sum.messages-slot.messages, b.sum.recipients-slot.recipients
	*slot = dayMinute{}
}

// forget drops what is older than a day.
func (b *Meter) forget(now time.Time) {
	oldest := now.Unix()/60 - int64(len(b.day))
	for i := range b.day {
		if b.day[i].minute <= oldest {
			b.drop(&b.day[i])
		}
	}
}

// firstLeaves is when the oldest entry that counts will be a day old.
func (b *Meter) firstLeaves(now time.Time) time.Time {
	first := now.Unix() / 60
	for i := range b.day {
		if d := &b.day[i]; d.messages+d.recipients > 0 {
			first = min(first, d.minute)
		}
	}
	return time.Unix((first+int64(len(b.day))+1)*60, 0)
}

// Pause stops the use of the mailbox for a while.
func (b *Meter) Pause(now time.Time, d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if end := now.Add(d); end.After(b.until) {
		b.until = end
		b.changed()
	}
}

// changed has the change written soon; it does not wait for the disk.
func (b *Meter) changed() {
	b.dirty = true
	select {
	case b.news <- struct{}{}:
	default: // it is to be written already, or nowhere
	}
}
