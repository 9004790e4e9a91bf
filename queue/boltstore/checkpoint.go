package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/journal"
	"dawk/relay"
	"dawk/relay/durable"
)

// The write transaction stays open until one of these, and is committed then:
// a checkpoint. What was accepted and delivered meanwhile never reaches a page.
const (
	journalLimit    = 16 << 20               // octets of records; less on a small disk
	checkpointAfter = 250 * time.Millisecond // since the first record
	checkpointNodes = 2048                   // pages that bbolt took apart in memory
	checkpointRows  = 1024                   // new messages that are still there: bbolt keeps them in one node, and moves it at each removal
)

// begin sees to it that there is an open transaction with all that is durable.
func (w *writer) begin() error {
	if w.open.Tx != nil {
		return nil
	}
	tx, err := w.q.db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	t := datadir.OpenTables(tx)
	w.file.Begin()
	if w.j.Records() > 0 {
		redo := t.Redo(nil, true)
		err := w.j.Again(func(changes []journal.Change) error {
			for _, c := range changes {
				w.file.Changed(c.Table == t.Number(t.Msg), c.Key, len(c.Value), c.Removed)
			}
			return redo(changes)
		})
		if err != nil {
			tx.Rollback()
			return err
		}
	}
	w.open, w.rows = t, 0 // only now: half of it must never be committed
	return nil
}

// rollback drops the open transaction, so that what is not durable is gone; begin restores what is
// durable.
func (w *writer) rollback() {
	w.q.outbox.Drop()
	if w.open.Tx != nil {
		w.open.Tx.Rollback()
		w.open = datadir.Tables{}
	}
}

// newTxn is a new group in the open transaction.
func (w *writer) newTxn() *txn {
	t := &txn{q: w.q, Tables: w.open}
	if w.j.Mark().Armed && w.j.End() < w.q.opt.Journal+journalLimit { // beyond it only where a checkpoint finds no room
		t.rec = &w.rec
		t.rec.Most = int(space.RecordLimit(w.q.opt.Journal))
		t.rec.Reset()
	}
	return t
}

// errScant stops acceptance when the room left in the file is needed for settling.
var errScant = errors.New("all the room that is left is needed for settling")

// keep makes a group durable: by a record in the journal, or, where that would
// be too long or finds no room, by a checkpoint.
func (w *writer) keep(t *txn) error {
	kind := space.Settles
	switch {
	case len(w.ops) > 0:
		kind = space.Mail
	case t.grows > 0:
		kind = space.Tells
	}
	c := &w.q.counts
	atOnce, err := w.file.Assure(w.open.Tx, kind, c.deliveries.Load()+t.deliveries, c.telling.Load()+t.telling, space.GrowBy(w.q.space.State().Total))
	if err != nil {
		return err
	}
	if w.file.Scant() && kind != space.Settles && w.q.space.State().Refusal == nil {
		w.q.space.SetFull(errScant)
	}
	if atOnce {
		t.rec = nil
	}
	if t.rec != nil {
		err := w.j.Add(t.rec, t.totals())
		if err == nil {
			w.rows = max(0, w.rows+t.messages)
			w.file.Promised(w.open.Tx)
			w.touched.add(t.touched)
			w.q.outbox.Publish()
		}
		if err == nil || !space.RolledBack(err) {
			return err
		}
	}
	return w.commitFile(t.totals(), true)
}

// commitFile ends the open transaction. When it succeeds all records are
// history; not armed: none follow until the next commit, queue.db alone is the
// queue.
func (w *writer) commitFile(now journal.Totals, armed bool) error {
	if armed && !w.j.Prepared() && w.q.opt.Journal >= 0 && w.q.space.State().Limit > 0 && w.q.space.State().Refusal == nil {
		// The disk was full at the start, and now there is room.
		if err := w.j.Prepare(w.q.opt.Journal + space.RecordLimit(w.q.opt.Journal)); err != nil && !w.without(err) {
			return err
		}
	}
	next := w.j.Next(w.runID, armed)
	w.open.Book(now, next)
	if high := w.q.outbox.Flush(!w.q.space.State().Bare); high > 0 {
		w.open.SetSys(datadir.SysOutbox, binary.BigEndian.AppendUint64(nil, high))
	}
	tx := w.open.Tx
	w.open = datadir.Tables{} // whatever comes of it
	if err := tx.Commit(); err != nil {
		w.q.outbox.Drop()
		w.file.Forget() // it may have become larger without need
		return fmt.Errorf("commit: %w", err)
	}
	w.j.Restart(next)
	w.q.outbox.Committed()
	w.file.Begin()
	w.touched.clear()
	w.stuckUntil = time.Time{}
	w.q.counts.checkpoints.Add(1)
	return nil
}

// without says whether the journal, which could not be made, can be done without: there
// is no room for it, and what failed is not the sync of records that it has.
func (w *writer) without(err error) bool {
	return space.NoRoom(err) && (w.j.Records() == 0 || !errors.Is(err, durable.ErrUnsynced))
}

// checkpoint commits what is in the open transaction, if there is anything.
// armed false: the file shall be the whole queue, also when nothing is to do.
func (w *writer) checkpoint(armed bool) error {
	if w.dead || w.q.failed.Load() != nil { // the journal has it, and queue.db stays as it is
		return errDistrusted
	}
	if w.j.Records() == 0 && (armed || !w.j.Mark().Armed) {
		return nil
	}
	return w.guarded(func() error {
		if err := w.begin(); err != nil {
			return err
		}
		if err := w.q.hook("checkpoint"); err != nil {
			return err
		}
		if err := w.commitFile((&txn{q: w.q}).totals(), armed); err != nil {
			return err
		}
		return w.q.hook("checkpointed")
	})
}

// prune makes room on a full disk: bbolt can use the pages of what was removed
// only when that is committed. So everything is, but for new messages: at once, or,
// where that is too much, in as small parts as fit. The generation stays: the
// records make whole again what queue.db is then.
func (w *writer) prune() (err error) {
	w.rollback()
	var all []journal.Change
	if err := w.j.Again(func(changes []journal.Change) error {
		all = append(all, changes...)
		return nil
	}); err != nil {
		return err
	}
	for n := len(all); len(all) > 0; {
		part := all[:min(n, len(all))]
		err := w.guarded(func() error {
			return w.q.db.Update(func(tx *bolt.Tx) error { return datadir.OpenTables(tx).Redo(nil, false)(part) })
		})
		switch {
		case err == nil:
			all = all[len(part):]
		case n == 1 || !space.RolledBack(err):
			return err
		default:
			w.file.Forget()
			n = max(1, n/fullShrink)
		}
	}
	return nil
}

// tidy makes a checkpoint. On a full disk everything stays in the journal, where it is safe; new
// mail is refused, and the checkpoint is tried again later.
func (w *writer) tidy(armed bool) error {
	began, pruned := time.Now(), false
	for {
		err := w.checkpoint(armed)
		if err != nil && space.RolledBack(err) {
			if !pruned && w.j.Records() > 0 {
				if pruned, err = true, w.prune(); err == nil {
					continue
				}
			}
		}
		if err == nil || w.dead {
			return err
		}
		if !space.RolledBack(err) {
			w.fail(nil, err)
			return err
		}
		w.q.space.SetFull(err)
		if w.j.Records() > 0 { // else there is nothing to try again, and nobody would
			w.stuckUntil = time.Now().Add(min(max(fullRetry, 9*time.Since(began)), fullLazier))
		}
		return fmt.Errorf("%w: %w", relay.ErrNoSpace, err)
	}
}

// end makes the last checkpoint, after which queue.db alone is the queue, and removes the journal.
// On a full disk both stay as they are: then only the next start is slower.
func (w *writer) end() error {
	if w.dead || w.q.failed.Load() != nil {
		w.rollback()
		return nil
	}
	err := w.tidy(false)
	if err == nil {
		w.rollback()
		err = w.markClean()
	}
	switch {
	case err == nil:
		w.j.Remove() // what stays has no effect
	case space.RolledBack(err):
		w.rollback()
		err = nil
	case !w.dead:
		datadir.WriteSuspect(w.q.opt.Dir, err)
	}
	return err
}

// grown makes a checkpoint where the open transaction or the journal is big.
func (w *writer) grown() {
	if w.j.Records() == 0 || !w.stuckUntil.IsZero() || w.dead {
		return
	}
	if w.j.End() >= w.q.opt.Journal || w.file.Many(2*w.q.opt.Journal) || w.rows >= checkpointRows ||
		w.open.Tx != nil && stats(w.open.Tx).GetNodeCount() >= checkpointNodes {
		w.tidy(true)
	}
}

func stats(tx *bolt.Tx) *bolt.TxStats { st := tx.Stats(); return &st }
