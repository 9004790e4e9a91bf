package datadir

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/journal"
	"dawk/queue/outbox"
)

// schema is the version of the file's layout. A higher one is refused, a lower
// one is taken over: 1 had no journal, 2 had no bucket digest and no causes in
// replies.
const schema = 3

// MakeBuckets makes the buckets of a new file. In an old one all of them must be there: a missing
// one would look like an empty queue.
func MakeBuckets(tx *bolt.Tx) (isNew bool, err error) {
	isNew = true
	err = tx.ForEach(func([]byte, *bolt.Bucket) error { isNew = false; return nil })
	if err != nil {
		return false, queue.Damaged("%v", err)
	}
	if isNew {
		for _, name := range [][]byte{BucketMsg, BucketSched, BucketHist, BucketDigest, bucketCorrupt, BucketSys} {
			if _, err := tx.CreateBucket(name); err != nil {
				return true, err
			}
		}
		return true, nil
	}
	if name := missingBucket(tx); name != nil {
		return false, fmt.Errorf("%w; %s", queue.Damaged("the bucket %q is missing", name), WhatToDo)
	}
	if schemaOf(tx) < 3 {
		_, err = tx.CreateBucketIfNotExists(BucketDigest)
	}
	return false, err
}

// missingBucket is a bucket that a file of its layout must have and lacks.
func missingBucket(tx *bolt.Tx) []byte {
	for _, name := range [][]byte{BucketSys, BucketMsg, BucketSched, BucketHist, bucketCorrupt, BucketDigest} {
		if tx.Bucket(name) == nil && (string(name) != "digest" || schemaOf(tx) >= 3) {
			return name
		}
	}
	return nil
}

// schemaOf is the layout of a file; 0: it does not say.
func schemaOf(tx *bolt.Tx) uint32 {
	if v := tx.Bucket(BucketSys).Get(sysSchema); len(v) == 4 {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// maxKey is the highest key that a queue ID can show, relay.QueueID's 55 bits,
// with room to count on.
const maxKey = 1<<55 - 1<<40

// CheckSys writes the schema of a new file and checks that of an old one.
func CheckSys(sys *bolt.Bucket, isNew bool) error {
	if isNew {
		return sys.Put(sysSchema, binary.BigEndian.AppendUint32(nil, schema))
	}
	v := sys.Get(sysSchema)
	if len(v) != 4 || len(sys.Get(sysDir)) != 4 || Uint(sys, sysHigh) > maxKey {
		return fmt.Errorf("%w; %s", queue.Damaged("its bucket sys cannot be read"), WhatToDo)
	}
	if n := binary.BigEndian.Uint32(v); n > schema {
		return fmt.Errorf("it was %w (layout %d, this one knows %d): use that version, or another data_dir", queue.ErrNewer, n, schema)
	}
	return nil
}

// DirectoryID is the random half of this directory's queue IDs.
func DirectoryID(sys *bolt.Bucket) (uint32, error) {
	if v := sys.Get(sysDir); len(v) == 4 {
		return binary.BigEndian.Uint32(v), nil
	}
	var b [4]byte
	rand.Read(b[:])
	id := binary.BigEndian.Uint32(b[:]) & (1<<20 - 1)
	return id, sys.Put(sysDir, binary.BigEndian.AppendUint32(nil, id))
}

// CatchUp brings the journal's records into a transaction of the queue.db
// beside it, and gives the totals with them. j keeps the file open. Touched,
// which may be nil, is told whose rows they changed. Events stay in the
// transaction until TakeEvents.
func CatchUp(j *journal.Journal, t Tables, flags int, touched func([]uint64)) (journal.Totals, error) {
	mark, ok := journal.DecodeMark(t.Sys.Get(sysJournal))
	if !ok {
		return journal.Totals{}, fmt.Errorf("%w; %s", queue.Damaged("its bucket sys cannot be read"), WhatToDo)
	}
	redo := t.Redo(touched, true)
	now, any, err := j.CatchUp(mark, flags, func(changes []journal.Change) error {
		return errors.Join(t.keepEvents(changes), redo(changes))
	})
	if err == nil && !any {
		now = journal.Totals{High: Uint(t.Sys, sysHigh), Messages: Uint(t.Sys, sysMessages),
			Deliveries: Uint(t.Sys, SysDeliveries), Quarantined: Uint(t.Sys, sysCorrupt)}
	}
	return now, err
}

// bucketOutbox has events of a journal that is history, until the next start puts
// them into the files of the outbox.
var bucketOutbox = []byte("outbox")

func (t Tables) keepEvents(changes []journal.Change) error {
	for _, c := range changes {
		if c.Table != TableOutbox {
			continue
		}
		b, err := t.Tx.CreateBucketIfNotExists(bucketOutbox)
		if err == nil {
			err = b.Put(c.Key, c.Value)
		}
		if err != nil {
			return fmt.Errorf("replay the queue's journal: %w", err)
		}
	}
	return nil
}

// TakeEvents takes the events of the journal out of the transaction, and says how
// far the files of the outbox have them.
func (t Tables) TakeEvents() (high uint64, rows []outbox.Row, err error) {
	high = Uint(t.Sys, SysOutbox)
	b := t.Tx.Bucket(bucketOutbox)
	if b == nil {
		return high, nil, nil
	}
	err = b.ForEach(func(k, v []byte) error {
		rows = append(rows, outbox.Row{Number: KeyOf(k), Value: append([]byte(nil), v...)})
		return nil
	})
	return high, rows, errors.Join(err, t.Tx.DeleteBucket(bucketOutbox))
}

// Redo makes the changes of one record of the journal, with or without new
// messages, and without events. Touched, which may be nil, is told whose rows they are.
func (t Tables) Redo(touched func([]uint64), bodies bool) func([]journal.Change) error {
	return func(changes []journal.Change) (err error) {
		var ids []uint64
		for _, c := range changes {
			if c.Table == TableOutbox {
				continue
			}
			b := t.byNumber(c.Table)
			switch {
			case b == nil:
				return journal.Unreadable()
			case c.Removed:
				err = b.Delete(c.Key)
			case bodies || b != t.Msg:
				err = b.Put(c.Key, c.Value)
			}
			if err != nil {
				return fmt.Errorf("replay the queue's journal: %w", err)
			}
			ids = t.Owner(ids, b, c.Key)
		}
		if touched != nil {
			touched(ids)
		}
		return nil
	}
}

// catchUpFile adds the journal to a copy of queue.db, which is then the whole queue.
func catchUpFile(opt FileOptions, db *bolt.DB) error {
	return db.Update(func(tx *bolt.Tx) error {
		if tx.Bucket(BucketSys) == nil {
			return nil // a first start that was interrupted
		}
		if _, err := MakeBuckets(tx); err != nil {
			return err
		}
		t, j := OpenTables(tx), journal.New(opt.Dir, opt.Hook)
		defer j.Close()
		if err := CheckSys(t.Sys, false); err != nil {
			return err
		}
		now, err := CatchUp(j, t, os.O_RDONLY, nil)
		if err == nil {
			j.WarnTorn(opt.Log)
			t.Book(now, j.Next(j.Mark().Run, false))
		}
		return err
	})
}
