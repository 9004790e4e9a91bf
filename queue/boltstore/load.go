package boltstore

import (
	"crypto/rand"
	"dawk/queue"
	"dawk/queue/journal"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
)

// load makes the buckets of a new file, or reads what the old one and its
// journal remember, and begins a generation of our own.
func (q *Store) load() error {
	err := q.w.guarded(q.loadFile)
	if q.w.panicked {
		q.db = nil // its locks may be held for ever
		err = fmt.Errorf("%w: %w; %s", queue.ErrDamaged, err, whatToDo)
	}
	return err
}

func (q *Store) loadFile() error {
	w := q.w
	tx, err := q.db.Begin(true)
	if err != nil {
		return err
	}
	w.open.tx = tx
	isNew, err := makeBuckets(tx)
	if err != nil {
		return err
	}
	w.open = openTables(tx)
	if err := checkSys(w.open.sys, isNew); err != nil {
		return err
	}
	if q.dirID, err = directoryID(w.open.sys); err != nil {
		return err
	}
	// Before the replay: in a table that is emptied in an open transaction,
	// bbolt's Last never returns. What the journal brings is below its own high.
	var last uint64
	if k, _ := w.open.msg.Cursor().Last(); len(k) == 8 {
		last = binary.BigEndian.Uint64(k)
	}
	now, err := catchUp(w.j, w.open, os.O_RDWR, w.touched.add)
	if err != nil {
		return err
	}
	if w.j.Records() > 0 {
		q.log.Info("the journal was replayed", "groups", w.j.Records(), "octets", w.j.Length())
	}
	w.j.WarnTorn(q.log)
	if err := q.hook("replayed"); err != nil {
		return err
	}
	if w.open.sys.Get(sysBorn) == nil {
		now.High = q.ids.Next()
		w.open.setSys(sysBorn, binary.BigEndian.AppendUint64(nil, now.High))
	}
	now.High = max(now.High, last)
	q.counts.messages.Store(int64(now.Messages))
	q.counts.deliveries.Store(int64(now.Deliveries))
	q.counts.quarantined.Store(int64(now.Quarantined))
	q.ids.Set(now.High)
	q.first = q.ids.Next()
	now.High = q.first
	return w.firstCommit(now, isNew)
}

// firstCommit makes what a start found the state of queue.db. Where the disk is
// too full for that, records stay in the journal and it goes on all the same.
func (w *writer) firstCommit(now journal.Totals, isNew bool) error {
	var b [8]byte
	rand.Read(b[:])
	w.runID = binary.BigEndian.Uint64(b[:])
	err := journal.SyncDir(w.q.opt.Dir)
	if err == nil && w.q.opt.Journal >= 0 {
		if err = w.j.Prepare(); err != nil && isFullErrno(err) && !isNew {
			w.q.log.Warn("there is no room for the journal: until the next start all goes into queue.db at once, which is slower", "error", err)
			err = nil
		}
	}
	if err == nil {
		err = w.commitFile(now, true)
	}
	if err != nil && isFull(err) && !isNew {
		w.q.space.setFull(err)
		return nil
	}
	return err
}

// catchUp brings the journal's records into a transaction of the queue.db
// beside it, and gives the totals with them. j keeps the file open. Touched,
// which may be nil, is told whose rows they changed.
func catchUp(j *journal.Journal, t tables, flags int, touched func([]uint64)) (journal.Totals, error) {
	mark, ok := journal.DecodeMark(t.sys.Get(sysJournal))
	if !ok {
		return journal.Totals{}, fmt.Errorf("%w; %s", queue.Damaged("its bucket sys cannot be read"), whatToDo)
	}
	now, any, err := j.CatchUp(mark, flags, t.redo(touched, true))
	if err == nil && !any {
		now = journal.Totals{High: getUint(t.sys, sysHigh), Messages: getUint(t.sys, sysMessages),
			Deliveries: getUint(t.sys, sysDeliveries), Quarantined: getUint(t.sys, sysCorrupt)}
	}
	return now, err
}

// redo makes the changes of one record of the journal, with or without new
// messages. Touched, which may be nil, is told whose rows they are.
func (t tables) redo(touched func([]uint64), bodies bool) func([]journal.Change) error {
	return func(changes []journal.Change) (err error) {
		var ids []uint64
		for _, c := range changes {
			b := t.byNumber(c.Table)
			switch {
			case b == nil:
				return journal.Unreadable()
			case c.Removed:
				err = b.Delete(c.Key)
			case bodies || b != t.msg:
				err = b.Put(c.Key, c.Value)
			}
			if err != nil {
				return fmt.Errorf("replay the queue's journal: %w", err)
			}
			ids = t.owner(ids, b, c.Key)
		}
		if touched != nil {
			touched(ids)
		}
		return nil
	}
}

// catchUpFile makes a copy of queue.db the whole queue.
func catchUpFile(opt *Options, db *bolt.DB, log *slog.Logger) error {
	return db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(bucketSys) == nil {
			return nil // a first start that was interrupted
		}
		if _, err := makeBuckets(tx); err != nil {
			return err
		}
		t, j := openTables(tx), journal.New(opt.Dir, opt.hook)
		defer j.Close()
		if err := checkSys(t.sys, false); err != nil {
			return err
		}
		now, err := catchUp(j, t, os.O_RDONLY, nil)
		if err == nil {
			j.WarnTorn(log)
			t.book(now, j.Next(j.Mark().Run, false))
		}
		return err
	})
}

// makeBuckets makes the buckets of a new file. In an old one all of them must
// be there: one that is missing would look like a queue that is empty.
func makeBuckets(tx *bolt.Tx) (isNew bool, err error) {
	isNew = true
	err = tx.ForEach(func([]byte, *bolt.Bucket) error { isNew = false; return nil })
	if err != nil {
		return false, queue.Damaged("%v", err)
	}
	if isNew {
		for _, name := range [][]byte{bucketMsg, bucketSched, bucketHist, bucketDigest, bucketCorrupt, bucketSys} {
			if _, err := tx.CreateBucket(name); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	if name := missingBucket(tx); name != nil {
		return false, fmt.Errorf("%w; %s", queue.Damaged("the bucket %q is missing", name), whatToDo)
	}
	if schemaOf(tx) < 3 {
		_, err = tx.CreateBucketIfNotExists(bucketDigest)
	}
	return false, err
}

// missingBucket is a bucket that a file of its layout must have and has not.
func missingBucket(tx *bolt.Tx) []byte {
	for _, name := range [][]byte{bucketSys, bucketMsg, bucketSched, bucketHist, bucketCorrupt, bucketDigest} {
		if tx.Bucket(name) == nil && (string(name) != "digest" || schemaOf(tx) >= 3) {
			return name
		}
	}
	return nil
}

// schemaOf is the layout of a file; 0: it does not say.
func schemaOf(tx *bolt.Tx) uint32 {
	if v := tx.Bucket(bucketSys).Get(sysSchema); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
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
		return fmt.Errorf("%w; %s", queue.Damaged("its bucket sys cannot be read"), whatToDo)
	}
	if n := binary.BigEndian.Uint32(v); n > schema {
		return fmt.Errorf("it was %w (layout %d, this one knows %d): use that version, or another data_dir", queue.ErrNewer, n, schema)
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
func (w *writer) markClean() error {
	q := w.q
	q.db.NoFreelistSync = false
	defer func() { q.db.NoFreelistSync = true }()
	if err := q.hook("close"); err != nil {
		return err
	}
	return w.guarded(func() error {
		return q.db.Update(func(tx *bolt.Tx) error {
			t := openTables(tx)
			t.book((&txn{q: q}).totals(), w.j.Mark())
			return t.sys.Put(sysClean, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMicro())))
		})
	})
}
