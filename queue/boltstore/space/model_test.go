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
	capped := Limits{MinFree: 1, MaxSize: 256 * mib} // 33 MiB of it are for settling
	full := State{Refusal: relay.ErrNoSpace, NoFiles: relay.ErrNoSpace}
	failed := State{Refusal: relay.ErrNoSpace, NoFiles: relay.ErrNoSpace, records: failure{}.again(200 * mib), files: failure{}.again(200 * mib)}
	later := failed
	later.records, later.files = failed.records.next(), failed.files.next()
	once := func(disk int64) Measured { return Measured{Disk: disk + settleOnce} }
	for _, c := range []struct {
		name           string
		limits         Limits
		old            State
		m              Measured
		room           int64
		refused, files bool // whether all mail, and mail in files, is refused
	}{
		{"much room", limits, State{}, once(200 * mib), 200 * mib, false, false},
		{"at the limit", limits, State{}, once(100 * mib), 100 * mib, false, false},
		{"below it", limits, State{}, once(100*mib - 1), 100*mib - 1, true, false},
		{"below it, in files too", limits, State{}, Measured{Disk: 100*mib - 1}, 100*mib - 1 - settleOnce, true, true},
		{"free pages count, for records alone", limits, State{}, Measured{Disk: 30 * mib, Use: Use{Free: 70*mib + settleOnce}}, 100 * mib, false, true},
		{"what has no blocks yet is no room", limits, State{}, Measured{Disk: 90 * mib, Use: Use{Free: 24 * mib, Holes: 20 * mib}}, 94*mib - settleOnce, true, true},
		{"what the journal has is owed", limits, State{}, Measured{Disk: 110*mib + settleOnce, Use: Use{Owed: 20 * mib}}, 90 * mib, true, false},
		{"what waits will be settled", limits, State{}, Measured{Disk: 110*mib + settleOnce, Use: Use{Deliveries: 1280}}, 100 * mib, false, false},
		{"but not all of it at once", limits, State{}, Measured{Disk: 132*mib + settleOnce, Use: Use{Deliveries: 1 << 20}}, 100 * mib, false, false},
		{"rows of lists that are longer than their messages", limits, State{}, Measured{Disk: 142*mib + settleOnce, Use: Use{Deliveries: 4096 + 5120, Telling: Telling(3*mib, 4096) + 4096*Telling(768, 1) + Telling(3000, 1)}}, 100 * mib, false, false},
		{"there is nothing below nothing", limits, State{}, Measured{}, 0, true, true},
		{"no acceptance before half as much again", limits, full, once(150*mib - 1), 150*mib - 1, true, false},
		{"then it comes back", limits, full, once(150 * mib), 150 * mib, false, false},
		{"a write failed where a look sees room", limits, failed, Measured{Disk: 200 * mib}, 200*mib - settleOnce, true, true},
		{"and just before", limits, failed, once(250 * mib), 250 * mib, true, true},
		{"until more is there", limits, later, once(250 * mib), 250 * mib, false, false},
		{"twice the largest message", Limits{MinFree: mib, MaxMessageSize: 10 * mib}, State{}, Measured{Disk: 19 * mib}, 19*mib - settleOnce, true, true},
		{"a tenth of the file system", Limits{}, State{}, Measured{Total: 1000 * mib, Disk: 99 * mib}, 99*mib - settleOnce, true, true},
		{"a small part of a large one", Limits{}, State{}, Measured{Total: 1 << 40, Disk: 1<<30 + settleOnce}, 1 << 30, false, false},
		{"below max_size", capped, State{}, Measured{Disk: 1 << 30, Use: Use{FileSize: 200 * mib}}, 23 * mib, false, false},
		{"at max_size", capped, State{}, Measured{Disk: 1 << 30, Use: Use{FileSize: 223 * mib}}, 0, true, false},
		{"free pages below max_size", capped, State{}, Measured{Disk: 1 << 30, Use: Use{FileSize: 250 * mib, Free: 80 * mib}}, 53 * mib, false, false},
		{"max_size flaps neither", capped, full, Measured{Disk: 1 << 30, Use: Use{FileSize: 210 * mib}}, 13 * mib, true, false},
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

// A write that finds no room where a look sees some is tried again after a while,
// and then later.
func TestFailureIsTriedAgain(t *testing.T) {
	m := Measured{Disk: 50 * mib}
	now := Limits{MinFree: mib}.After(State{}, m, "data")
	for _, want := range []int{5, 10, 20, 20} {
		now.Refusal, now.records = relay.ErrNoSpace, now.records.again(now.Room)
		looks := 0
		for now.Refusal != nil {
			now = Limits{MinFree: mib}.After(now, m, "data")
			looks++
		}
		if looks != want+1 && looks != want {
			t.Errorf("tried again after %d looks, want %d", looks, want)
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
