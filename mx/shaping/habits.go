package shaping

import (
	"sync"
	"time"
)

// Habits is what was learned about one host at one address: how to speak to it. Nothing here
// decides whether TLS is used.
type Habits struct {
	Classical  bool // TLS begins without hybrid key shares
	Lockstep   bool // it offers PIPELINING, and loses or refuses pipelined commands
	Recipients int  // in one transaction; 0: no limit known
}

const (
	// habitsFor is how long Habits are remembered, from the first one on: the fault of the host may
	// have been repaired, and an attacker may have pretended it.
	habitsFor = 24 * time.Hour
	// maxHosts is how many hosts are remembered in either generation.
	maxHosts = 10_000
)

// Hosts remembers the Habits of hosts, each under its name and address. The zero
// value is empty. It is safe for use by many goroutines.
type Hosts struct{ known recent[string, Habits] }

// Get is what is known about a host.
func (h *Hosts) Get(host string) Habits {
	habits, _ := h.known.get(host)
	return habits
}

// Learn adds to what is known about how a host takes commands and recipients. The lower number of
// recipients counts.
func (h *Hosts) Learn(host string, more Habits) {
	h.known.update(host, maxHosts, habitsFor, func(old Habits) Habits {
		old.Lockstep = old.Lockstep || more.Lockstep
		if more.Recipients > 0 && (old.Recipients == 0 || more.Recipients < old.Recipients) {
			old.Recipients = more.Recipients
		}
		return old
	})
}

// LearnClassical notes whether a host needs classical groups, as its last second
// try of TLS showed.
func (h *Hosts) LearnClassical(host string, needs bool) {
	if needs != h.Get(host).Classical {
		h.known.update(host, maxHosts, habitsFor, func(old Habits) Habits {
			old.Classical = needs
			return old
		})
	}
}

// recent remembers values for a time, in two generations of at most so many: the
// older is dropped when the younger is full. The zero value is empty.
type recent[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]dated[V]
}

type dated[V any] struct {
	value V
	until time.Time
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.find(k)
	return d.value, ok
}

// find is get with r.mu held.
func (r *recent[K, V]) find(k K) (dated[V], bool) {
	d, ok := r.young[k]
	if !ok {
		d, ok = r.old[k]
	}
	if !ok || !time.Now().Before(d.until) {
		return dated[V]{}, false
	}
	return d, true
}

// put stores a value, to be remembered from now on.
func (r *recent[K, V]) put(k K, v V, most int, span time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(k, dated[V]{v, time.Now().Add(span)}, most)
}

// update replaces a value by what change makes of it. A known value keeps its time.
func (r *recent[K, V]) update(k K, most int, span time.Duration, change func(V) V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.find(k)
	if !ok {
		d.until = time.Now().Add(span)
	}
	d.value = change(d.value)
	r.set(k, d, most)
}

// set is put with r.mu held. A value in the younger generation is replaced in place.
func (r *recent[K, V]) set(k K, d dated[V], most int) {
	if _, there := r.young[k]; !there && len(r.young) >= most || r.young == nil {
		r.old, r.young = r.young, make(map[K]dated[V])
	}
	r.young[k] = d
}
