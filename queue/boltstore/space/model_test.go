package space

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	bolterrors "go.etcd.io/bbolt/errors"

	"dawk/relay"
)

const mib = 1 << 20

func TestAfter(t *testing.T) {
	limits := Limits{MinFree: 100 * mib, MaxMessageSize: 10 * mib}
	capped := Limits{MinFree: 1, MaxSize: 256 * mib} // 48 MiB of it are for settling
	full := State{Refusal: relay.ErrNoSpace, NoFiles: relay.ErrNoSpace}
	for _, c := range []struct {
		name           string
		limits         Limits
		old            State
		m              Measured
		room           int64
		refused, files bool // whether all mail, and mail in files, is refused
	}{
		{"much room", limits, State{}, Measured{Disk: 200 * mib}, 200 * mib, false, false},
		{"at the limit", limits, State{}, Measured{Disk: 100 * mib}, 100 * mib, false, false},
		{"below it", limits, State{}, Measured{Disk: 100*mib - 1}, 100*mib - 1, true, true},
		{"free pages count, less an eighth, for records alone", limits, State{}, Measured{Disk: 30 * mib, Free: 80 * mib}, 100 * mib, false, true},
		{"what the journal has is owed", limits, State{}, Measured{Disk: 110 * mib, Owed: 20 * mib}, 90 * mib, true, false},
		{"no acceptance before half as much again", limits, full, Measured{Disk: 149 * mib}, 149 * mib, true, true},
		{"then it comes back", limits, full, Measured{Disk: 150 * mib}, 150 * mib, false, false},
		{"a write just failed", limits, full, Measured{Disk: 500 * mib, Full: true}, 500 * mib, true, true},
		{"twice the largest message", Limits{MinFree: mib, MaxMessageSize: 10 * mib}, State{}, Measured{Disk: 19 * mib}, 19 * mib, true, true},
		{"a tenth of the file system", Limits{}, State{}, Measured{Total: 1000 * mib, Disk: 99 * mib}, 99 * mib, true, true},
		{"a small part of a large one", Limits{}, State{}, Measured{Total: 1 << 40, Disk: 1 << 30}, 1 << 30, false, false},
		{"below max_size", capped, State{}, Measured{Disk: 1 << 30, FileSize: 200 * mib}, 8 * mib, false, false},
		{"at max_size", capped, State{}, Measured{Disk: 1 << 30, FileSize: 208 * mib}, 0, true, false},
		{"free pages below max_size", capped, State{}, Measured{Disk: 1 << 30, FileSize: 250 * mib, Free: 80 * mib}, 28 * mib, false, false},
		{"max_size flaps neither", capped, full, Measured{Disk: 1 << 30, FileSize: 200 * mib}, 8 * mib, true, false},
	} {
		now := c.limits.After(c.old, c.m, "data")
		if now.Room != c.room || (now.Refusal != nil) != c.refused || (now.NoFiles != nil) != c.files {
			t.Errorf("%s: room %d, refusal %v, files %v", c.name, now.Room, now.Refusal, now.NoFiles)
		}
		for _, err := range []error{now.Refusal, now.NoFiles} {
			if err != nil && !errors.Is(err, relay.ErrNoSpace) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
}

// Only a write or a truncate without room was rolled back for certain.
func TestRolledBack(t *testing.T) {
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
		if got := RolledBack(c.err); got != c.want {
			t.Errorf("RolledBack(%v) = %v", c.err, got)
		}
	}
}
