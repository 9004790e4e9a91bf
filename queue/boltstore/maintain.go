package boltstore

import (
	"context"
	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
)

// compactAbove is the size of a file that is worth compacting at start, when
// more than half of it is free. Only disk space depends on it, not speed.
const compactAbove = 1 << 30

// walkBelow is the size, in octets, up to which a file is looked at page by page
// before every use: it costs up to a second, and the time to read it. bbolt
// follows whatever a damaged page says, and what it then reads or writes may be
// our own memory. A larger file is walked first when its last run did not end
// cleanly, and beside the work when it did.
const walkBelow = 1 << 30

// compactTx is how much Compact copies in one transaction, in octets.
const compactTx = 8 << 20

// whatToDo ends every refusal of a damaged file.
const whatToDo = "nothing was changed; restore a backup, or move queue.db, queue.journal and spool away, together, to start empty (`dawk queue verify` says more)"

// openTrusted opens the file after it was looked at as closely as its end
// requires. late is not nil when its pages are still to be walked.
func openTrusted(opt Options, log *slog.Logger) (db *bolt.DB, late *boltfile.Meta, err error) {
	path := filepath.Join(opt.Dir, fileName)
	meta, exists, err := boltfile.ReadMeta(filepath.Join(opt.Dir, fileName), wasUsed(opt.Dir))
	if err != nil {
		return nil, nil, fmt.Errorf("%w; %s", err, whatToDo)
	}
	if exists && meta.Alone {
		log.Warn("one of the two pages that say what is valid in the queue file cannot be read; unless the power failed just now, what was accepted last may be missing",
			"file", path)
	}
	if err := os.Remove(filepath.Join(opt.Dir, newName)); err == nil {
		log.Info("removed the unfinished file of an interrupted compaction or first start")
	}
	if !exists {
		db, err = create(opt)
		return db, nil, err
	}
	_, err = os.Stat(filepath.Join(opt.Dir, suspectName))
	suspect := err == nil
	walk := suspect || !meta.Clean() || int64(meta.High)*boltfile.PageSize <= opt.walkBelow()
	if walk {
		boltfile.Prewarm(path)
		if err := boltfile.Check(path, meta, nil); err != nil {
			return nil, nil, fmt.Errorf("%w; %s", err, whatToDo)
		}
	}
	if db, err = openGuarded(path, opt.MaxSize); err != nil {
		return nil, nil, err
	}
	switch {
	case suspect:
		db, err = rewriteSuspect(opt, db, log)
	case worthCompacting(opt, db):
		if !walk { // a copy of damaged pages could lack mail, and nobody would know
			err = boltfile.Check(path, meta, nil)
		}
		if err != nil {
			db.Close()
			return nil, nil, fmt.Errorf("%w; %s", err, whatToDo)
		}
		db, err = compactAtStart(opt, db, log)
	case !walk:
		late = &meta
	}
	return db, late, err
}

// walkLate checks every page of the state that tx keeps, while the queue is in
// use already.
func (q *Store) walkLate(tx *bolt.Tx, m boltfile.Meta) {
	defer q.upkeep.Unlock() // a compaction would wait for tx
	defer tx.Rollback()
	began := time.Now()
	err := boltfile.Check(q.path(), m, q.ending)
	switch {
	case errors.Is(err, boltfile.ErrStopped):
	case errors.Is(err, queue.ErrDamaged):
		q.distrust(err)
	case err != nil:
		q.log.Error("the pages of the queue file cannot be checked", "error", err)
	default:
		q.log.Info("every page of the queue file was checked", "took", time.Since(began).Round(time.Millisecond).String())
	}
}

// create makes the file of a directory's first queue, under another name until
// bbolt has written and synced what makes it one.
func create(opt Options) (*bolt.DB, error) {
	tmp := filepath.Join(opt.Dir, newName)
	db, err := openGuarded(tmp, opt.MaxSize)
	if err != nil {
		return nil, err
	}
	if err = opt.hook("created"); err == nil {
		err = os.Rename(tmp, filepath.Join(opt.Dir, fileName))
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("make the queue file: %w", err)
	}
	return db, nil
}

// openGuarded is openBolt for a file that may be damaged where we did not look.
func openGuarded(path string, maxSize int64) (db *bolt.DB, err error) {
	panicked, err := caught(func() (err error) { db, err = openBolt(path, maxSize); return err })
	if panicked {
		return nil, fmt.Errorf("%w: %w; %s", queue.ErrDamaged, err, whatToDo)
	}
	return db, err
}

// rewriteSuspect deals with the mark of a failed sync: what the page cache
// shows may not be on the disk, so everything is checked and written anew,
// through pages that never failed.
func rewriteSuspect(opt Options, db *bolt.DB, log *slog.Logger) (*bolt.DB, error) {
	log.Warn("the disk failed under the queue: checking it and writing it anew before it is used")
	if problems := boltProblems(db, 1); len(problems) > 0 {
		db.Close()
		return nil, fmt.Errorf("%w: %s; %s", queue.ErrDamaged, problems[0], whatToDo)
	}
	// What the journal has goes into the new file only: the old one stays as it
	// is until that is in place.
	fresh, err := replace(opt, db, func(fresh *bolt.DB) error { return catchUpFile(&opt, fresh, log) })
	db.Close()
	if err != nil {
		return nil, fmt.Errorf("the disk failed under the queue, and it cannot be written anew: %w", err)
	}
	if err := os.Remove(filepath.Join(opt.Dir, suspectName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fresh.Close()
		return nil, fmt.Errorf("the queue was written anew, but its mark stays: %w", err)
	}
	if err := journal.SyncDir(opt.Dir); err != nil {
		fresh.Close()
		return nil, err
	}
	log.Info("the queue is sound and was written anew")
	return fresh, nil
}

// boltProblems is what bbolt's own check says, at most limit of it.
func boltProblems(db *bolt.DB, limit int) (problems []string) {
	err := db.View(func(tx *bolt.Tx) error {
		for err := range tx.Check() { // to be read to its end
			if len(problems) < limit {
				problems = append(problems, err.Error())
			}
		}
		return nil
	})
	if err != nil {
		problems = append(problems, err.Error())
	}
	return problems
}

func worthCompacting(opt Options, db *bolt.DB) bool {
	info, err := os.Stat(filepath.Join(opt.Dir, fileName))
	if err != nil || info.Size() <= opt.compactAbove() {
		return false
	}
	free := int64(db.Stats().FreePageN) * boltfile.PageSize
	return free > info.Size()/2 && diskFree(opt.Dir) > (info.Size()-free)+opt.MinFree
}

func (o Options) walkBelow() int64 {
	if o.WalkBelow != 0 {
		return o.WalkBelow
	}
	return walkBelow
}

func (o Options) compactAbove() int64 {
	if o.CompactAbove > 0 {
		return o.CompactAbove
	}
	return compactAbove
}

func diskFree(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

func compactAtStart(opt Options, db *bolt.DB, log *slog.Logger) (*bolt.DB, error) {
	fresh, err := replace(opt, db, nil)
	if err == nil {
		db.Close()
		log.Info("the queue file was mostly empty and was compacted")
		return fresh, nil
	}
	if errors.Is(err, errReplaced) {
		writeSuspect(opt.Dir, err) // best effort: it is a failed sync like any other
		return nil, err
	}
	log.Warn("the queue file could not be compacted; it is used as it is", "error", err)
	return db, nil
}

// errReplaced marks a failure after the rename: which of the two files a crash
// would leave is not known.
var errReplaced = errors.New("the new queue file is in place, but its name could not be synced")

// replace copies what is in use of db into a new file, syncs it and puts it in
// the place of the old one, which the caller closes. On an error db is still
// in place, unless the error wraps errReplaced. And, which may be nil, changes
// the copy before it is synced.
func replace(opt Options, db *bolt.DB, and func(*bolt.DB) error) (fresh *bolt.DB, err error) {
	path, tmp := filepath.Join(opt.Dir, fileName), filepath.Join(opt.Dir, newName)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err = openGuarded(tmp, opt.MaxSize)
	if err != nil {
		return nil, err
	}
	fresh.NoSync = true // synced once, as a whole
	err = bolt.Compact(fresh, db, compactTx)
	if err == nil && and != nil {
		err = and(fresh)
	}
	if err == nil {
		err = opt.hook("compact.copied")
	}
	if err == nil {
		err = fresh.Sync()
	}
	fresh.NoSync = false
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		fresh.Close()
		os.Remove(tmp)
		return nil, fmt.Errorf("compact: %w", err)
	}
	// From here on the new file is the queue; both hold the same.
	if err = opt.hook("compact.renamed"); err == nil {
		err = journal.SyncDir(opt.Dir)
	}
	if err != nil {
		return fresh, fmt.Errorf("%w: %w", errReplaced, err)
	}
	return fresh, nil
}

// errBusy says that one maintenance command runs at a time.
var errBusy = errors.New("a backup, a verification or a compaction is running, or the check of a large file after a start: wait for it")

// Compact gives the file's free pages back to the file system, while the queue
// runs. New mail and settlements wait meanwhile: about four seconds for each
// GiB that is in use. A crash leaves the old file or the new one, complete.
func (q *Store) Compact(ctx context.Context) error {
	if !q.upkeep.TryLock() {
		return errBusy
	}
	defer q.upkeep.Unlock()
	var err error
	if err2 := q.w.do(func() { err = q.compact(ctx) }); err2 != nil {
		return err2
	}
	return err
}

// compact runs in the writer.
func (q *Store) compact(ctx context.Context) error {
	if err := errors.Join(ctx.Err(), q.closedError(), q.w.tidy(true)); err != nil {
		return err
	}
	q.w.rollback() // a transaction that is open would keep the old file open
	size, free := q.fileUse()
	if have, need := diskFree(q.opt.Dir), size-free; have < need {
		return fmt.Errorf("compaction needs %s of free disk beside the queue, there are %s", queue.SizeText(need), queue.SizeText(have))
	}
	old := q.db
	fresh, err := replace(q.opt, old, nil)
	if fresh == nil {
		return err
	}
	// Nobody may be inside the old file when it is closed.
	q.dbMu.Lock()
	q.db = fresh
	q.dbMu.Unlock()
	if errors.Is(err, errReplaced) {
		q.w.dead = true
		q.distrust(err)
	}
	return errors.Join(err, old.Close())
}
