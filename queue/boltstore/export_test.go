package boltstore

import (
	"errors"

	"dawk/queue/boltstore/boltfile"
	"dawk/queue/recent"
)

// For tests: wait for the sweep and the removals under way, and make the
// checkpoint and look at the disk now instead of within a second.

func (q *Store) WaitTasks()   { q.tasks.Wait() }
func (q *Store) LookAtSpace() { q.Checkpoint(); q.space.Look() }
func (q *Store) DropCache()   { q.w.do(func() { q.cache = recent.New(max(q.opt.Cache, 0)) }) }

// Written is what was written to the journal, and by bbolt: its pages, and one
// meta page a commit.
func (q *Store) Written() int64 {
	st := q.db.Stats().TxStats
	return q.w.j.Written() + st.GetPageAlloc() + boltfile.PageSize*q.counts.checkpoints.Load()
}

// Checkpoint commits what is in the journal.
func (q *Store) Checkpoint() (err error) {
	return errors.Join(q.w.do(func() { err = q.w.tidy(true) }), err)
}

// Handed is how many operations wait for the writer.
func (q *Store) Handed() int { return len(q.w.in) }

// JournalWritten is what was written to the journal.
func (q *Store) JournalWritten() int64 { return q.w.j.Written() }
