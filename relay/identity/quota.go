package identity

import (
	"fmt"
	"strings"
	"time"

	"dawk/relay/limits"
)

// QuotaError means that the user has used up a quota for now; test with errors.As for *QuotaError.
type QuotaError struct {
	What  string        // "messages" or "recipients"
	Limit int           // of them
	Per   string        // "hour" or "day"
	Wait  time.Duration // until it fits
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("%d %s per %s", e.Limit, e.What, e.Per)
}

// bucket holds what a user may still send. It fills evenly, and never above
// its size; its zero value is full.
type bucket struct {
	Used float64   `json:"used"` // at At
	At   time.Time `json:"at,omitzero"`
}

// used is how much of the bucket is used now.
func (b bucket) used(q limits.Quota, now time.Time) float64 {
	passed := max(0, now.Sub(b.At)) // the clock may have been set back
	return max(0, b.Used-float64(q.Amount)*passed.Seconds()/q.Period.Seconds())
}

func (b *bucket) take(q limits.Quota, n int, now time.Time) {
	b.Used, b.At = max(0, b.used(q, now)+float64(n)), now
}

// wait is how long until n fit; false if they fit now.
func (b bucket) wait(q limits.Quota, n int, now time.Time) (time.Duration, bool) {
	over := b.used(q, now) + float64(n) - float64(q.Size)
	if q.Amount == 0 || over <= 1e-9 {
		return 0, false
	}
	return time.Duration(over / float64(q.Amount) * float64(q.Period)), true
}

// quotas are those of u, in the order of account's buckets.
func (u *User) quotas() (messages, recipients [2]limits.Quota) {
	of := func(hour, day, burst int) [2]limits.Quota {
		if burst == 0 {
			burst = hour
		}
		return [2]limits.Quota{{Amount: hour, Size: burst, Period: time.Hour}, {Amount: day, Size: day, Period: 24 * time.Hour}}
	}
	return of(u.PerHour, u.PerDay, u.Burst), of(u.RecipientsPerHour, u.RecipientsPerDay, 0)
}

// limited says whether anything of u is counted.
func (u *User) limited() bool {
	return u.PerHour+u.PerDay+u.RecipientsPerHour+u.RecipientsPerDay > 0
}

// Watched says whether p counts or watches anything.
func (p Policy) Watched() bool {
	return p.PerHour+p.PerDay+p.RecipientsPerHour+p.RecipientsPerDay+p.HoldCopies+p.HoldNewRecipients > 0
}

func (a *account) check(u *User, messages, recipients int, now time.Time) error {
	m, r := u.quotas()
	for i, per := range [2]string{"hour", "day"} {
		if wait, over := a.Messages[i].wait(m[i], messages, now); over {
			return &QuotaError{"messages", m[i].Amount, per, wait}
		}
		if wait, over := a.Recipients[i].wait(r[i], recipients, now); over {
			return &QuotaError{"recipients", r[i].Amount, per, wait}
		}
	}
	return nil
}

func (a *account) take(u *User, messages, recipients int, now time.Time) {
	m, r := u.quotas()
	for i := range 2 {
		if m[i].Amount > 0 {
			a.Messages[i].take(m[i], messages, now)
		}
		if r[i].Amount > 0 {
			a.Recipients[i].take(r[i], recipients, now)
		}
	}
}

// Together has quotas counted by counts, together with other relays. The Ledger then knows what was
// left after its own last message.
func (l *Ledger) Together(counts limits.Counts) { l.counts = counts }

// spend is Take where others count as well.
func (l *Ledger) spend(u *User, messages, recipients int) error {
	m, r := u.quotas()
	spent, err := l.counts.Spend(u.Name, []limits.Quota{m[0], r[0], m[1], r[1]}, []int{messages, recipients, messages, recipients})
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a, now := l.account(u.Name), time.Now()
	for i, b := range []*bucket{&a.Messages[0], &a.Recipients[0], &a.Messages[1], &a.Recipients[1]} {
		*b = bucket{spent.Used[i], now}
	}
	l.dirty = true
	if spent.Over < 0 {
		return nil
	}
	if err := a.check(u, messages, recipients, now); err != nil {
		return err
	}
	i := spent.Over // there was room a moment later
	return &QuotaError{[]string{"messages", "recipients"}[i%2], []limits.Quota{m[0], r[0], m[1], r[1]}[i].Amount, []string{"hour", "day"}[i/2], time.Second}
}

// Left is what of a quota a user has left now.
type Left struct {
	What  string `json:"what"` // "messages" or "recipients"
	Per   string `json:"per"`  // "hour" or "day"
	Limit int    `json:"limit"`
	Left  int    `json:"left"`
}

// Left are the quotas of u, with what is left of each. It counts nothing.
func (l *Ledger) Left(u *User) []Left {
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.users[strings.ToLower(u.Name)]
	if a == nil {
		a = new(account) // an inspection does not make an account
	}
	now := time.Now()
	m, r := u.quotas()
	var all []Left
	for i, per := range [2]string{"hour", "day"} {
		for _, q := range []struct {
			what string
			limits.Quota
			bucket
		}{{"messages", m[i], a.Messages[i]}, {"recipients", r[i], a.Recipients[i]}} {
			if q.Amount > 0 {
				all = append(all, Left{q.what, per, q.Amount, max(0, int(float64(q.Size)-q.used(q.Quota, now)+1e-9))})
			}
		}
	}
	return all
}
