package traffic

import (
	"maps"
	"sync"
	"time"

	"dawk/relay"
)

// Sent is what an identity has sent since the relay started.
type Sent struct {
	Messages int
	Last     time.Time
}

// Senders counts what each identity has sent. It is an Observer, safe for concurrent use.
type Senders struct {
	mu sync.Mutex
	by map[string]Sent
}

// Observe implements relay.Observer.
func (s *Senders) Observe(e relay.Event) {
	if e.Kind != relay.EventAccepted || e.Identity == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[string]Sent)
	}
	sent, known := s.by[e.Identity]
	if !known && len(s.by) >= maxTraffic {
		oldest := ""
		for n, v := range s.by {
			if oldest == "" || v.Last.Before(s.by[oldest].Last) {
				oldest = n
			}
		}
		delete(s.by, oldest)
	}
	s.by[e.Identity] = Sent{sent.Messages + 1, e.Time}
}

// All is what is known of each identity.
func (s *Senders) All() map[string]Sent {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.by)
}
