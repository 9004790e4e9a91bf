package shaping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"dawk/relay/durable"
)

// saveBudgets is how often counts of the day are synced, if they have changed: after a power
// failure what was sent since then is not counted. A process that is killed forgets nothing: each
// change is written at once, without a sync, to a second file next to the first.
const saveBudgets = 10 * time.Second

// latest is appended to the name of the first file to name the second.
const latest = ".latest"

// keptBudget is the part of a mailbox's budget that is kept over a restart.
type keptBudget struct {
	Until  time.Time   `json:"until,omitzero"`  // a pause
	Minute []time.Time `json:"minute,omitzero"` // of the messages of the last one, the oldest first
	Day    [][3]int64  `json:"day,omitempty"`   // minute since 1970, messages, recipients
}

// Book writes down what mailboxes have sent in the last 24 hours.
type Book struct {
	file string
	news chan struct{} // something has changed; holds one

	mu  sync.Mutex
	all map[string]*Meter // by mailbox
}

// Open reads the counts of the last run from a file; "": they are in memory alone. If the file
// cannot be read, counting begins again from zero; the provider's own limit then still applies.
// [Book.Run] and [Book.Close] write the file.
func (b *Book) Open(file string, all map[string]*Meter, log *slog.Logger) {
	b.all = all
	if b.file = file; b.file == "" {
		return
	}
	durable.Sweep(b.file)
	durable.Sweep(b.file + latest)
	b.Read(b.file+latest, time.Now()) // after a power cut it may hold anything: it is not synced
	if err := b.Read(b.file, time.Now()); err != nil {
		log.Warn("what mailboxes have sent today is not known; their providers count on", "error", err)
	}
	b.news = make(chan struct{}, 1)
	for _, one := range b.all {
		one.news = b.news
	}
}

// Keep returns the budget that is kept for a mailbox; if there is none, it keeps m.
func (b *Book) Keep(mailbox string, m *Meter) *Meter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.all[mailbox]; old != nil {
		return old
	}
	b.all[mailbox], m.news = m, b.news
	return m
}

// Run writes what changes until ctx ends.
func (b *Book) Run(ctx context.Context, log *slog.Logger) {
	if b.news == nil {
		return
	}
	tick := time.NewTicker(saveBudgets)
	defer tick.Stop()
	for failed := false; ; {
		select {
		case <-b.news:
			b.note()
			continue
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		err := b.save()
		if err != nil && !failed { // once, not every ten seconds
			log.Warn("what mailboxes have sent today is not on disk; a restart forgets it", "error", err)
		}
		failed = err != nil
	}
}

// note writes the latest counts, in case this process is killed. The next save reports what fails
// here.
func (b *Book) note() {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := make(map[string]keptBudget, len(b.all))
	for key, one := range b.all {
		kept[key] = one.kept()
	}
	if data, err := json.Marshal(kept); err == nil {
		_ = durable.WriteUnsynced(b.file+latest, data)
	}
}

// Close writes the counts a last time, after Run has ended.
func (b *Book) Close() error {
	if b.news == nil {
		return nil
	}
	err := b.save()
	if err == nil {
		os.Remove(b.file + latest)
	}
	return err
}

func (b *Book) Read(file string, now time.Time) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var kept map[string]keptBudget
	if err == nil {
		err = json.Unmarshal(data, &kept)
	}
	if err != nil {
		return fmt.Errorf("read the budgets: %w", err)
	}
	for key, k := range kept {
		if one := b.all[key]; one != nil {
			one.restore(now, k)
		}
	}
	return nil
}

// save writes all budgets if one has changed.
func (b *Book) save() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed := false
	kept := make(map[string]keptBudget, len(b.all))
	for key, one := range b.all {
		changed = one.saved() || changed // before b is read: later changes are saved next time
		kept[key] = one.kept()
	}
	if !changed {
		return nil
	}
	data, err := json.Marshal(kept)
	if err == nil {
		err = durable.Write(b.file, data, 0o600)
	}
	if err != nil {
		for _, one := range b.all {
			one.unsaved()
		}
		return fmt.Errorf("write the budgets: %w", err)
	}
	return nil
}

// saved says whether b has changed since it was asked last.
func (b *Meter) saved() (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	changed, b.dirty = b.dirty, false
	return changed
}

func (b *Meter) kept() (k keptBudget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k.Until = b.until
	for i := range b.minute {
		if at := b.minute[(b.next+i)%len(b.minute)]; !at.IsZero() {
			k.Minute = append(k.Minute, at.Round(0))
		}
	}
	for i := range b.day {
		if d := &b.day[i]; d.messages+d.recipients > 0 {
			k.Day = append(k.Day, [3]int64{d.minute, int64(d.messages), int64(d.recipients)})
		}
	}
	return k
}

func (b *Meter) unsaved() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty = true
}

// restore loads what was kept, unless it is older than a day or from the future: a clock that was
// wrong must not stop the mail any longer. Of two files the one with the higher count is right.
func (b *Meter) restore(now time.Time, k keptBudget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	minute := now.Unix() / 60
	for _, d := range k.Day {
		if d[0] <= minute-int64(len(b.day)) || d[0] > minute || d[1] < 0 || d[2] < 0 || d[1]+d[2] > 1<<30 {
			continue
		}
		slot := &b.day[d[0]%int64(len(b.day))]
		if slot.minute == d[0] {
			d[1], d[2] = max(d[1], int64(slot.messages)), max(d[2], int64(slot.recipients))
		}
		b.drop(slot)
		*slot = dayMinute{minute: d[0], messages: int(d[1]), recipients: int(d[2])}
		b.sum.messages, b.sum.recipients = b.sum.messages+slot.messages, b.sum.recipients+slot.recipients
	}
	if n := len(k.Minute); n > 0 && n <= len(b.minute) && !slices.ContainsFunc(k.Minute, now.Before) && !k.Minute[n-1].Before(b.minute[len(b.minute)-1]) {
		copy(b.minute[len(b.minute)-n:], k.Minute) // the next is the first, and has no time
	}
	if k.Until.After(now) && k.Until.After(b.until) && k.Until.Before(now.Add(longestPause+time.Minute)) {
		b.until = k.Until
	}
}

// BudgetState is how much of its budget the mailbox of a route has used.
type BudgetState struct {
	Route string
	Limit Budget
	Used  Budget    // Connections: not counted here
	Until time.Time // until when mail waits for the budget; zero: it does not wait
}

func (b *Meter) State(now time.Time) BudgetState {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget(now)
	s := BudgetState{Limit: b.Budget, Used: Budget{MessagesPerDay: b.sum.messages, RecipientsPerDay: b.sum.recipients}}
	for _, m := range b.minute {
		if now.Before(m.Add(time.Minute)) {
			s.Used.PerMinute++
		}
	}
	s.Until = b.wait(now)
	return s
}
