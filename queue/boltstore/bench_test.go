package boltstore_test

import (
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

	"dawk/queue/boltstore"
	"dawk/relay"
)

// BenchmarkCycle is the full life of a message: enqueue by so many producers,
// each of which waits for the 250, and claim, read and settle by 16 consumers.
// It prints messages a second, commits a message, octets written for each
// octet of content, CPU, latency of Enqueue, and the share of this machine's raw
// group-sync limit, which is measured in the same run, before and after.
//
// Run it with -benchtime 20000x: that is the most messages of a cell; cells of
// large bodies or of one producer stop earlier.
func BenchmarkCycle(b *testing.B) {
	for _, size := range []int{1 << 10, 4 << 10, 32 << 10, 64 << 10, 256 << 10, 1 << 20, 5 << 20} {
		for _, producers := range []int{1, 16, 64, 256} {
			b.Run(fmt.Sprintf("%dKiB/%d", size>>10, producers), func(b *testing.B) {
				if b.N == 1 {
					return // the trial that comes before -benchtime Nx
				}
				n := min(b.N, max(256<<20/size, 2*producers))
				if producers == 1 {
					n = min(n, 5000)
				}
				raw := rawLimit(b, producers, size, n)
				rate := cycle(b, producers, size, n)
				raw = (raw + rawLimit(b, producers, size, n)) / 2
				b.ReportMetric(rate, "msg/s")
				b.ReportMetric(raw, "raw/s")
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

func cycle(b *testing.B, producers, size, n int) (rate float64) {
	journal, _ := strconv.ParseInt(os.Getenv("DAWK_BENCH_JOURNAL"), 10, 64) // MiB; -1: none
	q := mustOpen(b, boltstore.Options{Dir: b.TempDir(), MinFree: 1, Journal: journal << 20})
	content := make([]byte, size)
	through(b, q, producers, content, min(n, 2000)) // the file has its size, as in a queue that lives
	q.WaitTasks()
	commits, octets := q.Stats().Commits, q.Written()
	cpu, began := cpuTime(), time.Now()
	took := through(b, q, producers, content, n)
	rate = float64(n) / time.Since(began).Seconds()
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(n), "cpu-us/msg")
	written := q.Written() - octets
	if size > 256<<10 { // a file of its own
		written += int64(n * size)
	}
	b.ReportMetric(float64(q.Stats().Commits-commits)/float64(n), "commits/msg")
	b.ReportMetric(float64(written)/float64(n*size), "B/B")
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
	return rate
}

// cpuTime is what this process has used, producers and consumers included.
func cpuTime() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// through sends n messages through the queue and gives the sorted times that
// Enqueue took.
func through(b *testing.B, q *boltstore.Store, producers int, content []byte, n int) []time.Duration {
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
				for part := range slices.Chunk(content, 64<<10) { // as a session reads them
					d.Write(part)
				}
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
