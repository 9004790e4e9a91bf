package identity

import (
	"fmt"
	"strings"
	"time"
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

// quota is a rate: amount in period, of which at most size at once.
type quota struct {
	amount, size int
	period       time.Duration
}

// used is how much of the bucket is used now.
func (b bucket) used(q quota, now time.Time) float64 {
	passed := max(0, now.Sub(b.At)) // the clock may have been set back
	return max(0, b.Used-float64(q.amount)*passed.Seconds()/q.period.Seconds())
}

func (b *bucket) take(q quota, n int, now time.Time) {
	b.Used, b.At = max(0, b.used(q, now)+float64(n)), now
}

// wait is how long until n fit; false if they fit now.
func (b bucket) wait(q quota, n int, now time.Time) (time.Duration, bool) {
	over := b.used(q, now) + float64(n) - float64(q.size)
	if q.amount == 0 || over <= 1e-9 {
		return 0, false
	}
	return time.Duration(over / float64(q.amount) * float64(q.period)), true
}

// quotas are those of u, in the order of account's buckets.
func (u *User) quotas() (messages, recipients [2]quota) {
	of := func(hour, day, burst int) [2]quota {
		if burst == 0 {
			burst = hour
		}
		return [2]quota{{hour, burst, time.Hour}, {day, day, 24 * time.Hour}}
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
			return &QuotaError{"messages", m[i].amount, per, wait}
		}
		if wait, over := a.Recipients[i].wait(r[i], recipients, now); over {
			return &QuotaError{"recipients", r[i].amount, per, wait}
		}
	}
	return nil
}

func (a *account) take(u *User, messages, recipients int, now time.Time) {
	m, r := u.quotas()
	for i := range 2 {
		if m[i].amount > 0 {
			a.Messages[i].take(m[i], messages, now)
		}
		if r[i].amount > 0 {
			a.Recipients[i].take(r[i], recipients, now)
		}
	}
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
			quota
			bucket
		}{{"messages", m[i], a.Messages[i]}, {"recipients", r[i], a.Recipients[i]}} {
			if q.amount > 0 {
				all = append(all, Left{q.what, per, q.amount, max(0, int(float64(q.size)-q.used(q.quota, now)+1e-9))})
			}
		}
	}
	return all
}
