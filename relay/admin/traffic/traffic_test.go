package traffic

import (
	"fmt"
	"testing"
	"time"

	"dawk/relay"
)

// The flow says since when mail leaves: a failure in between does not interrupt it, a
// stretch of failures does.
func TestTrafficFlow(t *testing.T) {
	begin := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return begin.Add(time.Duration(minutes) * time.Minute) }
	tr := new(Traffic)
	some := &relay.Backlog{Total: 2, Held: 1}
	for i, x := range []struct {
		kind    relay.EventKind
		minute  int
		backlog *relay.Backlog
		state   string
		since   time.Time
	}{
		{relay.EventAccepted, 0, some, Flowing, time.Time{}},
		{relay.EventDelayed, 1, some, Waiting, at(1)},
		{relay.EventRelayed, 2, some, Flowing, at(2)},
		{relay.EventDelayed, 3, some, Waiting, at(3)},
		{relay.EventDelayed, 4, some, Waiting, at(3)},
		{relay.EventDelivered, 6, some, Flowing, at(2)},
		{relay.EventDelayed, 7, some, Waiting, at(7)},
		{relay.EventRelayed, 20, some, Flowing, at(20)},
		{relay.EventRelayed, 21, &relay.Backlog{Total: 3, Held: 3}, Held, at(21)},
		{relay.EventRelayed, 22, &relay.Backlog{}, Idle, at(22)},
	} {
		tr.Observe(relay.Event{Kind: x.kind, Time: at(x.minute), Route: "mx", Provider: "google"})
		if f := tr.Flow(x.backlog, false); f.State != x.state || !f.Since.Equal(x.since) {
			t.Errorf("%d: %s since %v, want %s since %v", i, f.State, f.Since, x.state, x.since)
		}
	}
	if f := tr.Flow(some, true); f.State != Starting {
		t.Errorf("while the queue is loaded: %s", f.State)
	}
	if got := tr.LastSuccess("google"); !got.Equal(at(22)) {
		t.Errorf("last success %v", got)
	}
}

// What is remembered of providers is bounded; the one that took mail longest ago goes.
func TestTrafficIsBounded(t *testing.T) {
	tr, now := new(Traffic), time.Now()
	for i := range maxTraffic + 5 {
		tr.Observe(relay.Event{Kind: relay.EventRelayed, Time: now.Add(time.Duration(i) * time.Second), Route: "mx", Destination: fmt.Sprint(i)})
	}
	tr.Observe(relay.Event{Kind: relay.EventRelayed, Time: now, Route: "office", Provider: "p"})
	if n := len(tr.by); n != maxTraffic || !tr.LastSuccess("4").IsZero() || tr.LastSuccess("9").IsZero() || tr.LastSuccess("route:office").IsZero() {
		t.Errorf("%d are remembered: %v, %v", n, tr.LastSuccess("4"), tr.LastSuccess("9"))
	}
}
