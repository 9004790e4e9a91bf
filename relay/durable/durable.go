// Package durable writes small files so that a crash or a power cut leaves the
// old content or the new one, complete: under a temporary name in the same
// directory, synced, renamed, and the directory synced.
//
// It owns the temporary names, which begin with [TempPrefix]. It has no
// goroutines, no locks and no state; of two writers of one file the later one
// wins. Begin reading at [File.Commit].
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// TempPrefix begins the name of every file that is not complete.
const TempPrefix = ".new-"

// Write gives path the content data and the mode. What root writes belongs to
// the owner of the directory, who could not read it otherwise.
func Write(path string, data []byte, mode fs.FileMode) error {
	return write(path, data, func(f *File) error {
		_, err := f.takeOwner()
		return errors.Join(err, f.Chmod(mode))
	}, (*File).Commit)
}

// WriteUnsynced gives path the content data and the mode 0600 without a sync: a
// process that is killed leaves the old content or the new, and a power cut may
// leave anything.
func WriteUnsynced(path string, data []byte) error {
	return write(path, data, func(f *File) error { _, err := f.takeOwner(); return err }, (*File).rename)
}

// Replace gives path the content data, with mode and owner of the file that is
// there, or those of [File.Inherit] for a new one. Where the owner cannot be
// kept it is an error that wraps [ErrOwner], and the old file stays.
func Replace(path string, data []byte) error {
	return write(path, data, (*File).Inherit, (*File).Commit)
}

// New makes path with mode 0600 and the owner of [File.Inherit]. A file that is
// there stays: the error wraps [fs.ErrExist].
func New(path string, data []byte) error {
	return write(path, data, (*File).Inherit, (*File).commitNew)
}

func write(path string, data []byte, prepare, commit func(*File) error) error {
	f, err := Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := prepare(f); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return commit(f)
}

// File is a file that is being written. It has mode 0600 until somebody
// changes it, and gets its name from Commit.
type File struct {
	*os.File
	path      string
	committed bool
}

// Create begins a file that is to become path. The caller closes it.
func Create(path string) (*File, error) {
	f, err := os.CreateTemp(filepath.Dir(path), temp(path))
	if err != nil {
		return nil, err
	}
	return &File{File: f, path: path}, nil
}

func temp(path string) string {
	base := filepath.Base(path)
	return TempPrefix + base[:min(len(base), 100)] + "-*" // a name has 255 octets at most
}

// Commit puts f on stable storage under its name, in the place of a file that
// was there. f stays open.
func (f *File) Commit() error { return f.CommitAs(f.path) }

// CommitAs is Commit under another name in the same directory.
func (f *File) CommitAs(path string) error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.renameTo(path); err != nil {
		return err
	}
	return f.syncDir()
}

func (f *File) rename() error { return f.renameTo(f.path) }

func (f *File) renameTo(path string) error {
	err := os.Rename(f.Name(), path)
	f.committed = f.committed || err == nil
	return err
}

// commitNew is Commit for a name that nobody has.
func (f *File) commitNew() error {
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Link(f.Name(), f.path); err != nil {
		return err
	}
	return f.syncDir() // Close removes the other name
}

// Close closes f, and removes it if it was not committed.
func (f *File) Close() error {
	err := f.File.Close()
	if !f.committed {
		os.Remove(f.Name())
	}
	return err
}

// syncDir makes the name of f durable. Who may write into a directory but not
// read it cannot open it for a sync; the sync of the whole file system serves.
func (f *File) syncDir() error {
	err := SyncDir(filepath.Dir(f.path))
	if errors.Is(err, fs.ErrPermission) {
		return unix.Syncfs(int(f.Fd()))
	}
	return err
}

// ErrUnsynced marks a sync that failed: what it was for may be lost, and asked
// again the kernel would say that all is well. A directory that could not even
// be opened, for want of a descriptor, is no such thing.
var ErrUnsynced = errors.New("the sync failed")

// SyncDir makes the names in a directory durable. Its error wraps [ErrUnsynced]
// unless the directory could not be opened.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsynced, err)
	}
	return nil
}

// Rename moves a file within one file system, and makes both names durable.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil || filepath.Dir(from) == filepath.Dir(to) {
		return err
	}
	return SyncDir(filepath.Dir(from))
}

// ErrOwner says that a file belongs to another user, who could not read a new
// one of ours.
var ErrOwner = errors.New("the file belongs to another user, who could not read a new one of yours")

// Inherit gives f the mode and the owner of the file that it replaces. A new
// file that root makes goes to the owner of its directory. A directory of
// root's that a group may read, as /etc/dawk with the relay's group, means that
// this group is to read what is in it: there a new file of root's is 0640.
func (f *File) Inherit() error {
	var st, own unix.Stat_t
	err := unix.Stat(f.path, &st)
	if errors.Is(err, fs.ErrNotExist) {
		const groupReads = 0o050
		dir, err := f.takeOwner()
		if err == nil && dir != nil && dir.Uid == 0 && dir.Gid != 0 && dir.Mode&groupReads == groupReads {
			err = f.Chmod(0o640)
		}
		return err
	}
	if err := errors.Join(err, unix.Fstat(int(f.Fd()), &own), f.Chmod(fs.FileMode(st.Mode&0o777))); err != nil {
		return err
	}
	if own.Uid != st.Uid || own.Gid != st.Gid {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("%w: %w", ErrOwner, err)
		}
	}
	return nil
}

// takeOwner gives what root made to the owner of its directory, which it
// returns; nil for anybody else.
func (f *File) takeOwner() (*unix.Stat_t, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var dir unix.Stat_t
	if err := unix.Stat(filepath.Dir(f.path), &dir); err != nil {
		return nil, err
	}
	return &dir, f.Chown(int(dir.Uid), int(dir.Gid))
}

// Own gives what root made to the owner of the directory that it is in, who could
// not read it otherwise. It does nothing for anybody else.
func Own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var dir unix.Stat_t
	if err := unix.Stat(filepath.Dir(path), &dir); err != nil {
		return err
	}
	return os.Lchown(path, int(dir.Uid), int(dir.Gid))
}

// MkdirAll makes a directory and those above it that are missing, as
// [os.MkdirAll] does, with the owner that Own gives.
func MkdirAll(path string, mode fs.FileMode) error {
	if st, err := os.Stat(path); err == nil {
		if !st.IsDir() {
			return &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return nil
	}
	if above := filepath.Dir(path); above != path {
		if err := MkdirAll(above, mode); err != nil {
			return err
		}
	}
	if err := os.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return Own(path)
}

// Sweep removes what writers of path left behind that were killed. Nobody may
// be writing path meanwhile.
func Sweep(path string) {
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), temp(path))) // a bad pattern matches nothing
	for _, name := range left {
		os.Remove(name)
	}
}

// Share is most octets, or an eighth of the file system that has dir if that is less: what
// is kept beside the mail leaves a small disk to it. It is never less than 1 MiB, where most is not.
func Share(dir string, most int64) int64 {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil || fs.Blocks == 0 {
		return most
	}
	return min(most, max(int64(fs.Blocks)*fs.Bsize/8, 1<<20))
}
