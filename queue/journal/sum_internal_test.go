package journal

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// TestJoined: a checksum that is joined is that of the whole.
func TestJoined(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([]byte, 300<<10)
	for i := range all {
		all[i] = byte(rng.Uint32())
	}
	for _, cut := range []int{0, 1, 2, 3, 4095, 4096, 100_001, len(all) - 1, len(all)} {
		sum := func(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
		if got, want := joined(sum(all[:cut]), sum(all[cut:]), len(all)-cut), sum(all); got != want {
			t.Errorf("cut at %d: %08x, want %08x", cut, got, want)
		}
	}
}

// TestKnownSum: the checksum of a record is the same whether or not that of a value was known.
func TestKnownSum(t *testing.T) {
	j := New(t.TempDir(), nil)
	content := make([]byte, 50<<10)
	content[7] = 7
	value := append([]byte("before it"), content...)
	head := func(known bool) [recordHeader]byte {
		r := Record{Most: MaxRecord}
		r.Reset()
		for _, key := range []string{"one", "two"} {
			r.Put(1, []byte(key), value)
			if known {
				r.Known(len(content), crc32.Checksum(content, castagnoli))
			}
			r.Put(2, []byte(key), []byte("small"))
			if known {
				r.Known(3, 77) // a small value is read all the same
			}
		}
		j.seal(&r, Totals{})
		return [recordHeader]byte(r.buf)
	}
	if got, want := head(true), head(false); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}
