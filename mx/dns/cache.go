package dns

import (
	"container/list"
	"sync"
	"time"
)

// cache keeps DNS results until their time is up, at most size of them; the least recently used is
// dropped first.
type cache struct {
	mu    sync.Mutex
	size  int
	order *list.List // of *cached, the most recently used first
	items map[question]*list.Element
}

type cached struct {
	q       question
	r       result
	expires time.Time
}

func newCache(size int) *cache {
	return &cache{size: size, order: list.New(), items: make(map[question]*list.Element)}
}

func (c *cache) get(q question) (result, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.items[q]
	if e == nil {
		return result{}, false
	}
	v := e.Value.(*cached)
	if !time.Now().Before(v.expires) {
		c.drop(e)
		return result{}, false
	}
	c.order.MoveToFront(e)
	return v.r, true
}

func (c *cache) put(q question, r result) {
	if r.ttl <= 0 { // a TTL of 0 is an answer for this question only (RFC 1035 §3.2.1)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.items[q]; e != nil {
		c.drop(e)
	}
	c.items[q] = c.order.PushFront(&cached{q: q, r: r, expires: time.Now().Add(r.ttl)})
	for c.order.Len() > c.size {
		c.drop(c.order.Back())
	}
}

func (c *cache) drop(e *list.Element) {
	c.order.Remove(e)
	delete(c.items, e.Value.(*cached).q)
}
