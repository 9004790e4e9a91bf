package journal

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Own gives what root has just made to the owner of its directory: a relay that
// runs as another user could not open it otherwise.
func Own(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var dir unix.Stat_t
	if err := unix.Stat(filepath.Dir(path), &dir); err != nil {
		return &fs.PathError{Op: "stat", Path: filepath.Dir(path), Err: err}
	}
	if dir.Uid == 0 {
		return nil
	}
	return os.Lchown(path, int(dir.Uid), int(dir.Gid))
}

// Datasync is fdatasync: the octets and the size of a file, not its times.
func Datasync(f *os.File) error {
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

// maxParts is how many parts one call may write (IOV_MAX).
const maxParts = 1024

// writeAt writes parts one behind the other, from octet at of the file on. The parts
// are used up. The operation of its error is "write".
func writeAt(f *os.File, parts [][]byte, at int64) error {
	for len(parts) > 0 {
		n, err := unix.Pwritev(int(f.Fd()), parts[:min(len(parts), maxParts)], at)
		switch {
		case err == syscall.EINTR:
			continue
		case err == nil && n == 0 && len(parts[0]) > 0:
			err = io.ErrShortWrite
			fallthrough
		case err != nil:
			return &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		at += int64(n)
		for len(parts) > 0 && n >= len(parts[0]) {
			n -= len(parts[0])
			parts = parts[1:]
		}
		if n > 0 {
			parts[0] = parts[0][n:]
		}
	}
	return nil
}

// Allocate reserves disk blocks for the octets of a file from offset from to size, so that later
// writes find room, and makes the file that large. An error whose operation is "write" says that
// there was no room, and the file is as it was. Zeros are written where the file system cannot
// allocate: nothing that counts may be after from.
func Allocate(f *os.File, from, size int64) error {
	err := fallocate(f, 0, from, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		zeros := make([]byte, 64<<10)
		for at := from; at < size && (err == nil || at == from); at += int64(len(zeros)) {
			_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
		}
	}
	if err != nil {
		f.Truncate(from) // some of it may be there
	}
	return err
}

func fallocate(f *os.File, mode uint32, from, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), mode, from, size-from)
		if err == nil {
			return nil
		}
		if err != syscall.EINTR {
			return &fs.PathError{Op: "write", Path: f.Name(), Err: err}
		}
	}
}
