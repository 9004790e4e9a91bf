package boltstore_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
)

// BenchmarkDeep measures a queue that is DAWK_BENCH_DEPTH (default 20000)
// Deliveries deep: the load at start after a clean and an unclean end, its
// memory, and the cycle of 1 KiB bodies beside 500 retries of old messages a
// second; then, drained, the cycle again. Both are compared with a new queue,
// in turns of b.N messages. Run it with -benchtime 20000x or the like.
func BenchmarkDeep(b *testing.B) {
	if b.N == 1 {
		return // the trial that comes before -benchtime Nx
	}
	depth, _ := strconv.Atoi(cmp.Or(os.Getenv("DAWK_BENCH_DEPTH"), "20000"))
	opt := boltstore.Options{Dir: filepath.Join(b.TempDir(), "data"), MinFree: 1}
	q, old := fill(b, opt, depth)
	crashed := filepath.Join(b.TempDir(), "crashed")
	if err := copyDir(opt.Dir, crashed); err != nil {
		b.Fatal(err)
	}
	q.Close()
	load(b, opt, "after a kill", crashed).Close()
	os.RemoveAll(crashed)
	q = load(b, opt, "after a clean end", opt.Dir)
	empty := mustOpen(b, boltstore.Options{Dir: b.TempDir(), MinFree: 1})
	compare := func(what string) {
		through(b, q, 16, make([]byte, 1<<10), 2000)
		through(b, empty, 16, make([]byte, 1<<10), 2000)
		var ratios, beside []float64
		for range 5 {
			stop := func() int { return 0 }
			if what == "deep" {
				stop = retries(q, old)
			}
			began := time.Now()
			rate := pace(b, q)
			beside = append(beside, float64(stop())/time.Since(began).Seconds())
			ratios = append(ratios, 100*rate/pace(b, empty))
		}
		slices.Sort(ratios)
		b.Logf("%s: %.0f %% of a new queue, turns %.0f, beside %.0f retries a second", what, ratios[2], ratios, beside)
		b.ReportMetric(ratios[2], "%new-"+what)
	}
	compare("deep")
	began := time.Now()
	var gone sync.WaitGroup
	for _, id := range old {
		gone.Add(1)
		q.Settle(relayed(id, 0, 0), func(err error) {
			if err != nil {
				b.Error(err)
			}
			gone.Done()
		})
	}
	gone.Wait()
	b.Logf("drained: %.0f a second", float64(depth)/time.Since(began).Seconds())
	compare("drained")
	b.ReportMetric(0, "ns/op")
}

// pace is how many messages a second go through q.
func pace(b *testing.B, q *boltstore.Store) float64 {
	began := time.Now()
	through(b, q, 16, make([]byte, 1<<10), b.N)
	return float64(b.N) / time.Since(began).Seconds()
}

// fill makes a queue with depth messages.
func fill(b *testing.B, opt boltstore.Options, depth int) (*boltstore.Store, []relay.QueueID) {
	q := mustOpen(b, opt)
	old := make([]relay.QueueID, depth)
	var next atomic.Int64
	began := time.Now()
	parallel(512, func(int) {
		for i := next.Add(1); i <= int64(depth); i = next.Add(1) {
			id, err := put(q, make([]byte, 1<<10), fmt.Sprintf("rcpt@d%d.example", i%1000))
			if err != nil {
				b.Error(err)
				return
			}
			old[i-1] = id
		}
	})
	b.Logf("filled with %d messages: %.0f a second", depth, float64(depth)/time.Since(began).Seconds())
	return q, old
}

func load(b *testing.B, opt boltstore.Options, what, dir string) *boltstore.Store {
	opt.Dir = dir
	began := time.Now()
	q := mustOpen(b, opt)
	opened := time.Since(began)
	n := 0
	for _, err := range q.Entries() {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	took := time.Since(began)
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.Logf("%s: open %v, %d entries after %v, heap %d MiB", what, opened, n, took, m.HeapAlloc>>20)
	return q
}

// retries settles 500 old messages a second, as if an attempt had failed, until
// it is stopped, which says how many it were.
func retries(q *boltstore.Store, old []relay.QueueID) (stop func() int) {
	quit := make(chan struct{})
	n := 0
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for began := time.Now(); ; {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			for due := int(500 * time.Since(began).Seconds()); n < due; n++ {
				s := relay.Settlement{ID: old[n*7919%len(old)], Next: relay.State{Attempts: 1, Due: time.Now()}}
				s.Attempt = &relay.Attempt{N: 1, At: time.Now(), Outcomes: []relay.Outcome{{Action: relay.ActionDelayed, Reply: relay.Reply{Code: 451, Text: "try later"}}}}
				q.Settle(s, nil)
			}
		}
	})
	return func() int { close(quit); ended.Wait(); return n }
}
