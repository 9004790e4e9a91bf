package boltstore

import (
	"sync"
	"time"

	"dawk/queue/record"
	"dawk/relay"
)

// cacheAge is how long an entry is safe from newer ones. Mail that waits
// longer than this for its first attempt is read back from the disk.
const cacheAge = 10 * time.Second

// fresh is a message that was just accepted and whose Deliveries have not been
// settled yet.
type fresh struct {
	msg    *relay.Message
	head   []byte // the content in memory
	layout record.Layout
	jobs   map[uint16]*relay.Delivery
	cost   int
	born   time.Time

	prev, next *fresh
}

// cache keeps fresh mail in memory, so that its first attempt reads nothing
// back. It is bounded, and when it is full it keeps what is there: the oldest
// entry is the one that is needed next.
type cache struct {
	mu    sync.Mutex
	limit int
	used  int
	byID  map[uint64]*fresh
	ring  fresh // sentinel: next is the oldest, prev the newest
}

func newCache(limit int) *cache {
	c := &cache{limit: limit, byID: make(map[uint64]*fresh)}
	c.ring.prev, c.ring.next = &c.ring, &c.ring
	return c
}

func (c *cache) add(f *fresh, now time.Time) {
	f.cost = headroom + cap(f.head) + 1<<10 + 256*len(f.jobs) // what it really takes
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
	c.byID[f.msg.ID.Key] = f
	c.used += f.cost
}

// drop needs the lock.
func (c *cache) drop(f *fresh) {
	f.prev.next, f.next.prev = f.next, f.prev
	delete(c.byID, f.msg.ID.Key)
	c.used -= f.cost
}

// get is a copy of what is known of one Delivery.
func (c *cache) get(id uint64, job uint16) (f *fresh, d *relay.Delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f = c.byID[id]
	if f == nil || f.jobs[job] == nil {
		return nil, nil
	}
	copied := *f.jobs[job]
	copied.Open = append([]relay.Open(nil), copied.Open...)
	return f, &copied
}

// settled forgets a Delivery: its state on disk is newer.
func (c *cache) settled(id uint64, job uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.byID[id]
	if f == nil {
		return
	}
	delete(f.jobs, job)
	if len(f.jobs) == 0 {
		c.drop(f)
	}
}

// forget drops a whole message.
func (c *cache) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.byID[id]; f != nil {
		c.drop(f)
	}
}
