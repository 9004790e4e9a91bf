package boltstore_test

import (
	"math"
	"runtime"
	"testing"

	"dawk/queue/boltstore"
)

// What a draft is given at once it does not keep at once.
func TestLargeWrite(t *testing.T) {
	q := mustOpen(t, small(memoryDir(t)))
	content := body("large", 64<<20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	id := mustPut(t, q, content, "a@example.org")
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 8<<20 {
		t.Errorf("%d octets of memory for a write of %d", after.TotalAlloc-before.TotalAlloc, len(content))
	}
	if got, err := contentOf(q, id); err != nil || string(got) != string(content) {
		t.Errorf("read back: %v", err)
	}
}

// Content that comes in pieces is copied about once, not each time that its buffer is
// a little larger; and the buffer in front of a file serves one draft after the other.
func TestDraftGrowsOnce(t *testing.T) {
	q := mustOpen(t, boltstore.Options{Dir: memoryDir(t), MinFree: 1})
	piece := body("piece", 4096)
	for _, c := range []struct{ pieces, most int }{{60, 64 << 10}, {100, 2 << 20}} {
		write := func() {
			d, err := q.NewDraft()
			if err != nil {
				t.Fatal(err)
			}
			defer d.Discard()
			for range c.pieces {
				if _, err := d.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
		}
		write()
		n := uint64(math.MaxUint64) // the least of some: the race detector has pools forget at random
		for range 8 {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			write()
			runtime.ReadMemStats(&after)
			n = min(n, after.TotalAlloc-before.TotalAlloc)
		}
		if n > uint64(c.most) {
			t.Errorf("%d octets of memory for %d of content", n, c.pieces*4096)
		}
	}
}
