package boltstore

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/journal"
	"dawk/relay/durable"
)

// load makes the buckets of a new file, or reads the state of an existing one and its journal, and
// begins a new generation.
func (q *Store) load() error {
	err := q.w.guarded(q.loadFile)
	if q.w.panicked {
		q.db = nil // its locks may never be released
		err = fmt.Errorf("%w: %w; %s", queue.ErrDamaged, err, datadir.WhatToDo)
	}
	return err
}

func (q *Store) loadFile() error {
	w := q.w
	tx, err := q.db.Begin(true)
	if err != nil {
		return err
	}
	w.open.Tx = tx
	isNew, err := datadir.MakeBuckets(tx)
	if err != nil {
		return err
	}
	w.open = datadir.OpenTables(tx)
	if err := datadir.CheckSys(w.open.Sys, isNew); err != nil {
		return err
	}
	if q.dirID, err = datadir.DirectoryID(w.open.Sys); err != nil {
		return err
	}
	// Before the replay: in a table that is emptied in an open transaction,
	// bbolt's Last never returns. What the journal brings is below its own high.
	var last uint64
	if k, _ := w.open.Msg.Cursor().Last(); len(k) == 8 {
		last = binary.BigEndian.Uint64(k)
	}
	now, err := datadir.CatchUp(w.j, w.open, os.O_RDWR, w.touched.add)
	if err != nil {
		return err
	}
	if w.j.Records() > 0 {
		q.log.Info("the journal was replayed", "groups", w.j.Records(), "octets", w.j.Length())
	}
	w.j.WarnTorn(q.log)
	high, rows, err := w.open.TakeEvents()
	if err == nil {
		err = q.outbox.Load(q.dirID, high, rows)
	}
	if err != nil {
		return err
	}
	if err := q.hook("replayed"); err != nil {
		return err
	}
	if w.open.Sys.Get(datadir.SysBorn) == nil {
		now.High = q.ids.Next()
		w.open.SetSys(datadir.SysBorn, binary.BigEndian.AppendUint64(nil, now.High))
	}
	now.High = max(now.High, last)
	q.counts.messages.Store(int64(now.Messages))
	q.counts.deliveries.Store(int64(now.Deliveries))
	q.counts.quarantined.Store(int64(now.Quarantined))
	u := w.file.Use(tx)
	q.counts.telling.Store(space.Guess(int64(now.Deliveries), u.FileSize-u.Free))
	q.ids.Set(now.High)
	q.first = q.ids.Next()
	now.High = q.first
	return w.firstCommit(now, isNew)
}

// firstCommit commits to queue.db what a start found. If the disk is too full for that, the records
// stay in the journal and the start continues.
func (w *writer) firstCommit(now journal.Totals, isNew bool) error {
	var b [8]byte
	rand.Read(b[:])
	w.runID = binary.BigEndian.Uint64(b[:])
	err := durable.SyncDir(w.q.opt.Dir)
	if err == nil && w.q.opt.Journal >= 0 {
		if err = w.j.Prepare(w.q.opt.Journal + space.RecordLimit(w.q.opt.Journal)); err != nil && w.without(err) && !isNew {
			w.q.log.Warn("there is no room for the journal: until then everything goes into queue.db at once, which is slower", "error", err)
			err = nil
		}
	}
	if err == nil {
		err = w.commitFile(now, true)
	}
	if err != nil && space.RolledBack(err) && !isNew {
		w.q.space.SetFull(err)
		return nil
	}
	return err
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
			t := datadir.OpenTables(tx)
			t.Book((&txn{q: q}).totals(), w.j.Mark())
			return t.Sys.Put(datadir.SysClean, binary.BigEndian.AppendUint64(nil, uint64(time.Now().UnixMicro())))
		})
	})
}
