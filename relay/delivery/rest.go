package delivery

import (
	"container/heap"
	"time"
)

// rest is how long a destination or a provider is left alone.
type rest struct {
	until    int64 // µs; 0: it does not rest
	why      restReason
	pos      int          // in the heap
	dest     *destination // whose rest it is: this one's
	provider *provider    // or this one's
}

type restReason uint8

const (
	restClosed restReason = iota // it did not let us in
	restBudget                   // the budget of a route is used up
	restRate                     // the next message of a rate has its time
	restSlow                     // it told us to slow down
)

var restNames = [...]string{restClosed: "closed", restBudget: "budget", restRate: "rate", restSlow: "slow"}

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

// backoff is first, doubled with each time after the first, up to most.
func backoff(first time.Duration, times int, most time.Duration) time.Duration {
	return min(first<<min(max(times-1, 0), 20), most)
}

// restHeap orders rests by their ends.
type restHeap []*rest

func (h restHeap) Len() int           { return len(h) }
func (h restHeap) Less(i, j int) bool { return h[i].until < h[j].until }
func (h restHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *restHeap) Push(x any) {
	r := x.(*rest)
	r.pos = len(*h)
	*h = append(*h, r)
}
func (h *restHeap) Pop() any {
	last := len(*h) - 1
	r := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return r
}

// begin begins a rest, or changes its end.
func (h *restHeap) begin(r *rest, until int64, why restReason) {
	r.why = why
	if r.until != 0 {
		r.until = until
		heap.Fix(h, r.pos)
		return
	}
	r.until = until
	heap.Push(h, r)
}

// end ends a rest, if it is one.
func (h *restHeap) end(r *rest) {
	if r.until != 0 {
		heap.Remove(h, r.pos)
		r.until = 0
	}
}

// closed is how many destinations rest since they did not let us in.
func (h restHeap) closed() (n int) {
	for _, r := range h {
		if r.dest != nil && r.why == restClosed {
			n++
		}
	}
	return n
}
