package limits

import "time"

// Limit is at most so many in any span of a length, for all who count under its name.
type Limit struct {
	Name string
	Most int
	Per  time.Duration
}

// Slot is how long what was taken of a shared limit may be used: what was taken counts as used for
// as much longer than Per.
func (l Limit) Slot() time.Duration { return max(l.Per/60, 250*time.Millisecond) }

// Shared counts together with others. No method waits for them.
type Shared interface {
	// Take takes n, or says when there may be so many; zero: they are taken.
	Take(l Limit, n int) (wait time.Time)
	// Has says when there may be something; zero: there is.
	Has(Limit) (wait time.Time)
	// Owe counts n that were used without asking.
	Owe(l Limit, n int)
}

// Quota is so much in a period, of which at most Size at once: what was used drains evenly.
type Quota struct {
	Amount, Size int // Amount 0: no limit
	Period       time.Duration
}

// Spent is what came of counting in several quotas.
type Spent struct {
	Over int       // the first that lacks room, so that nothing was counted; below 0: none
	Used []float64 // of each, now
}

// Counts counts in the quotas of users together with others, and waits for them.
type Counts interface {
	// Spend counts n in all quotas of a user, or in none where one lacks room; below 0 gives back.
	Spend(user string, quotas []Quota, n []int) (Spent, error)
}
