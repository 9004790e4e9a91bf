package boltstore

import (
	"context"
	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"
)

// VerifyDir checks the queue of a directory that no dawk uses, down to every
// page of the file. It changes nothing.
func VerifyDir(ctx context.Context, dir string) (report queue.Report, err error) {
	path := filepath.Join(dir, fileName)
	if _, err := os.Stat(path); err != nil && wasUsed(dir) == "" {
		return report, fmt.Errorf("there is no queue in %s: %w", dir, err)
	}
	lock, err := takeLock(dir)
	if err != nil {
		return report, err
	}
	defer lock.Close()
	meta, ok, err := boltfile.ReadMeta(filepath.Join(dir, fileName), wasUsed(dir))
	if err == nil && ok {
		boltfile.Prewarm(path)
		err = boltfile.Check(path, meta, ctx.Done())
	}
	if errors.Is(err, queue.ErrDamaged) {
		report.Problem("%v", err)
		return report, nil
	}
	if err != nil || !ok {
		return report, err
	}
	if _, err := os.Stat(filepath.Join(dir, suspectName)); err == nil {
		report.Problem("the disk failed under it: the next start will write it anew")
	}
	db, err := openBolt(path, 0)
	if err != nil {
		return report, err
	}
	defer db.Close()
	report.Problems = append(report.Problems, boltProblems(db, queue.MaxProblems)...)
	v := &verifier{ctx: ctx, dir: dir, report: report, first: ^uint64(0)}
	_, err = caught(func() error {
		// What the journal has is verified with the rest, in a transaction that is
		// never committed.
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if missingBucket(tx) == nil {
			if err := v.catchUp(tx); err != nil {
				return err
			}
		}
		return v.run(tx)
	})
	return v.report, err
}

// catchUp does what a start does with the journal.
func (v *verifier) catchUp(tx *bolt.Tx) error {
	if schemaOf(tx) > schema {
		return nil // run says so
	}
	if _, err := makeBuckets(tx); err != nil {
		return err
	}
	t, j := openTables(tx), journal.New(v.dir, nil)
	defer j.Close()
	now, err := catchUp(j, t, os.O_RDONLY, nil)
	if errors.Is(err, queue.ErrDamaged) {
		v.report.Problem("%v", err)
		return nil
	}
	if err == nil {
		t.book(now, j.Mark())
	}
	return err
}
