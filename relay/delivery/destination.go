package delivery

import (
	"container/heap"
	"time"
)

// lane is the entries of one identity that are ready for one destination,
// first come first served.
type lane struct {
	head, tail ref
	n          int
	ident      uint32
	next       *lane // whose turn it is after this one
}

func (l *lane) push(t *table, r ref) {
	e := t.at(r)
	e.next, e.prev = 0, l.tail
	if l.tail != 0 {
		t.at(l.tail).next = r
	} else {
		l.head = r
	}
	l.tail = r
	l.n++
}

func (l *lane) remove(t *table, r ref) {
	e := t.at(r)
	if e.prev != 0 {
		t.at(e.prev).next = e.next
	} else {
		l.head = e.next
	}
	if e.next != 0 {
		t.at(e.next).prev = e.prev
	} else {
		l.tail = e.prev
	}
	e.next, e.prev = 0, 0
	l.n--
}

// destination is one next hop, a route or a domain, that something is ready
// for. One whose Deliveries all wait or are held costs no more than its name.
type destination struct {
	num         uint32 // of its name
	ready       int    // in its lanes
	flying      int    // attempts that may hold a connection
	first, last *lane  // those whose turn comes; an empty one is dropped at its turn

	inRing bool
	after  *destination // whose turn it is after this one

	rest     int64 // until then it is left alone, µs; 0: it does not rest
	restPos  int   // in the heap of those that rest
	budgeted bool  // it rests only for its budget
	most     int   // attempts at once; 0: as many as any other
	proving  bool  // one attempt at a time, until one gets through to it
	single   bool  // one attempt at a time, always: it takes along what else is ready
}

// budget is how many attempts may run at once.
func (d *destination) budget(most int) int {
	if d.proving || d.single {
		return 1
	}
	if d.most > 0 {
		return d.most
	}
	return most
}

// minRest is the least time between attempts on a host that does not let us
// in: a host that resets every connection is asked no more than once a second.
const minRest = time.Second

// restFor is how long a destination is left alone that did not let us in: so
// long that each of those waiting gets its probe within its own retry step,
// never more than half of that step, and no less than minRest if the step
// allows. Nothing is attempted meanwhile, so nothing counts as an attempt.
func restFor(waiting int, step time.Duration) time.Duration {
	return min(step/2, max(minRest, step/time.Duration(waiting+2)))
}

// restHeap orders resting destinations by the end of their rest.
type restHeap []*destination

func (h restHeap) Len() int           { return len(h) }
func (h restHeap) Less(i, j int) bool { return h[i].rest < h[j].rest }
func (h restHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].restPos, h[j].restPos = i, j
}
func (h *restHeap) Push(x any) {
	d := x.(*destination)
	d.restPos = len(*h)
	*h = append(*h, d)
}
func (h *restHeap) Pop() any {
	last := len(*h) - 1
	d := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return d
}

// restUntil lets d rest, or changes until when.
func (h *restHeap) restUntil(d *destination, until int64) {
	if d.rest != 0 {
		d.rest = until
		heap.Fix(h, d.restPos)
		return
	}
	d.rest = until
	heap.Push(h, d)
}

// end ends d's rest.
func (h *restHeap) end(d *destination) {
	if d.rest != 0 {
		heap.Remove(h, d.restPos)
		d.rest, d.budgeted = 0, false
	}
}
