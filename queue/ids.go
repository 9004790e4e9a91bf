package queue

import (
	"sync/atomic"
	"time"
)

// ids gives out keys: max(last + 1, unix µs), so that they sort by age, never
// repeat and land at the end of the tree, where an insertion is cheapest.
type ids struct{ last atomic.Uint64 }

func (i *ids) next() uint64 {
	now := uint64(time.Now().UnixMicro())
	for {
		last := i.last.Load()
		id := max(last+1, now)
		if i.last.CompareAndSwap(last, id) {
			return id
		}
	}
}
