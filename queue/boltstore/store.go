package boltstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/outbox"
	"dawk/queue/recent"
	"dawk/relay"
)

// Options of a queue. Sizes are in octets.
type Options struct {
	Dir            string // the data directory; made 0700 if it is missing
	InlineLimit    int    // most content kept in the bbolt file; larger content gets a file of its own; 0: 256 KiB
	MaxSize        int64  // hard limit of the bbolt file; 0: none
	MinFree        int64  // room below which new mail is refused; 0: the lesser of 1 GiB and a tenth of the file system
	MaxMessageSize int64  // new mail also needs twice this much room
	Journal        int64  // records of the journal after which they go into the bbolt file; 0: 32 MiB, less on a small disk; negative: there is no journal
	Cache          int    // memory for mail that was just accepted; 0: 8 MiB, negative: none

	WalkBelow    int64 // size up to which every page of the file is checked before every use; 0: 1 GiB, negative: none
	CompactAbove int64 // size from which a file that is half free is compacted at start; 0: 1 GiB

	// Destination names what the recipients of a Delivery share: "route:<name>" or a domain. nil: the
	// domain.
	Destination func(*relay.Message, relay.Path) string
	Log         *slog.Logger // nil: none
	// Beside are files and folders in Dir that a Backup holds too, where they are there.
	Beside []string
	// Fatal is called once, when the disk can no longer be trusted: the program should end with a
	// failure. Fatal must not call the Store.
	Fatal func(error)
	// CommitSeconds is told how long each commit took.
	CommitSeconds func(time.Duration)
	// Hook is for tests: it is called at named points, and an error that it returns is treated as a
	// failure at that point.
	Hook func(point string) error
}

func (o *Options) file() datadir.FileOptions {
	keep := func(deliveries, used int64) int64 { return space.ToSettle(deliveries, space.Guess(deliveries, used)) }
	return datadir.FileOptions{Dir: o.Dir, MaxSize: o.MaxSize, MinFree: o.MinFree, WalkBelow: o.WalkBelow, CompactAbove: o.CompactAbove,
		Keep: keep, Log: o.Log, Hook: o.hook}
}

// Store is the store. Its methods may be called by several goroutines.
type Store struct {
	opt   Options
	log   *slog.Logger
	dirID uint32
	first uint64 // no ID of this run is lower
	ids   queue.IDs
	lock  *os.File

	dbMu sync.RWMutex // guards the pointer against compaction and Close
	db   *bolt.DB

	gate   sync.RWMutex          // held by those who hand something to the writer
	failed atomic.Pointer[error] // why the disk is not trusted

	w      *writer
	watch  func([]relay.Entry)
	cache  *recent.Cache
	outbox *outbox.Log
	upkeep sync.Mutex // held by the one Backup, Verify or Compact
	space  *space.Watcher
	counts counts

	scratch    scratch
	spoolDirs  spoolDirs
	spoolMu    sync.Mutex
	spoolPins  int // while above 0 no spool file is removed
	spoolLate  []uint64
	spoolGoing map[uint64]bool // a task is about to remove these
	tasks      sync.WaitGroup
	lostOnce   sync.Once
	swept      chan struct{} // closed when the orphans of the last run are gone
	ending     chan struct{}
	ended      error
	endOnce    sync.Once
}

type counts struct {
	messages, deliveries, quarantined atomic.Int64
	telling                           atomic.Int64 // octets: the sum of space.Telling
	commits, operations               atomic.Int64
	checkpoints                       atomic.Int64
}

// Stats are as of now.
func (q *Store) Stats() queue.Stats {
	return queue.Stats{
		Messages: q.counts.messages.Load(), Deliveries: q.counts.deliveries.Load(), Quarantined: q.counts.quarantined.Load(),
		Commits: q.counts.commits.Load(), Operations: q.counts.operations.Load(), Waiting: q.w.waiting(),
	}
}

// FileUse is the size of the bbolt file and of its pages that hold nothing, in
// octets, measured now; FileStats has them as of the last second.
func (q *Store) FileUse() (size, free int64) {
	u := q.use()
	return u.FileSize, u.Free
}

// FileStats are as of now; the figures of the disk are up to a second old.
func (q *Store) FileStats() queue.FileStats {
	st := q.space.State()
	return queue.FileStats{
		FileBytes: st.FileSize, FreeBytes: st.Free, DiskFree: st.Disk, Room: st.Room, Limit: st.Limit,
		JournalBytes: q.w.j.Length(), Checkpoints: q.counts.checkpoints.Load(), CacheBytes: int64(q.cache.Used()),
	}
}

// Outbox implements queue.Store.
func (q *Store) Outbox() queue.Outbox { return q.outbox }

// Watch sets who is told, after each commit, of the Deliveries that it made,
// before Enqueue returns or Settle's done is called. It is called from the
// writer, one call at a time, and must not block. Set it before the first
// Enqueue.
func (q *Store) Watch(f func([]relay.Entry)) { q.watch = f }

// use measures the bbolt file.
func (q *Store) use() (u space.Use) {
	q.view(func(tx *bolt.Tx) error {
		u = q.w.file.Use(tx)
		return nil
	})
	u.Deliveries, u.Telling = q.counts.deliveries.Load(), q.counts.telling.Load()
	return u
}

func (q *Store) path() string { return filepath.Join(q.opt.Dir, datadir.FileName) }

func (q *Store) counted(operations int, took time.Duration) {
	q.counts.commits.Add(1)
	q.counts.operations.Add(int64(operations))
	if q.opt.CommitSeconds != nil {
		q.opt.CommitSeconds(took)
	}
}

func (q *Store) hook(point string) error { return q.opt.hook(point) }

func (o *Options) hook(point string) error {
	if o.Hook == nil {
		return nil
	}
	return o.Hook(point)
}

// closedError is nil while the queue takes operations.
func (q *Store) closedError() error {
	if why := q.failed.Load(); why != nil {
		return fmt.Errorf("%w: %w", relay.ErrClosed, *why)
	}
	select {
	case <-q.ending:
		return relay.ErrClosed
	default:
		return nil
	}
}

// distrust ends the use of this disk: after a failed sync, or another failure, its content is
// unknown. The mark makes the next start verify and rewrite the file before it trusts it.
func (q *Store) distrust(err error) {
	if !q.failed.CompareAndSwap(nil, &err) {
		return
	}
	q.log.Error("the queue's disk failed: nothing more is accepted, the next start will verify the queue", "error", err)
	if markErr := datadir.WriteSuspect(q.opt.Dir, err); markErr != nil {
		q.log.Error("could not leave the mark that makes the next start verify the queue", "error", markErr)
	}
	if q.opt.Fatal != nil {
		q.opt.Fatal(fmt.Errorf("queue in %s: %w", q.opt.Dir, err))
	}
}

// Close commits what was handed over, marks the file as cleanly closed and lets it go. Drafts that
// are still open are lost; their clients have got no answer yet.
func (q *Store) Close() error {
	q.endOnce.Do(func() { q.ended = q.close() })
	return q.ended
}

func (q *Store) close() error {
	q.gate.Lock() // no operation is being handed over
	close(q.ending)
	q.gate.Unlock()
	close(q.w.quit)
	<-q.w.idle
	q.space.Close()
	q.tasks.Wait()
	q.dbMu.Lock()
	defer q.dbMu.Unlock()
	err := q.w.end()
	if !q.w.panicked { // otherwise bbolt's locks may never be released
		err = errors.Join(err, q.db.Close())
	}
	err = errors.Join(err, q.w.j.Close(), q.outbox.Close(), q.lock.Close())
	q.db = nil
	if err != nil {
		return fmt.Errorf("close the queue in %s: %w", q.opt.Dir, err)
	}
	return nil
}

// spoolGone removes the files of messages that left the store, off the
// writer's path, unless a backup or a verification needs them still.
func (q *Store) spoolGone(ids []uint64) {
	if len(ids) == 0 {
		return
	}
	q.spoolMu.Lock()
	defer q.spoolMu.Unlock()
	if q.spoolPins > 0 {
		q.spoolLate = append(q.spoolLate, ids...)
		return
	}
	for _, id := range ids {
		q.spoolGoing[id] = true
	}
	q.tasks.Go(func() {
		if q.hook("unlink") != nil {
			return
		}
		for _, id := range ids {
			q.unlink(id)
			q.spoolMu.Lock()
			delete(q.spoolGoing, id)
			q.spoolMu.Unlock()
		}
	})
}

// leaving says whether the file of a message that left the store is still to be
// removed.
func (q *Store) leaving(id uint64) bool {
	q.spoolMu.Lock()
	defer q.spoolMu.Unlock()
	return q.spoolGoing[id] || slices.Contains(q.spoolLate, id)
}

// task runs f in the background, and Close waits for it.
func (q *Store) task(f func()) {
	q.gate.RLock()
	defer q.gate.RUnlock()
	if q.closedError() == nil {
		q.tasks.Go(f)
	}
}

// pinSpool keeps all spool files until the function that it returns is called.
func (q *Store) pinSpool() (release func()) {
	q.spoolMu.Lock()
	defer q.spoolMu.Unlock()
	q.spoolPins++
	return sync.OnceFunc(func() {
		q.spoolMu.Lock()
		q.spoolPins--
		late := q.spoolLate
		if q.spoolPins == 0 {
			q.spoolLate = nil
		} else {
			late = nil
		}
		q.spoolMu.Unlock()
		q.spoolGone(late)
	})
}
