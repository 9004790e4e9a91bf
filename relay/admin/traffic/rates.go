package traffic

import (
	"context"
	"sync"
	"time"

	"dawk/relay"
)

// Rates are counts of what happened, in spans of Seconds, the oldest first.
type Rates struct {
	Seconds   int   `json:"seconds"`
	Accepted  []int `json:"accepted"`  // messages
	Delivered []int `json:"delivered"` // recipients
	Deferred  []int `json:"deferred"`
	Failed    []int `json:"failed"`
	Backlog   []int `json:"backlog"` // deliveries in the queue, at the end of each span
}

// Bounds of Rates: a quarter of an hour.
const (
	rateSpan  = 10 * time.Second
	rateSpans = 90
)

// RateCounter counts for Rates. It is an Observer, safe for concurrent use.
type RateCounter struct {
	mu  sync.Mutex
	now Rates // of one span: the current one
	all Rates
}

// Observe implements relay.Observer.
func (c *RateCounter) Observe(e relay.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	count := func(list *[]int) {
		if len(*list) == 0 {
			*list = []int{0}
		}
		(*list)[0]++
	}
	switch e.Kind {
	case relay.EventAccepted:
		count(&c.now.Accepted)
	case relay.EventRelayed, relay.EventDelivered:
		count(&c.now.Delivered)
	case relay.EventDelayed:
		count(&c.now.Deferred)
	case relay.EventFailed, relay.EventExpired:
		count(&c.now.Failed)
	}
}

// Run begins a span every ten seconds until ctx ends.
func (c *RateCounter) Run(ctx context.Context, backlog func() int) {
	tick := time.NewTicker(rateSpan)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			c.turn(backlog())
		case <-ctx.Done():
			return
		}
	}
}

func (c *RateCounter) turn(backlog int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = c.with(backlog)
	c.now = Rates{}
}

// Now is what was counted, with so many in the queue at the moment.
func (c *RateCounter) Now(backlog int) Rates {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.with(backlog)
}

// with is all spans and the current one. The caller holds mu.
func (c *RateCounter) with(backlog int) Rates {
	next := func(list, now []int) []int {
		n := 0
		if len(now) > 0 {
			n = now[0]
		}
		list = append(append([]int{}, list...), n)
		return list[max(0, len(list)-rateSpans):]
	}
	return Rates{Seconds: int(rateSpan.Seconds()), Accepted: next(c.all.Accepted, c.now.Accepted), Delivered: next(c.all.Delivered, c.now.Delivered),
		Deferred: next(c.all.Deferred, c.now.Deferred), Failed: next(c.all.Failed, c.now.Failed), Backlog: next(c.all.Backlog, []int{backlog})}
}
