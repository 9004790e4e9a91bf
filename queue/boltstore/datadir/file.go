package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
	"dawk/relay/durable"
)

// FileOptions are what opening, compacting and rewriting the file depend on.
type FileOptions struct {
	Dir              string
	MaxSize, MinFree int64
	WalkBelow        int64 // size up to which every page is checked before every use; 0: the default, negative: none
	CompactAbove     int64 // size from which a file that is half free is compacted; 0: the default

	// Keep is for how many octets after its pages a new file gets blocks, as the old one may have had.
	Keep func(deliveries, used int64) int64
	Log  *slog.Logger
	Hook func(point string) error
}

// openBolt opens a bbolt file with our options. Its free list is kept in memory only: written with
// each commit, it would make a queue that once held a million messages about twenty times slower,
// even when it is empty again.
func openBolt(path string, maxSize int64) (*bolt.DB, error) {
	// This takes only address space: a file that outgrows its mapping would stop all work for a remap.
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
			db.AllocSize = boltfile.Step
			return db, nil
		case errors.Is(err, bolterrors.ErrTimeout):
			return nil, fmt.Errorf("%s is %w: stop that one first, or give this one another data_dir", path, queue.ErrHeld)
		case errors.Is(err, unix.ENOMEM) && mapSize > 64<<20:
			continue
		}
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
}

// compactAbove is the size of a file that is worth compacting at start, when
// more than half of it is free. Only disk space depends on it, not speed.
const compactAbove = 1 << 30

// walkBelow is the size, in octets, up to which a file is looked at page by page before every use:
// it costs up to a second, and the time to read it. bbolt follows whatever a damaged page says, and
// what it then reads or writes may be our own memory. A larger file is walked first if its last run
// did not end cleanly, and in the background if it did.
const walkBelow = 1 << 30

// compactTx is how much Compact copies in one transaction, in octets.
const compactTx = 8 << 20

// WhatToDo ends every refusal of a damaged file.
const WhatToDo = "nothing was changed; restore a backup, or move queue.db, queue.journal and spool away, together, to start empty (`dawk queue verify` says more)"

// Open opens the file after the checks that the end of its last run requires. late is not nil if
// its pages are still to be walked.
func Open(opt FileOptions) (db *bolt.DB, late *boltfile.Meta, err error) {
	path := filepath.Join(opt.Dir, FileName)
	meta, exists, err := boltfile.ReadMeta(filepath.Join(opt.Dir, FileName), wasUsed(opt.Dir))
	if err != nil {
		return nil, nil, fmt.Errorf("%w; %s", err, WhatToDo)
	}
	if exists && meta.Alone {
		opt.Log.Warn("one of the two pages that say what is valid in the queue file cannot be read; unless the power failed just now, what was accepted last may be missing",
			"file", path)
	}
	if err := os.Remove(filepath.Join(opt.Dir, newName)); err == nil {
		opt.Log.Info("removed the unfinished file of an interrupted compaction or first start")
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
			return nil, nil, fmt.Errorf("%w; %s", err, WhatToDo)
		}
	}
	if db, err = openGuarded(path, opt.MaxSize); err != nil {
		return nil, nil, err
	}
	switch {
	case suspect:
		db, err = rewriteSuspect(opt, db)
	case worthCompacting(opt, db):
		if !walk { // a copy of damaged pages could lack mail, and nobody would know
			err = boltfile.Check(path, meta, nil)
		}
		if err != nil {
			db.Close()
			return nil, nil, fmt.Errorf("%w; %s", err, WhatToDo)
		}
		db, err = compactAtStart(opt, db)
	case !walk:
		late = &meta
	}
	return db, late, err
}

// create makes the file of a directory's first queue, under another name until bbolt has written
// and synced its first pages.
func create(opt FileOptions) (*bolt.DB, error) {
	tmp := filepath.Join(opt.Dir, newName)
	db, err := openGuarded(tmp, opt.MaxSize)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil, fmt.Errorf("make the first queue file: %w; make room on the file system of %s and start again", err, opt.Dir)
	}
	if err != nil {
		return nil, err
	}
	if err = journal.Own(tmp); err == nil {
		err = opt.Hook("created")
	}
	if err == nil {
		err = os.Rename(tmp, filepath.Join(opt.Dir, FileName))
	}
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("make the queue file: %w", err)
	}
	return db, nil
}

// openGuarded is openBolt for a file that may be damaged where we did not look.
func openGuarded(path string, maxSize int64) (db *bolt.DB, err error) {
	panicked, err := Catch(func() (err error) { db, err = openBolt(path, maxSize); return err })
	if panicked {
		return nil, fmt.Errorf("%w: %w; %s", queue.ErrDamaged, err, WhatToDo)
	}
	return db, err
}

// rewriteSuspect deals with the mark of a failed sync: what the page cache
// shows may not be on the disk, so everything is checked and written anew,
// through pages that never failed.
func rewriteSuspect(opt FileOptions, db *bolt.DB) (*bolt.DB, error) {
	opt.Log.Warn("the disk failed under the queue: checking it and writing it anew before it is used")
	if problems := boltProblems(db, 1); len(problems) > 0 {
		db.Close()
		return nil, fmt.Errorf("%w: %s; %s", queue.ErrDamaged, problems[0], WhatToDo)
	}
	// The content of the journal goes only into the new file: the old one stays unchanged until the
	// new one is in place.
	fresh, err := Replace(opt, db, func(fresh *bolt.DB) error { return catchUpFile(opt, fresh) })
	db.Close()
	if err != nil {
		return nil, fmt.Errorf("the disk failed under the queue, and it cannot be written anew: %w", err)
	}
	if err := os.Remove(filepath.Join(opt.Dir, suspectName)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		fresh.Close()
		return nil, fmt.Errorf("the queue was written anew, but its mark stays: %w", err)
	}
	if err := durable.SyncDir(opt.Dir); err != nil {
		fresh.Close()
		return nil, err
	}
	opt.Log.Info("the queue is sound and was written anew")
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

func worthCompacting(opt FileOptions, db *bolt.DB) bool {
	info, err := os.Stat(filepath.Join(opt.Dir, FileName))
	if err != nil || info.Size() <= opt.compactAbove() {
		return false
	}
	free := int64(db.Stats().FreePageN) * boltfile.PageSize
	return free > info.Size()/2 && DiskFree(opt.Dir) > (info.Size()-free)+opt.MinFree
}

func (o FileOptions) walkBelow() int64 {
	if o.WalkBelow != 0 {
		return o.WalkBelow
	}
	return walkBelow
}

func (o FileOptions) compactAbove() int64 {
	if o.CompactAbove > 0 {
		return o.CompactAbove
	}
	return compactAbove
}

// DiskFree is what of the file system of dir is free, in octets.
func DiskFree(dir string) int64 {
	st := statfs(dir)
	return int64(st.Bavail) * st.Bsize
}

// DiskSize is the size of the file system of dir, in octets.
func DiskSize(dir string) int64 {
	st := statfs(dir)
	return int64(st.Blocks) * st.Bsize
}

func statfs(dir string) (st unix.Statfs_t) {
	if unix.Statfs(dir, &st) != nil {
		return unix.Statfs_t{}
	}
	return st
}

func compactAtStart(opt FileOptions, db *bolt.DB) (*bolt.DB, error) {
	fresh, err := Replace(opt, db, nil)
	if err == nil {
		db.Close()
		opt.Log.Info("the queue file was mostly empty and was compacted")
		return fresh, nil
	}
	if errors.Is(err, ErrReplaced) {
		WriteSuspect(opt.Dir, err) // best effort: it is a failed sync like any other
		return nil, err
	}
	opt.Log.Warn("the queue file could not be compacted; it is used as it is", "error", err)
	return db, nil
}

// keep allocates Keep.
func (o FileOptions) keep(db *bolt.DB) error {
	var high, deliveries int64
	err := db.View(func(tx *bolt.Tx) error {
		if high = tx.Size(); tx.Bucket(BucketSys) != nil {
			deliveries = int64(Uint(tx.Bucket(BucketSys), SysDeliveries))
		}
		return nil
	})
	if err != nil {
		return err
	}
	octets := o.Keep(deliveries, high)
	if o.MaxSize > 0 {
		octets = min(octets, o.MaxSize-high)
	}
	if octets <= 0 {
		return nil
	}
	f, err := os.OpenFile(db.Path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return journal.Allocate(f, high, high+octets)
}

// ErrReplaced marks a failure after the rename: which of the two files a crash
// would leave is not known.
var ErrReplaced = errors.New("the new queue file is in place, but its name could not be synced")

// Replace copies the used part of db into a new file, syncs it and replaces the old one, which the
// caller closes. On an error db is still in place, unless the error wraps ErrReplaced. The function
// and, which may be nil, changes the copy before it is synced.
func Replace(opt FileOptions, db *bolt.DB, and func(*bolt.DB) error) (fresh *bolt.DB, err error) {
	path, tmp := filepath.Join(opt.Dir, FileName), filepath.Join(opt.Dir, newName)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	fresh, err = openGuarded(tmp, opt.MaxSize)
	if err != nil {
		return nil, err
	}
	fresh.NoSync = true // synced once, as a whole
	if err = journal.Own(tmp); err == nil {
		err = opt.Hook("compact")
	}
	if err == nil {
		err = bolt.Compact(fresh, db, compactTx)
	}
	if err == nil && and != nil {
		err = and(fresh)
	}
	if err == nil {
		err = opt.keep(fresh)
	}
	if err == nil {
		err = opt.Hook("compact.copied")
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
	if err = opt.Hook("compact.renamed"); err == nil {
		err = durable.SyncDir(opt.Dir)
	}
	if err != nil {
		return fresh, fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	return fresh, nil
}
