package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	bolterrors "go.etcd.io/bbolt/errors"
)

// FuzzQuarantined feeds rows of the bucket corrupt, and names of spool files.
func FuzzQuarantined(f *testing.F) {
	f.Add([]byte("m12345678checksum\x00value"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if q := readQuarantined(b, b, 7); q.Octets > len(b) {
			t.Fatalf("%+v", q)
		}
		parseSpoolName("00", string(b))
	})
}

// Only a write or a truncate without room was rolled back for certain.
func TestIsFull(t *testing.T) {
	path := func(op string, err error) error {
		return fmt.Errorf("commit: %w", &fs.PathError{Op: op, Path: "queue.db", Err: err})
	}
	for _, c := range []struct {
		err  error
		want bool
	}{
		{path("write", syscall.ENOSPC), true},
		{path("write", syscall.EDQUOT), true},
		{path("write", syscall.EFBIG), true},
		{path("truncate", syscall.EFBIG), true},
		{fmt.Errorf("commit: %w", bolterrors.ErrMaxSizeReached), true},
		// bbolt hides the errno of its truncate.
		{fmt.Errorf("commit: file resize error: %s", path("truncate", syscall.ENOSPC)), true},
		{fmt.Errorf("commit: file resize error: %s", path("truncate", syscall.EIO)), false},
		{fmt.Errorf("commit: file sync error: %s", path("sync", syscall.ENOSPC)), false},
		{path("sync", syscall.ENOSPC), false},
		{path("fdatasync", syscall.ENOSPC), false},
		{syscall.ENOSPC, false}, // how bbolt reports its fdatasync
		{path("write", syscall.EIO), false},
		{errors.New("anything else"), false},
	} {
		if got := isFull(c.err); got != c.want {
			t.Errorf("isFull(%v) = %v", c.err, got)
		}
	}
}
