package admin

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
	traffic := new(Traffic)
	some := &relay.Backlog{Total: 2, Held: 1}
	for i, x := range []struct {
		kind    relay.EventKind
		minute  int
		backlog *relay.Backlog
		state   string
		since   time.Time
	}{
		{relay.EventAccepted, 0, some, FlowFlowing, time.Time{}},
		{relay.EventDelayed, 1, some, FlowWaiting, at(1)},
		{relay.EventRelayed, 2, some, FlowFlowing, at(2)},
		{relay.EventDelayed, 3, some, FlowWaiting, at(3)},
		{relay.EventDelayed, 4, some, FlowWaiting, at(3)},
		{relay.EventDelivered, 6, some, FlowFlowing, at(2)},
		{relay.EventDelayed, 7, some, FlowWaiting, at(7)},
		{relay.EventRelayed, 20, some, FlowFlowing, at(20)},
		{relay.EventRelayed, 21, &relay.Backlog{Total: 3, Held: 3}, FlowHeld, at(21)},
		{relay.EventRelayed, 22, &relay.Backlog{}, FlowIdle, at(22)},
	} {
		traffic.Observe(relay.Event{Kind: x.kind, Time: at(x.minute), Route: "mx", Provider: "google"})
		if f := traffic.flow(x.backlog, false); f.State != x.state || !f.Since.Equal(x.since) {
			t.Errorf("%d: %s since %v, want %s since %v", i, f.State, f.Since, x.state, x.since)
		}
	}
	if f := traffic.flow(some, true); f.State != FlowStarting {
		t.Errorf("while the queue is loaded: %s", f.State)
	}
	if got := traffic.lastSuccess("google"); !got.Equal(at(22)) {
		t.Errorf("last success %v", got)
	}
}

// What is remembered of providers is bounded; the one that took mail longest ago goes.
func TestTrafficIsBounded(t *testing.T) {
	traffic, now := new(Traffic), time.Now()
	for i := range maxTraffic + 5 {
		traffic.Observe(relay.Event{Kind: relay.EventRelayed, Time: now.Add(time.Duration(i) * time.Second), Route: "mx", Destination: fmt.Sprint(i)})
	}
	traffic.Observe(relay.Event{Kind: relay.EventRelayed, Time: now, Route: "office", Provider: "p"})
	if n := len(traffic.by); n != maxTraffic || !traffic.lastSuccess("4").IsZero() || traffic.lastSuccess("9").IsZero() || traffic.lastSuccess("route:office").IsZero() {
		t.Errorf("%d are remembered: %v, %v", n, traffic.lastSuccess("4"), traffic.lastSuccess("9"))
	}
}
