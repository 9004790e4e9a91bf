package boltstore

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/boltfile"
	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/outbox"
	"dawk/queue/recent"
	"dawk/relay"
)

// Open opens the queue of a data directory, or makes a new one. It refuses a
// file that it cannot trust, with a sentence that says what is wrong and what
// to do, and deletes nothing.
func Open(opt Options) (*Store, error) {
	if opt.InlineLimit == 0 {
		opt.InlineLimit = 256 << 10
	}
	if opt.Cache == 0 {
		opt.Cache = 8 << 20
	}
	if opt.Destination == nil {
		opt.Destination = func(_ *relay.Message, p relay.Path) string { return p.Domain() }
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	q := &Store{opt: opt, log: opt.Log, ending: make(chan struct{}), swept: make(chan struct{}),
		cache: recent.New(max(opt.Cache, 0)), spoolGoing: make(map[uint64]bool), spoolDirs: spoolDirs{named: make(map[string]bool)}}
	if err := datadir.PrepareDir(opt.Dir, q.log); err != nil {
		return nil, err
	}
	if q.opt.Journal == 0 {
		q.opt.Journal = space.JournalLimit(datadir.DiskSize(opt.Dir))
		if opt.MaxSize > 0 {
			q.opt.Journal = min(q.opt.Journal, max(opt.MaxSize/4, 1<<20))
		}
	}
	q.outbox = outbox.New(opt.Dir, q.log, q.hook)
	q.w = newWriter(q)
	q.space = space.New(opt.Dir, space.Limits{MinFree: opt.MinFree, MaxMessageSize: opt.MaxMessageSize, MaxSize: opt.MaxSize}, q.use, q.outbox.GiveWay, q.log)
	lock, err := datadir.Lock(opt.Dir)
	if err != nil {
		return nil, err
	}
	q.lock = lock
	if err := q.start(); err != nil {
		q.w.j.Close()
		if q.db != nil {
			q.db.Close()
		}
		lock.Close()
		return nil, fmt.Errorf("queue in %s: %w", opt.Dir, err)
	}
	return q, nil
}

// start opens the file and begins work. The spool is made once queue.db is on
// stable storage: see datadir.Open.
func (q *Store) start() (err error) {
	var late *boltfile.Meta
	if q.db, late, err = datadir.Open(q.opt.file()); err != nil {
		return err
	}
	var opened *bolt.Tx // keeps the pages that are still to be walked
	if late != nil {
		if opened, err = q.db.Begin(false); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				opened.Rollback()
			}
		}()
	}
	if err := q.load(); err != nil {
		return err
	}
	os.Remove(filepath.Join(q.opt.Dir, "reserve")) // of an older dawk; the end of queue.db serves for it
	if err := q.hook("loaded"); err != nil {
		return err
	}
	if err := datadir.MakeDir(filepath.Join(q.opt.Dir, datadir.SpoolName)); err != nil {
		return fmt.Errorf("the spool cannot be made: %w", err)
	}
	q.space.Look()
	view := q.view
	if q.w.j.Records() > 0 { // the disk was too full for the first commit
		view = q.viewOpen
	}
	go q.w.Run()
	go q.space.Run()
	q.tasks.Go(func() { q.sweep(view) })
	if late != nil {
		q.upkeep.Lock()
		q.tasks.Go(func() { q.walkLate(opened, *late) })
	}
	return nil
}

// sweep removes orphans: spool files without a record, left by a crash between
// the file and the commit, or between a commit and the removal. Only names
// older than this run are looked at, so that it may run beside new mail, and
// none older than the file queue.db: when an operator moved a damaged one away,
// the content of its messages must not go too.
// View shows at least what this run found.
func (q *Store) sweep(view func(func(*bolt.Tx) error) error) {
	defer close(q.swept)
	root := filepath.Join(q.opt.Dir, datadir.SpoolName)
	dirs, err := os.ReadDir(root)
	if err != nil {
		q.log.Warn("cannot look for orphaned spool files", "error", err)
		return
	}
	removed := 0
	for _, dir := range dirs {
		if q.closedError() != nil {
			return
		}
		files, err := os.ReadDir(filepath.Join(root, dir.Name()))
		if err != nil {
			continue
		}
		var orphans []uint64
		err = view(func(tx *bolt.Tx) error {
			born := datadir.Uint(tx.Bucket(datadir.BucketSys), datadir.SysBorn)
			for _, f := range files {
				id, ok := datadir.ParseSpoolName(dir.Name(), f.Name())
				if ok && id < q.first && id >= born && !datadir.OwnsFile(tx, id) {
					orphans = append(orphans, id)
				}
			}
			return nil
		})
		if err != nil {
			q.log.Warn("cannot look for orphaned spool files", "error", err)
			return
		}
		for _, id := range orphans {
			q.unlink(id)
			removed++
		}
	}
	if removed > 0 {
		q.log.Info("removed spool files that no message owns, left by a crash", "files", removed)
	}
}
