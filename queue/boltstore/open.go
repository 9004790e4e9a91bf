package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
	"dawk/relay"
)

// The names in the data directory that are ours.
const (
	fileName    = "queue.db"
	newName     = "queue.db.new" // a copy being made; never complete under this name
	lockName    = "queue.lock"
	suspectName = "suspect"
	spoolName   = "spool"
)

// schema is the version of the file's layout. A higher one is refused, a lower
// one is taken over: 1 had no journal, 2 had no bucket digest and no causes in
// replies.
const schema = 3

const lockWait = 2 * time.Second

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
		cache: newCache(opt.Cache), spoolGoing: make(map[uint64]bool)}
	q.w, q.space = newWriter(q), newSpace(q)
	if err := prepareDir(opt.Dir, q.log); err != nil {
		return nil, err
	}
	lock, err := takeLock(opt.Dir)
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
// stable storage: see wasUsed.
func (q *Store) start() (err error) {
	var late *boltfile.Meta
	if q.db, late, err = openTrusted(q.opt, q.log); err != nil {
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
	if err := q.hook("loaded"); err != nil {
		return err
	}
	if err := makeDir(filepath.Join(q.opt.Dir, spoolName)); err != nil {
		return fmt.Errorf("the spool cannot be made: %w", err)
	}
	q.space.look()
	q.space.findReserve()
	view := q.view
	if q.w.j.Records() > 0 { // the disk was too full for the first commit
		view = q.viewOpen
	}
	go q.w.run()
	go q.space.run()
	q.tasks.Go(func() { q.sweep(view) })
	if late != nil {
		q.upkeep.Lock()
		q.tasks.Go(func() { q.walkLate(opened, *late) })
	}
	return nil
}

// prepareDir makes the directory, and its name durable.
func prepareDir(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fmt.Errorf("the data directory %s cannot be made: %w", dir, err)
		}
		if err := makeDir(dir); err != nil {
			return fmt.Errorf("the data directory %s cannot be made: %w", dir, err)
		}
	case err != nil:
		return fmt.Errorf("the data directory %s cannot be used: %w", dir, err)
	case !info.IsDir():
		return fmt.Errorf("the data directory %s is not a directory", dir)
	case info.Mode().Perm()&0o007 != 0:
		log.Warn("others may look into the data directory; 0700 is better", "dir", dir, "mode", info.Mode().Perm().String())
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("the data directory %s is not writable for this user: %w", dir, err)
	}
	return nil
}

// wasUsed says what shows that a queue was once opened in dir; "": nothing. The
// spool is made after queue.db, whose content and name are durable by then: a
// spool beside no queue.db, or beside one of 0 octets, means that mail is
// missing, and so does a journal that was ever written to.
func wasUsed(dir string) string {
	if _, err := os.Lstat(filepath.Join(dir, spoolName)); err == nil {
		return "the directory spool"
	}
	if journal.Used(dir) {
		return journal.Name
	}
	return ""
}

// takeLock takes the lock of the directory. bbolt's own lock is on the file,
// which a compaction replaces.
func takeLock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s is not writable: %w", dir, err)
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("the data directory %s is %w: stop that one first, or give this one another data_dir", dir, queue.ErrHeld)
			}
			return nil, fmt.Errorf("the data directory %s cannot be locked: %w", dir, err)
		}
	}
}

// openBolt opens a bbolt file with our options. Its free list is kept in
// memory only: written with each commit it would make a queue that was once a
// million deep, and is drained, some twenty times slower.
func openBolt(path string, maxSize int64) (*bolt.DB, error) {
	// Address space only: a file that outgrows its mapping would stop
	// everybody for a remap.
	for mapSize := 64 << 30; ; mapSize /= 2 {
		db, err := bolt.Open(path, 0o600, &bolt.Options{
			Timeout:         lockWait,
			NoFreelistSync:  true,
			FreelistType:    bolt.FreelistMapType,
			InitialMmapSize: mapSize,
			PageSize:        boltfile.PageSize,
			MaxSize:         int(maxSize),
		})
		switch {
		case err == nil:
			return db, nil
		case errors.Is(err, bolterrors.ErrTimeout):
			return nil, fmt.Errorf("%s is %w: stop that one first, or give this one another data_dir", path, queue.ErrHeld)
		case errors.Is(err, unix.ENOMEM) && mapSize > 64<<20:
			continue
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
}

// writeSuspect leaves the mark, as well as a failing disk lets us.
func writeSuspect(dir string, why error) error {
	f, err := os.OpenFile(filepath.Join(dir, suspectName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format(time.RFC3339), relay.Sanitize(why.Error()))
	return errors.Join(err, f.Sync(), f.Close(), journal.SyncDir(dir))
}

// sweep removes orphans: spool files without a record, left by a crash between
// the file and the commit, or between a commit and the removal. Only names
// older than this run are looked at, so that it may run beside new mail, and
// none older than the file queue.db: when an operator moved a damaged one away,
// the content of its messages must not go too.
// View shows at least what this run found.
func (q *Store) sweep(view func(func(*bolt.Tx) error) error) {
	defer close(q.swept)
	root := filepath.Join(q.opt.Dir, spoolName)
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
			born := getUint(tx.Bucket(bucketSys), sysBorn)
			for _, f := range files {
				id, ok := parseSpoolName(dir.Name(), f.Name())
				if ok && id < q.first && id >= born && !ownsFile(tx, id) {
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
