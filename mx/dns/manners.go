package dns

import (
	"sync"
	"time"
)

const (
	// speaksFor is how long a server that has answered a question with EDNS0 counts as supporting it,
	// even if it drops single questions.
	speaksFor = time.Hour
	// plainFor is how long a server that does not support it is asked without it.
	plainFor = 10 * time.Minute
	// maxManners is how many servers are remembered: resolv.conf names three.
	maxManners = 100
)

// manners remembers which servers accept questions with EDNS0. The zero value is empty.
type manners struct {
	mu    sync.Mutex
	known map[string]manner
}

type manner struct {
	edns  bool
	until time.Time
}

// plain says whether a server is asked without EDNS0 from the start.
func (m *manners) plain(server string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	k, ok := m.known[server]
	return ok && !k.edns && time.Now().Before(k.until)
}

// learn notes whether a server accepted a question with EDNS0.
func (m *manners) learn(server string, edns bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.known[server]; !edns && k.edns && time.Now().Before(k.until) {
		return
	}
	if m.known == nil || len(m.known) >= maxManners {
		m.known = make(map[string]manner)
	}
	span := plainFor
	if edns {
		span = speaksFor
	}
	m.known[server] = manner{edns, time.Now().Add(span)}
}
