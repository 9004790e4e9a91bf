// Package traffic remembers when mail was taken and when it left: is mail flowing, and since
// when? Traffic.mu guards it; there are no goroutines. Begin reading at Traffic.Observe.
package traffic

import (
	"sync"
	"time"

	"dawk/relay"
)

// The states of a Flow.
const (
	Stopped  = "stopped"  // the relay does not run
	Starting = "starting" // the queue is being loaded
	Draining = "draining" // nothing new is taken, and the relay ends when what is due has been attempted
	Idle     = "idle"     // nothing is in the queue
	Held     = "held"     // all that is in the queue is on hold
	Waiting  = "waiting"  // no attempt has succeeded since, and what there is waits for its time
	Flowing  = "flowing"
)

// Flow says whether mail leaves. Times are zero for what has not happened since the start.
type Flow struct {
	State        string    `json:"state"`
	Since        time.Time `json:"since,omitzero"` // of State
	LastAccepted time.Time `json:"last_accepted,omitzero"`
	LastSuccess  time.Time `json:"last_success,omitzero"` // a next hop took a recipient
}

// Traffic remembers when mail was taken and when it left, for `dawk status`. It is an
// Observer, safe for use by several goroutines.
type Traffic struct {
	mu       sync.Mutex
	accepted time.Time
	success  time.Time            // a next hop took a recipient
	flows    time.Time            // since when attempts succeed
	failing  time.Time            // since when they only fail; zero: the last one succeeded
	by       map[string]time.Time // the last success of each provider and route, by ProviderLoad.Name
}

const (
	maxTraffic = 1000            // providers that are remembered
	pause      = 5 * time.Minute // a shorter stretch of failures does not interrupt the flow
)

// Observe implements relay.Observer.
func (t *Traffic) Observe(e relay.Event) {
	switch e.Kind {
	case relay.EventAccepted, relay.EventRelayed, relay.EventDelivered, relay.EventDelayed:
	default:
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case relay.EventAccepted:
		t.accepted = e.Time
	case relay.EventDelayed:
		if t.failing.IsZero() {
			t.failing = e.Time
		}
	default:
		t.succeed(e)
	}
}

func (t *Traffic) succeed(e relay.Event) {
	if t.flows.IsZero() || !t.failing.IsZero() && e.Time.Sub(t.failing) > pause {
		t.flows = e.Time
	}
	t.success, t.failing = e.Time, time.Time{}
	name := e.Provider
	if e.Route != "" && e.Route != "mx" {
		name = "route:" + e.Route
	}
	if name == "" {
		name = e.Destination
	}
	if t.by == nil {
		t.by = make(map[string]time.Time)
	}
	if _, known := t.by[name]; !known && len(t.by) >= maxTraffic {
		oldest := ""
		for n, when := range t.by {
			if oldest == "" || when.Before(t.by[oldest]) {
				oldest = n
			}
		}
		delete(t.by, oldest)
	}
	t.by[name] = e.Time
}

// LastSuccess is when a provider or route last took a recipient.
func (t *Traffic) LastSuccess(name string) time.Time {
	if t == nil {
		return time.Time{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.by[name]
}

// Flow says whether mail leaves.
func (t *Traffic) Flow(b *relay.Backlog, loading bool) Flow {
	if t == nil {
		t = &Traffic{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f := Flow{State: Flowing, Since: t.flows, LastAccepted: t.accepted, LastSuccess: t.success}
	switch {
	case loading:
		f.State, f.Since = Starting, time.Time{}
	case b.Total == 0:
		f.State, f.Since = Idle, t.success
	case b.Total == b.Held:
		f.State, f.Since = Held, t.success
	case !t.failing.IsZero():
		f.State, f.Since = Waiting, t.failing
	}
	return f
}
