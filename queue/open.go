package queue

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

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

// schema is the version of the file's layout. A higher one is refused.
const schema = 1

const lockWait = 2 * time.Second

// Errors of Open, for errors.Is. Their texts are for the operator.
var (
	ErrHeld    = errors.New("held by another dawk")
	ErrNewer   = errors.New("written by a newer version of dawk")
	ErrDamaged = errors.New("the queue file is damaged")
)

// Open opens the queue of a data directory, or makes a new one. It refuses a
// file that it cannot trust, with a sentence that says what is wrong and what
// to do, and deletes nothing.
func Open(opt Options) (*Queue, error) {
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
	q := &Queue{opt: opt, log: opt.Log, ending: make(chan struct{}), swept: make(chan struct{}),
		cache: newCache(opt.Cache)}
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
func (q *Queue) start() (err error) {
	var late *fileMeta
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
	go q.w.run()
	go q.space.run()
	q.tasks.Go(q.sweep)
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

// wasUsed says whether a queue was ever opened in dir. The spool is made after
// queue.db, whose content and name are durable by then: a spool beside no
// queue.db, or beside one of 0 octets, means that mail is missing.
func wasUsed(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, spoolName))
	return err == nil
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
				return nil, fmt.Errorf("the data directory %s is %w: stop that one first, or give this one another data_dir", dir, ErrHeld)
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
			PageSize:        pageSize,
			MaxSize:         int(maxSize),
		})
		switch {
		case err == nil:
			return db, nil
		case errors.Is(err, bolterrors.ErrTimeout):
			return nil, fmt.Errorf("%s is %w: stop that one first, or give this one another data_dir", path, ErrHeld)
		case errors.Is(err, unix.ENOMEM) && mapSize > 64<<20:
			continue
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
}

// load makes the buckets of a new file and reads what the old one remembers.
func (q *Queue) load() (err error) {
	var last uint64
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			q.db = nil // its locks may be held for ever
			err = fmt.Errorf("%w: %w; %s", ErrDamaged, panicError(r), whatToDo)
		}
	}()
	err = q.db.Update(func(tx *bolt.Tx) error {
		isNew, err := makeBuckets(tx)
		if err != nil {
			return err
		}
		sys := tx.Bucket(bucketSys)
		if err := checkSys(sys, isNew); err != nil {
			return err
		}
		if q.dirID, err = directoryID(sys); err != nil {
			return err
		}
		if last = getUint(sys, sysHigh); sys.Get(sysBorn) == nil {
			last = q.ids.next()
			if err := sys.Put(sysBorn, binary.BigEndian.AppendUint64(nil, last)); err != nil {
				return err
			}
		}
		if k, _ := tx.Bucket(bucketMsg).Cursor().Last(); len(k) == 8 {
			last = max(last, binary.BigEndian.Uint64(k))
		}
		q.counts.messages.Store(int64(getUint(sys, sysMessages)))
		q.counts.deliveries.Store(int64(getUint(sys, sysDeliveries)))
		q.counts.setAside.Store(int64(getUint(sys, sysCorrupt)))
		return nil
	})
	if err != nil {
		return err
	}
	q.ids.last.Store(last)
	q.first = q.ids.next()
	return syncDir(q.opt.Dir)
}

// makeBuckets makes the buckets of a new file. In an old one all of them must
// be there: one that is missing would look like a queue that is empty.
func makeBuckets(tx *bolt.Tx) (isNew bool, err error) {
	isNew = true
	err = tx.ForEach(func([]byte, *bolt.Bucket) error { isNew = false; return nil })
	if err != nil {
		return false, damaged("%v", err)
	}
	for _, name := range [][]byte{bucketMsg, bucketSched, bucketHist, bucketCorrupt, bucketSys} {
		if isNew {
			if _, err := tx.CreateBucket(name); err != nil {
				return true, err
			}
		} else if tx.Bucket(name) == nil {
			return false, fmt.Errorf("%w; %s", damaged("the bucket %q is missing", name), whatToDo)
		}
	}
	return isNew, nil
}

// maxKey is the highest key that a queue ID can show, relay.QueueID's 55 bits,
// with room to count on.
const maxKey = 1<<55 - 1<<40

// checkSys writes the schema of a new file and checks that of an old one.
func checkSys(sys *bolt.Bucket, isNew bool) error {
	if isNew {
		return sys.Put(sysSchema, binary.BigEndian.AppendUint32(nil, schema))
	}
	v := sys.Get(sysSchema)
	if len(v) != 4 || len(sys.Get(sysDir)) != 4 || getUint(sys, sysHigh) > maxKey {
		return fmt.Errorf("%w; %s", damaged("its bucket sys cannot be read"), whatToDo)
	}
	if n := binary.BigEndian.Uint32(v); n > schema {
		return fmt.Errorf("it was %w (layout %d, this one knows %d): use that version, or another data_dir", ErrNewer, n, schema)
	}
	return nil
}

// directoryID is the random half of this directory's queue IDs.
func directoryID(sys *bolt.Bucket) (uint32, error) {
	if v := sys.Get(sysDir); len(v) == 4 {
		return binary.BigEndian.Uint32(v), nil
	}
	var b [4]byte
	rand.Read(b[:])
	id := binary.BigEndian.Uint32(b[:]) & (1<<20 - 1)
	return id, sys.Put(sysDir, binary.BigEndian.AppendUint32(nil, id))
}

// markClean makes the last commit: the mark, and the free list, so that the
// next open reads it instead of walking the whole file.
func markClean(q *Queue) (err error) {
	defer func() {
		if r := recover(); r != nil {
			q.w.panicked = true
			err = panicError(r)
		}
	}()
	q.db.NoFreelistSync = false
	defer func() { q.db.NoFreelistSync = true }()
	if err := q.hook("close"); err != nil {
		return err
	}
	return q.db.Update(func(tx *bolt.Tx) error {
		t := newTxn(q, tx)
		t.book()
		return t.sys.Put(sysClean, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMicro())))
	})
}

// writeSuspect leaves the mark, as well as a failing disk lets us.
func writeSuspect(dir string, why error) error {
	f, err := os.OpenFile(filepath.Join(dir, suspectName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format(time.RFC3339), relay.Sanitize(why.Error()))
	return errors.Join(err, f.Sync(), f.Close(), syncDir(dir))
}

// sweep removes orphans: spool files without a record, left by a crash between
// the file and the commit, or between a commit and the removal. Only names
// older than this run are looked at, so that it may run beside new mail, and
// none older than the file queue.db: when an operator moved a damaged one away,
// the content of its messages must not go too.
func (q *Queue) sweep() {
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
		err = q.view(func(tx *bolt.Tx) error {
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
