package queue

import (
	"sync/atomic"
	"time"
)

// IDs gives out the keys of queue IDs: they sort by age, never repeat, and land
// at the end of a tree, where an insertion is cheapest. It is safe for several
// goroutines.
type IDs struct{ last atomic.Uint64 }

// Partitions is how many parts a store may divide its messages into: the low 8
// bits of a key name the part. A store in one piece, as bbolt's, uses all bits
// for the time, and has the partition 0.
const Partitions = 256

// Next is max(last + 1, unix µs).
func (i *IDs) Next() uint64 { return i.next(0, 1) }

// NextIn is the next key of a partition: the time is coarser by Partitions.
func (i *IDs) NextIn(partition uint8) uint64 { return i.next(uint64(partition), Partitions) }

func (i *IDs) next(partition, step uint64) uint64 {
	now := uint64(time.Now().UnixMicro())
	for {
		last := i.last.Load()
		id := max(last+1, now)
		id += (partition + step - id%step) % step
		if i.last.CompareAndSwap(last, id) {
			return id
		}
	}
}

// Last is the highest key that was given, or set.
func (i *IDs) Last() uint64 { return i.last.Load() }

// Set says that keys up to last were given before.
func (i *IDs) Set(last uint64) { i.last.Store(last) }
