package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"dawk/queue/boltstore/datadir"
	"dawk/relay/durable"
)

func (q *Store) spoolPath(id uint64) string { return datadir.SpoolFile(q.opt.Dir, id) }

// createSpool makes the file of a new message. There is no temporary name and
// no rename: the record in msg is the publication.
func (q *Store) createSpool(id uint64) (f *os.File, err error) {
	dir := datadir.SpoolDir(id)
	for range 2 { // somebody may have removed the directory
		if err = q.spoolDirs.ready(q, dir); err != nil {
			return nil, err
		}
		f, err = os.OpenFile(q.spoolPath(id), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		q.spoolDirs.forget(dir)
	}
	return f, err
}

// spoolDirs are the directories of the spool whose own names this run has made durable. It is not
// enough that a directory exists: another session may just have made it, or an earlier run that was
// killed before the sync.
type spoolDirs struct {
	mu    sync.Mutex
	named map[string]bool
}

// ready makes a directory, if it is missing, and its name durable.
func (s *spoolDirs) ready(q *Store, dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.named[dir] {
		return nil
	}
	root := filepath.Join(q.opt.Dir, datadir.SpoolName)
	if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := q.hook("directory"); err != nil {
		return fmt.Errorf("%w: %w", durable.ErrUnsynced, err)
	}
	if err := durable.SyncDir(root); err != nil {
		return err
	}
	s.named[dir] = true
	return nil
}

func (s *spoolDirs) forget(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.named, dir)
}

// errNames says that a directory of the spool could not be opened, for want of
// a descriptor or because somebody removed it. Nothing was written or synced, so
// that only the mail of the group is refused.
var errNames = errors.New("the names of spool files cannot be made durable")

// syncNames syncs each spool directory with a new name once.
func (w *writer) syncNames(ops []*op) error {
	var last string
	for _, o := range ops {
		if !o.spool {
			continue
		}
		// Each batch is sorted by id: those of one directory stand together.
		if dir := datadir.SpoolDir(o.id); dir != last {
			if err := w.q.hook("names"); err != nil {
				return err
			}
			err := durable.SyncDir(filepath.Join(w.q.opt.Dir, datadir.SpoolName, dir))
			if err != nil && !errors.Is(err, durable.ErrUnsynced) {
				err = fmt.Errorf("%w: %w", errNames, err)
			}
			if err != nil {
				return err
			}
			last = dir
		}
	}
	return nil
}

// unlink removes the spool file of a message that is gone. A file that stays
// is an orphan, which the next start removes.
func (q *Store) unlink(id uint64) {
	if err := os.Remove(q.spoolPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.log.Warn("cannot remove a spool file; the next start will try again", "id", id, "error", err)
	}
}
