// Package datadir is the queue's directory at rest: its names and its lock, the
// buckets of queue.db and their rows, what a journal adds to them, and the file as
// a whole: opened, compacted, rewritten after the disk failed, and verified.
//
// Begin reading at [Open] for the file, [Tables] for what is in it, and [Verify].
// It has no goroutines, and no locks but those on the files. What happens in a
// running queue is package boltstore.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/journal"
	"dawk/relay"
	"dawk/relay/durable"
)

// The names in the data directory that are ours.
const (
	FileName    = "queue.db"
	newName     = "queue.db.new" // a copy being made; never complete under this name
	lockName    = "queue.lock"
	suspectName = "suspect"
	SpoolName   = "spool"
)

const lockWait = 2 * time.Second

// PrepareDir makes the directory, and its name durable.
func PrepareDir(dir string, log *slog.Logger) error {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := makeParents(filepath.Dir(dir)); err != nil {
			return fmt.Errorf("the data directory %s cannot be made: %w", dir, err)
		}
		if err := MakeDir(dir); err != nil {
			return fmt.Errorf("the data directory %s cannot be made: %w", dir, err)
		}
	case err != nil:
		return fmt.Errorf("the data directory cannot be used: %w", durable.Unreadable(dir, err))
	case !info.IsDir():
		return fmt.Errorf("the data directory %s is not a directory", dir)
	case info.Mode().Perm()&0o007 != 0:
		log.Warn("others may look into the data directory; 0700 is better", "dir", dir, "mode", info.Mode().Perm().String())
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); errors.Is(err, unix.EROFS) {
		return fmt.Errorf("the data directory %s is on a %w: mount it so that it can be written to; nothing in it was changed", dir, err)
	} else if err != nil {
		return fmt.Errorf("the data directory %s is not writable for this user: %w", dir, err)
	}
	return nil
}

// makeParents makes a directory and those above it that are missing, and makes
// their names durable.
func makeParents(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := makeParents(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return durable.SyncDir(filepath.Dir(dir))
}

// wasUsed says what shows that a queue was once opened in dir; "": nothing. The spool is made after
// queue.db, whose content and name are durable by then: a spool without a queue.db, or with one of
// 0 octets, means that mail is missing, and so does a journal with records.
func wasUsed(dir string) string {
	if _, err := os.Lstat(filepath.Join(dir, SpoolName)); err == nil {
		return "the directory spool"
	}
	if journal.Used(dir) {
		return journal.Name
	}
	return ""
}

// Lock takes the lock of the directory. bbolt's own lock is on the file,
// which a compaction replaces.
func Lock(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("the data directory %s is not writable: %w", dir, err)
	}
	if err := journal.Own(path); err != nil {
		f.Close()
		return nil, fmt.Errorf("the lock of the data directory %s: %w", dir, err)
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(20 * time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(end) {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("the data directory %s is %w: stop that one first, or give this one another data_dir", dir, queue.ErrHeld)
			}
			return nil, fmt.Errorf("the data directory %s cannot be locked: %w", dir, err)
		}
	}
}

// WriteSuspect writes the mark, as far as a failing disk allows.
func WriteSuspect(dir string, why error) error {
	f, err := os.OpenFile(filepath.Join(dir, suspectName), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s\n", time.Now().UTC().Format(time.RFC3339), relay.Sanitize(why.Error()))
	return errors.Join(err, journal.Own(f.Name()), f.Sync(), f.Close(), durable.SyncDir(dir))
}

// SpoolDir is where the file of a message lies, below spool. About 67 seconds (2^26 µs) share a
// directory, so that messages accepted together cost one directory sync, and 256 directories share
// the files of many days.
func SpoolDir(id uint64) string { return fmt.Sprintf("%02x", byte(id>>26)) }

func SpoolFile(dir string, id uint64) string {
	return filepath.Join(dir, SpoolName, SpoolDir(id), fmt.Sprintf("%016x", id))
}

// ParseSpoolName gives the id that a spool file is named by.
func ParseSpoolName(dir, name string) (uint64, bool) {
	if len(name) != 16 {
		return 0, false
	}
	id, err := strconv.ParseUint(name, 16, 64)
	return id, err == nil && SpoolDir(id) == dir && fmt.Sprintf("%016x", id) == name
}

// MakeDir makes one directory, if it is missing, and syncs its name.
func MakeDir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return err
	}
	return errors.Join(journal.Own(path), durable.SyncDir(filepath.Dir(path)))
}
