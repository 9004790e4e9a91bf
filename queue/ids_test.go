package queue_test

import (
	"testing"
	"time"

	"dawk/queue"
)

// Keys only grow, also where partitions take turns and after a clock that ran
// ahead, and name their partition.
func TestIDs(t *testing.T) {
	var ids queue.IDs
	last := uint64(time.Now().Add(time.Hour).UnixMicro())
	ids.Set(last)
	for i := range 3000 {
		part := uint8(i * 7)
		key := ids.NextIn(part)
		if of := uint8(key % queue.Partitions); key <= last || of != part {
			t.Fatalf("key %d after %d, of partition %d and not %d", key, last, of, part)
		}
		if last = key; i%5 == 0 {
			if last = ids.Next(); last != key+1 {
				t.Fatalf("%d follows %d", last, key)
			}
		}
	}
}
