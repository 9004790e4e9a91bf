package identity_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dawk/relay/identity"
	"dawk/relay/limits"
)

// counts is what relays count together.
type counts struct {
	quotas []limits.Quota
	n      []int
	gives  limits.Spent
	err    error
}

func (c *counts) Spend(_ string, quotas []limits.Quota, n []int) (limits.Spent, error) {
	c.quotas, c.n = quotas, n
	return c.gives, c.err
}

// Where relays count together what they say decides, whatever this one has seen; what they cannot
// count is no message.
func TestQuotasOfSeveralRelays(t *testing.T) {
	l, u := identity.NewLedger(), limited(identity.Policy{PerHour: 60, PerDay: 100, RecipientsPerHour: 10})
	c := &counts{gives: limits.Spent{Over: -1, Used: []float64{30, 10, 99, 0}}}
	l.Together(c)
	if err := l.Take(u, 1, 3); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.n, []int{1, 3, 1, 3}) || c.quotas[0] != (limits.Quota{Amount: 60, Size: 60, Period: time.Hour}) || c.quotas[1].Amount != 10 || c.quotas[2].Amount != 100 {
		t.Errorf("%v of %+v", c.n, c.quotas)
	}
	var q *identity.QuotaError
	if err := l.Check(u, 1, 1); !errors.As(err, &q) || q.What != "recipients" || q.Per != "hour" {
		t.Errorf("what the others have used is not known: %v", err)
	}
	c.gives = limits.Spent{Over: 2, Used: []float64{0, 0, 100, 0}}
	if err := l.Take(u, 1, 1); !errors.As(err, &q) || q.What != "messages" || q.Per != "day" || q.Limit != 100 || q.Wait <= 0 {
		t.Errorf("%v, %+v", err, q)
	}
	c.gives.Used[2] = 50 // there was room a moment later
	if err := l.Take(u, 1, 1); !errors.As(err, &q) || q.What != "messages" || q.Per != "day" {
		t.Errorf("%v", err)
	}
	c.gives.Over = -1
	if l.GiveBack(u, 1, 2); !slices.Equal(c.n, []int{-1, -2, -1, -2}) {
		t.Errorf("given back: %v", c.n)
	}
	c.err = errors.New("no database")
	if err := l.Take(u, 1, 1); !errors.Is(err, c.err) {
		t.Errorf("%v", err)
	}
}
