package queue

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// spoolDir is where the file of a message lies, below spool. About 67 seconds
// (2^26 µs) share a directory, so that a group of messages accepted together
// costs one directory sync, and 256 directories share what lies for days.
func spoolDir(id uint64) string { return fmt.Sprintf("%02x", byte(id>>26)) }

func spoolFile(dir string, id uint64) string {
	return filepath.Join(dir, spoolName, spoolDir(id), fmt.Sprintf("%016x", id))
}

func (q *Queue) spoolPath(id uint64) string { return spoolFile(q.opt.Dir, id) }

// parseSpoolName gives the id that a spool file is named by.
func parseSpoolName(dir, name string) (uint64, bool) {
	if len(name) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(name, 16, 64)
	return id, err == nil && spoolDir(id) == dir && fmt.Sprintf("%016x", id) == name
}

// createSpool makes the file of a new message. There is no temporary name and
// no rename: the record in msg is the publication.
func (q *Queue) createSpool(id uint64) (*os.File, error) {
	path := q.spoolPath(id)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeDir(filepath.Dir(path)); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		}
	}
	return f, err
}

// makeDir makes one directory, if it is missing, and syncs its name.
func makeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// datasync is fdatasync: the octets and the size, not the times.
func datasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// unlink removes the spool file of a message that is gone. A file that stays
// is an orphan, which the next start removes.
func (q *Queue) unlink(id uint64) {
	if err := os.Remove(q.spoolPath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		q.log.Warn("cannot remove a spool file; the next start will try again", "id", id, "error", err)
	}
}
