package queue_test

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/relay"
)

// BenchmarkCycle is the full life of a message: enqueue by so many producers,
// each of which waits for the 250, and claim, read and settle by 16 consumers.
// It prints messages a second, commits a message, octets written for each
// octet of content, latency of Enqueue, and the share of this machine's raw
// group-sync limit, which is measured in the same run, before and after.
func BenchmarkCycle(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 32 << 10, 256 << 10, 5 << 20} {
		for _, producers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, producers), func(b *testing.B) {
				raw := rawLimit(b, producers, size, b.N)
				cycle(b, producers, size)
				raw = (raw + rawLimit(b, producers, size, b.N)) / 2
				rate := float64(b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate, "msg/s")
				b.ReportMetric(100*rate/raw, "%ofraw")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkUpdate is the same with one db.Update for each step of a message.
func BenchmarkUpdate(b *testing.B) {
	for _, producers := range []int{1, 16} {
		b.Run(fmt.Sprintf("4KiB/%d", producers), func(b *testing.B) {
			db, err := bolt.Open(filepath.Join(b.TempDir(), "db"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			name, body := []byte("msg"), make([]byte, 4<<10)
			db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket(name); return err })
			var n atomic.Int64
			b.ResetTimer()
			parallel(producers, func(int) {
				for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
					key := binary.BigEndian.AppendUint64(nil, uint64(i))
					db.Update(func(tx *bolt.Tx) error { return tx.Bucket(name).Put(key, body) })
					db.View(func(tx *bolt.Tx) error { _ = slices.Clone(tx.Bucket(name).Get(key)); return nil })
					db.Update(func(tx *bolt.Tx) error { return tx.Bucket(name).Delete(key) })
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func parallel(n int, f func(worker int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func cycle(b *testing.B, producers, size int) {
	q := mustOpen(b, queue.Options{Dir: b.TempDir(), Reserve: -1, MinFree: 1})
	content := make([]byte, size)
	through(b, q, producers, content, min(b.N, 2000)) // the file has its size, as in a queue that lives
	commits, octets := q.Stats().Commits, q.PageBytes()
	b.ResetTimer()
	took := through(b, q, producers, content, b.N)
	b.StopTimer()
	b.ReportMetric(float64(q.Stats().Commits-commits)/float64(b.N), "commits/msg")
	if size <= 256<<10 {
		b.ReportMetric(float64(q.PageBytes()-octets)/float64(b.N*size), "B/B")
	}
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}

// through sends n messages through the queue and gives the sorted times that
// Enqueue took.
func through(b *testing.B, q *queue.Queue, producers int, content []byte, n int) []time.Duration {
	entries := make(chan relay.Entry, n)
	q.Watch(func(all []relay.Entry) {
		for _, e := range all {
			entries <- e
		}
	})
	to := []relay.Recipient{{Path: mailbox("rcpt@example.com")}}
	var settled sync.WaitGroup
	settled.Add(n)
	go parallel(16, func(int) {
		buf := make([]byte, 64<<10)
		for e := range entries {
			c, err := q.Claim(e.ID, e.Job)
			if err != nil {
				b.Error(err)
				return
			}
			io.CopyBuffer(io.Discard, io.NewSectionReader(c.Content, 0, c.Content.Size()), buf)
			c.Content.Close()
			q.Settle(relayed(e.ID, e.Job, 0), func(error) { settled.Done() })
		}
	})
	took := make([]time.Duration, n)
	var next atomic.Int64
	parallel(producers, func(int) {
		for i := next.Add(1); i <= int64(n); i = next.Add(1) {
			began := time.Now()
			d, err := q.NewDraft()
			if err == nil {
				d.Write(content)
				m := &relay.Message{ID: d.ID(), Arrival: began}
				m.Recipients = to
				err = q.Enqueue(context.Background(), d, m)
			}
			if err != nil {
				b.Error(err)
				return
			}
			took[i-1] = time.Since(began)
		}
	})
	settled.Wait()
	close(entries)
	slices.Sort(took)
	return took
}

// BenchmarkDeep measures a queue that is DAWK_BENCH_DEPTH (default 20000)
// Deliveries deep: the load at start after a clean and an unclean end, its
// memory, and the cycle beside 500 retries of old messages a second.
func BenchmarkDeep(b *testing.B) {
	depth, _ := strconv.Atoi(cmp.Or(os.Getenv("DAWK_BENCH_DEPTH"), "20000"))
	opt := queue.Options{Dir: filepath.Join(b.TempDir(), "data"), Reserve: -1, MinFree: 1}
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
	load := func(what string) {
		began := time.Now()
		q = mustOpen(b, opt)
		opened := time.Since(began)
		n := 0
		for _, err := range q.Entries() {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.Logf("%s: open %v, %d entries after %v, heap %d MiB", what, opened, n, time.Since(began), m.HeapAlloc>>20)
	}
	crashed := filepath.Join(b.TempDir(), "crashed")
	if err := copyDir(opt.Dir, crashed); err != nil {
		b.Fatal(err)
	}
	q.Close()
	load("after a clean end")
	q.Close()
	opt.Dir = crashed
	load("after a kill")
	stop := make(chan struct{})
	var retries sync.WaitGroup
	retries.Go(func() {
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i = (i + 7919) % depth {
			select {
			case <-tick.C:
				s := relay.Settlement{ID: old[i], Next: relay.State{Attempts: 1, Due: time.Now()}}
				s.Attempt = &relay.Attempt{N: 1, At: time.Now(), Outcomes: []relay.Outcome{{Action: relay.ActionDelayed, Reply: relay.Reply{Code: 451, Text: "try later"}}}}
				q.Settle(s, nil)
			case <-stop:
				return
			}
		}
	})
	content := make([]byte, 1<<10)
	through(b, q, 16, content, min(b.N, 2000))
	b.ResetTimer()
	through(b, q, 16, content, b.N)
	b.StopTimer()
	close(stop)
	retries.Wait()
	rate := float64(b.N) / b.Elapsed().Seconds()
	empty := mustOpen(b, queue.Options{Dir: b.TempDir(), Reserve: -1, MinFree: 1})
	through(b, empty, 16, content, min(b.N, 2000))
	began = time.Now()
	through(b, empty, 16, content, b.N)
	b.ReportMetric(rate, "msg/s")
	b.ReportMetric(100*rate*time.Since(began).Seconds()/float64(b.N), "%ofempty")
	b.ReportMetric(0, "ns/op")
}

// rawLimit is how many messages a second the same producers and consumers get
// through a plain group commit: octets written over a recycled file, one
// fdatasync a group, each message read back once.
func rawLimit(b *testing.B, producers, size, n int) float64 {
	const recycled = 128 << 20
	f, err := os.Create(filepath.Join(b.TempDir(), "raw"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for range recycled >> 20 {
		f.Write(make([]byte, 1<<20))
	}
	f.Sync()
	in := make(chan chan struct{}, 1024)
	written := make(chan int64, n)
	go rawWriter(f, recycled, make([]byte, size), in, written)
	began := time.Now()
	var read sync.WaitGroup
	read.Go(func() {
		parallel(16, func(int) {
			buf := make([]byte, size)
			for at := range written {
				f.ReadAt(buf, at)
			}
		})
	})
	var count atomic.Int64
	parallel(producers, func(int) {
		done := make(chan struct{}, 1)
		for i := count.Add(1); i <= int64(n); i = count.Add(1) {
			in <- done
			<-done
		}
	})
	close(in)
	read.Wait()
	return float64(n) / time.Since(began).Seconds()
}

func rawWriter(f *os.File, recycled int64, content []byte, in chan chan struct{}, written chan int64) {
	defer close(written)
	size, at := int64(len(content)), int64(0)
	for first := range in {
		group := []chan struct{}{first}
		for yields := 0; yields < 3 && len(group) < 1024 && len(group)*len(content) < 8<<20; {
			select {
			case done, ok := <-in:
				if ok {
					group = append(group, done)
					continue
				}
			default:
			}
			if yields++; yields < 3 {
				runtime.Gosched()
			}
		}
		places := make([]int64, len(group))
		for i := range group {
			if at+size > recycled {
				at = 0
			}
			f.WriteAt(content, at)
			places[i] = at
			at += size
		}
		syscall.Fdatasync(int(f.Fd()))
		for i, done := range group {
			done <- struct{}{}
			written <- places[i]
		}
	}
}
