package boltstore

import (
	"fmt"
	"time"

	"dawk/queue/boltstore/space"
	"dawk/relay"
)

const (
	fullRetry  = time.Second      // before settlements are tried again on a full disk
	fullLazier = 30 * time.Second // at most, where tries take long
	fullShrink = 16               // by which groups shrink that do not fit
)

// settleFull commits settlements on a full disk, in smaller and smaller groups, since bbolt needs free pages for a
// deletion too. What does not fit waits; nothing is lost. Tried says that all
// of ops have just failed together, and spent how long a failed try took.
//
// bbolt walks through its whole file after each commit that fails, which takes seconds in a deep
// queue. So the groups shrink fast, the next round begins with one settlement, and the wait before
// it grows with the time of the failed tries.
func (w *writer) settleFull(ops []*op, tried bool, spent time.Duration) {
	size := len(ops)
	for len(ops) > 0 {
		if tried {
			switch {
			case size > 1:
				size = max(1, size/fullShrink)
			default:
				w.putBack(ops)
				w.fits = 1
				w.retryAt = time.Now().Add(min(max(fullRetry, 9*spent), fullLazier))
				return
			}
		}
		tried = true
		n := min(size, len(ops))
		began := time.Now()
		err := w.try(ops[:n], none)
		switch {
		case err == nil:
			w.fits = n
			ops, tried = ops[n:], false
		case !space.RolledBack(err):
			w.fail(ops, err)
			return
		default:
			spent += time.Since(began)
		}
	}
}

// fitted lets the next group be larger after one of n settlements was
// committed.
func (w *writer) fitted(n int) {
	if w.fits == 0 || n == 0 {
		return
	}
	if w.fits *= 2; w.fits > lazyAlone {
		w.fits = 0
	}
}

// Room is nil, or says why new mail is refused; the error wraps
// relay.ErrNoSpace, as of the last second, with relay.ErrScant too where notices
// should become rows of a list; or relay.ErrClosed when the disk is not trusted any
// more.
func (q *Store) Room() error {
	if why := q.failed.Load(); why != nil {
		return fmt.Errorf("%w: %w", relay.ErrClosed, *why)
	}
	full := q.space.State().Refusal
	if full != nil && q.w.file.Scant() {
		return fmt.Errorf("%w: %w", relay.ErrScant, full)
	}
	return full
}

// spoolError is a failure to make or write a spool file: nothing depends on it
// yet, so only this draft is lost.
func (q *Store) spoolError(doing string, err error) error {
	if space.NoRoom(err) {
		q.space.SetNoFiles(err)
		return fmt.Errorf("%w: %s the spool file: %w", relay.ErrNoSpace, doing, err)
	}
	return fmt.Errorf("%s the spool file: %w", doing, err)
}

// syncError is a failure to sync a spool file. Without room the draft is
// thrown away; anything else means that the disk cannot be trusted.
func (q *Store) syncError(err error) error {
	if space.NoRoom(err) {
		return q.spoolError("sync", err)
	}
	q.distrust(err)
	return fmt.Errorf("%w: %w", relay.ErrClosed, err)
}
