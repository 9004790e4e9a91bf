package mx

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// saveBudgets is how often counts of the day are written, if they have changed:
// after a crash a mailbox has what it sent since then once more.
const saveBudgets = 10 * time.Second

// keptBudget is what outlives a restart of one mailbox's budget.
type keptBudget struct {
	Until  time.Time   `json:"until,omitzero"`  // a pause
	Minute []time.Time `json:"minute,omitzero"` // of the messages of the last one, the oldest first
	Day    [][3]int64  `json:"day,omitempty"`   // minute since 1970, messages, recipients
}

// budgetBook writes down what mailboxes have sent in the last 24 hours.
type budgetBook struct {
	file string
	all  map[string]*budget // by mailbox
	stop chan struct{}
	wg   sync.WaitGroup
}

// mailboxKey names a mailbox at a provider, however many routes lead to it,
// unless it counts them as different services.
func mailboxKey(r *compiled) string {
	return fmt.Sprintf("%s %s %d/%d", r.Provider, strings.ToLower(r.User), r.Budget.MessagesPerDay, r.Budget.RecipientsPerDay)
}

// openBudgets reads the counts of the last run and keeps them from now on. What
// cannot be read is begun anew: the provider's own count ends what we then send
// too much.
func (t *Transport) openBudgets() {
	b := &t.book
	b.all = map[string]*budget{}
	for _, r := range t.routes {
		if r.Provider != ProviderOther && (r.Budget.MessagesPerDay > 0 || r.Budget.RecipientsPerDay > 0) {
			b.all[mailboxKey(r)] = r.budget
		}
	}
	if b.file = t.cfg.BudgetFile; b.file == "" || len(b.all) == 0 {
		return
	}
	if err := b.read(time.Now()); err != nil {
		t.cfg.Log.Warn("what mailboxes have sent today is not known; their providers count on", "error", err)
	}
	b.stop = make(chan struct{})
	b.wg.Go(func() {
		tick := time.NewTicker(saveBudgets)
		defer tick.Stop()
		for failed := false; ; {
			select {
			case <-tick.C:
			case <-b.stop:
				return
			}
			err := b.save()
			if err != nil && !failed { // once, not every ten seconds
				t.cfg.Log.Warn("what mailboxes have sent today is not on disk; a restart forgets it", "error", err)
			}
			failed = err != nil
		}
	})
}

func (b *budgetBook) close() error {
	if b.stop == nil {
		return nil
	}
	close(b.stop)
	b.wg.Wait()
	return b.save()
}

func (b *budgetBook) read(now time.Time) error {
	data, err := os.ReadFile(b.file)
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
func (b *budgetBook) save() error {
	changed := false
	kept := make(map[string]keptBudget, len(b.all))
	for key, one := range b.all {
		k, dirty := one.kept()
		kept[key], changed = k, changed || dirty
	}
	if !changed {
		return nil
	}
	data, err := json.Marshal(kept)
	if err == nil {
		err = writeSynced(b.file, data)
	}
	if err != nil {
		for _, one := range b.all {
			one.unsaved()
		}
		return fmt.Errorf("write the budgets: %w", err)
	}
	return nil
}

func (b *budget) kept() (k keptBudget, dirty bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dirty, b.dirty = b.dirty, false
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
	return k, dirty
}

func (b *budget) unsaved() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dirty = true
}

// restore takes back what was kept, unless it is older than a day or from the
// future: a clock that was wrong must not stop the mail for longer.
func (b *budget) restore(now time.Time, k keptBudget) {
	b.mu.Lock()
	defer b.mu.Unlock()
	minute := now.Unix() / 60
	for _, d := range k.Day {
		if d[0] <= minute-int64(len(b.day)) || d[0] > minute || d[1] < 0 || d[2] < 0 || d[1]+d[2] > 1<<30 {
			continue
		}
		slot := &b.day[d[0]%int64(len(b.day))]
		b.drop(slot)
		*slot = dayMinute{minute: d[0], messages: int(d[1]), recipients: int(d[2])}
		b.sum.messages, b.sum.recipients = b.sum.messages+slot.messages, b.sum.recipients+slot.recipients
	}
	if n := len(k.Minute); n <= len(b.minute) && !slices.ContainsFunc(k.Minute, now.Before) {
		copy(b.minute[len(b.minute)-n:], k.Minute) // the next is the first, and has no time
	}
	if k.Until.After(now) && k.Until.Before(now.Add(dailyPause+time.Minute)) {
		b.until = k.Until
	}
}

// BudgetState is how much of its budget the mailbox of a route has used.
type BudgetState struct {
	Route string
	Limit Budget
	Used  Budget    // Connections: not counted here
	Until time.Time // until when its mail waits for it; zero: it need not
}

// Budgets are those of all routes that have one.
func (t *Transport) Budgets() []BudgetState {
	var all []BudgetState
	now := time.Now()
	for _, r := range t.routes {
		if r.Budget != (Budget{}) {
			s := r.budget.state(now)
			s.Route = r.Name
			all = append(all, s)
		}
	}
	return all
}

func (b *budget) state(now time.Time) BudgetState {
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
