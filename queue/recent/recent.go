// Package recent keeps mail that was just accepted in memory, so that its first
// attempt reads nothing back. It is bounded, and when it is full it keeps what is
// there: the oldest entry is the one that is needed next. A Cache has one lock and
// may be used by several goroutines.
package recent

import (
	"sync"
	"time"

	"dawk/queue/record"
	"dawk/relay"
)

// cacheAge is how long an entry is safe from newer ones. Mail that waits
// longer than this for its first attempt is read back from the disk.
const cacheAge = 10 * time.Second

// overhead is what an entry takes in addition to its content and its Deliveries, in octets.
const overhead = 3 << 10

// Message is one that was just accepted and whose Deliveries have not been
// settled yet.
type Message struct {
	Msg    *relay.Message
	Head   []byte // the content in memory
	Layout record.Layout
	Jobs   map[uint16]*relay.Delivery

	cost       int
	born       time.Time
	prev, next *Message
}

// Cache holds them.
type Cache struct {
	mu    sync.Mutex
	limit int
	used  int
	byID  map[uint64]*Message
	ring  Message // sentinel: next is the oldest, prev the newest
}

// New makes a cache of limit octets at most.
func New(limit int) *Cache {
	c := &Cache{limit: limit, byID: make(map[uint64]*Message)}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

// Add keeps f, if there is room.
func (c *Cache) Add(f *Message, now time.Time) {
	f.cost = overhead + cap(f.Head) + 256*len(f.Jobs) // what it really takes
	f.born = now
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.used+f.cost > c.limit {
		oldest := c.ring.next
		if oldest == &c.ring || now.Sub(oldest.born) < cacheAge {
			return
		}
		c.drop(oldest)
	}
	f.prev, f.next = c.ring.prev, &c.ring
	f.prev.next, c.ring.prev = f, f
	c.byID[f.Msg.ID.Key] = f
	c.used += f.cost
}

// drop needs the lock.
func (c *Cache) drop(f *Message) {
	f.prev.next, f.next.prev = f.next, f.prev
	delete(c.byID, f.Msg.ID.Key)
	c.used -= f.cost
}

// Get returns a copy of what is known about one Delivery.
func (c *Cache) Get(id uint64, job uint16) (f *Message, d *relay.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f = c.byID[id]
	if f == nil || f.Jobs[job] == nil {
		return nil, nil
	}
	copied := *f.Jobs[job]
	copied.Open = append([]relay.Open(nil), copied.Open...)
	return f, &copied
}

// Settled forgets a Delivery: its state on disk is newer.
func (c *Cache) Settled(id uint64, job uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byID[id]
	if f == nil {
		return
	}
	delete(f.Jobs, job)
	if len(f.Jobs) == 0 {
		c.drop(f)
	}
}

// Forget drops a whole message.
func (c *Cache) Forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.byID[id]; f != nil {
		c.drop(f)
	}
}

// Used is how many octets its entries take.
func (c *Cache) Used() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}
