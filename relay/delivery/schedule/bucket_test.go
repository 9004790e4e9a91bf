package schedule

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
)

// However demand comes, no span holds more than the rate; and steady demand
// gets nearly all of it.
func TestBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := relay.Rate{N: rapid.IntRange(1, 5000).Draw(t, "n"),
			Per: rapid.SampledFrom([]time.Duration{time.Second, 10 * time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "per")}
		b, span := newBucket(r), r.Per.Microseconds()
		now := int64(1_700_000_000_000_000)
		var at []int64
		first := 0
		greedy := rapid.Bool().Draw(t, "greedy")
		for range 3 * min(r.N, 2000) {
			now = max(now, b.next())
			if !greedy {
				now += rapid.Int64Range(0, span/int64(r.N)*2).Draw(t, "pause")
			}
			b.take(now, 1)
			at = append(at, now)
			for now-at[first] >= span {
				first++
			}
			if n := len(at) - first; n > r.N {
				t.Fatalf("%d in a span, with a rate of %s", n, r)
			}
		}
		if took := at[len(at)-1] - at[0]; greedy && float64(len(at))/float64(r.N)*float64(span) < 0.95*float64(took)-float64(span)*0.02 {
			t.Fatalf("%d took %d µs with a rate of %s", len(at), took, r)
		}
	})
}
