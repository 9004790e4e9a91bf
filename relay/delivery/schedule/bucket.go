package schedule

import "dawk/relay"

// bucket allows at most n events in any window of a given length. It spreads them evenly, and
// allows at once only the share of a sixtieth of the window, or of one second.
//
// It is a token bucket in the form of a theoretical arrival time: one number
// that says when the tokens taken so far would all have been earned. Times are
// µs on the Schedule's clock. The zero value has no limit.
type bucket struct {
	every int64 // µs a token; 0: no limit
	slack int64 // µs: how far tokens may be taken in advance
	full  int64 // when all that were taken are earned
}

func newBucket(r relay.Rate) bucket {
	if r.N <= 0 || r.Per <= 0 {
		return bucket{}
	}
	per, n := r.Per.Microseconds(), int64(r.N)
	burst := max(1, n*min(1e6, per/60)/max(1, per))
	// A bucket of this size, refilled at this pace, yields at most n in any window; the pace is
	// rounded up to make sure.
	every := max(1, (per+n-burst)/(n-burst+1))
	return bucket{every: every, slack: (burst - 1) * every}
}

func (b *bucket) limited() bool { return b.every > 0 }

// next is when there is a token, but not before now.
func (b *bucket) next() int64 { return b.full - b.slack }

// Take takes n tokens, also ones that are not there yet.
func (b *bucket) take(now int64, n int) {
	if b.every > 0 {
		b.full = max(b.full, now) + int64(n)*b.every
	}
}
