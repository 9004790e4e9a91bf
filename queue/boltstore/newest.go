package boltstore

import (
	"errors"
	"fmt"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/relay"
)

// bbolt shows readers the last checkpoint. A reader that needs later changes asks the writer, which
// has them in its open transaction, or has a checkpoint made first.

// view runs f in a read transaction, which shows the last checkpoint. It must be
// short, and nothing that f was given may be kept. A damaged page is an error
// and not the end of the process.
func (q *Store) view(f func(*bolt.Tx) error) (err error) {
	return q.viewWith(func() (*bolt.Tx, error) { return q.db.Begin(false) }, f)
}

func (q *Store) viewWith(begin func() (*bolt.Tx, error), f func(*bolt.Tx) error) (err error) {
	q.dbMu.RLock()
	defer q.dbMu.RUnlock()
	if q.db == nil {
		return relay.ErrClosed
	}
	tx, err := begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = datadir.Catch(func() error { return f(tx) })
	return err
}

// touched are the messages that queue.db does not show as they are.
type touched struct {
	mu  sync.RWMutex
	ids map[uint64]struct{}
}

func (s *touched) add(ids []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ids == nil {
		s.ids = make(map[uint64]struct{})
	}
	for _, id := range ids {
		s.ids[id] = struct{}{}
	}
}

func (s *touched) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.ids)
}

func (s *touched) has(id uint64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.ids[id]
	return ok
}

// read runs f in a transaction that shows one message as it is: in the file,
// or, if it changed since the last checkpoint, in the writer's transaction.
func (q *Store) read(id uint64, f func(*bolt.Tx) error) error {
	if !q.w.touched.has(id) {
		return q.view(f)
	}
	return q.viewOpen(f)
}

// viewOpen runs f, which must be short, between two groups.
func (q *Store) viewOpen(f func(*bolt.Tx) error) (err error) {
	ended := q.w.do(func() {
		if q.w.dead {
			err = fmt.Errorf("%w: %w", relay.ErrClosed, errDistrusted)
		} else if err = q.w.guarded(q.w.begin); err != nil { // what is durable cannot be read back
			q.w.fail(nil, err)
			err = fmt.Errorf("%w: %w", relay.ErrClosed, err)
		} else {
			_, err = datadir.Catch(func() error { return f(q.w.open.Tx) })
		}
	})
	return errors.Join(ended, err)
}

// checkpointed makes sure that queue.db shows all that was done before.
func (q *Store) checkpointed() (err error) {
	ended := q.w.do(func() {
		switch w := q.w; {
		case w.dead:
			err = fmt.Errorf("%w: %w", relay.ErrClosed, errDistrusted)
		case w.j.Records() > 0 && time.Now().Before(w.stuckUntil):
			err = fmt.Errorf("%w: what is in the journal does not fit queue.db", relay.ErrNoSpace)
		default:
			err = w.tidy(true)
		}
	})
	return errors.Join(ended, err)
}

// upToDate returns the function that runs read transactions which show all that was done before. On
// a full disk they run in the writer.
func (q *Store) upToDate() (view func(func(*bolt.Tx) error) error, err error) {
	err = q.checkpointed()
	if errors.Is(err, relay.ErrNoSpace) {
		return q.viewOpen, nil
	}
	return q.view, err
}

// viewAlone runs f on a snapshot that needs no journal: a copy of it is a queue.
func (q *Store) viewAlone(f func(*bolt.Tx) error) error {
	return q.viewWith(func() (tx *bolt.Tx, err error) {
		ended := q.w.do(func() {
			if err = q.w.tidy(false); err == nil {
				tx, err = q.db.Begin(false)
			}
		})
		return tx, errors.Join(ended, err)
	}, f)
}
