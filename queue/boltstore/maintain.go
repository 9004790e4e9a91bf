package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
)

// walkLate checks every page of the state that tx holds, while the queue is already in use.
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
	u := q.use()
	keep := space.ToSettle(u.Deliveries, u.Telling)
	if have, need := datadir.DiskFree(q.opt.Dir), u.FileSize-u.Free+keep; have < need {
		return fmt.Errorf("compaction needs %s of free disk beside the queue, there are %s", queue.SizeText(need), queue.SizeText(have))
	}
	old := q.db
	opt := q.opt.file()
	opt.Keep = func(int64, int64) int64 { return keep }
	fresh, err := datadir.Replace(opt, old, nil)
	if fresh == nil {
		return err
	}
	// Nobody may be inside the old file when it is closed.
	q.dbMu.Lock()
	q.db = fresh
	q.dbMu.Unlock()
	q.w.file.Forget()
	if errors.Is(err, datadir.ErrReplaced) {
		q.w.dead = true
		q.distrust(err)
	}
	return errors.Join(err, old.Close())
}

// Verify checks every invariant of the store while it runs, on a snapshot, and
// reads all content once. It changes nothing. The error says that it could not
// be done; what is wrong with the queue is in the Report.
func (q *Store) Verify(ctx context.Context, progress queue.Progress) (queue.Report, error) {
	if !q.upkeep.TryLock() {
		return queue.Report{}, errBusy
	}
	defer q.upkeep.Unlock()
	ctx, cancel := q.untilClosed(ctx)
	defer cancel()
	// Remains of a crash are no problem while the start is about to remove them.
	select {
	case <-q.swept:
	case <-ctx.Done():
		return queue.Report{}, ctx.Err()
	}
	// Files of messages that end meanwhile must stay as long as the snapshot.
	defer q.pinSpool()()
	if err := q.checkpointed(); err != nil {
		return queue.Report{}, err
	}
	v := &datadir.Verifier{Ctx: ctx, Dir: q.opt.Dir, First: q.first, Leaving: q.leaving, Progress: progress}
	err := q.view(v.Run)
	return v.Report, err
}

// untilClosed is ctx, ended by Close as well: Close waits for readers.
func (q *Store) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-q.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// VerifyDir checks the queue of a directory that no running dawk uses, including every page of the
// file. It changes nothing.
func VerifyDir(ctx context.Context, dir string, progress queue.Progress) (queue.Report, error) {
	return datadir.Verify(ctx, dir, progress)
}
