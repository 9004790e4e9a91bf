package boltstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// faults fails named points on demand.
type faults struct {
	mu  sync.Mutex
	err map[string]error
}

func (f *faults) hook(point string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err[point]
}

func (f *faults) set(point string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = make(map[string]error)
	}
	f.err[point] = err
}

func full(op string) error { return &fs.PathError{Op: op, Path: "queue.db", Err: syscall.ENOSPC} }

// After a failure whose outcome is unknown the queue stops, and the next start
// verifies and rewrites the file, with everything that was acknowledged.
func TestFailedSync(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point   string
		err     error
		visible bool // the transaction is there after all
	}{
		{"commit", syscall.EIO, false},
		{"commit", full("fdatasync"), false}, // no space from a sync is not "full"
		{"committed", syscall.EIO, true},     // as when the sync of the meta page fails
		{"journal", syscall.EIO, false},
		{"journaled", syscall.EIO, true}, // as when the sync of the journal fails
		{"journaled", full("fdatasync"), true},
		{"names", syscall.EIO, false},
		{"draft.sync", syscall.EIO, false},
	} {
		t.Run(c.point+" "+c.err.Error(), func(t *testing.T) {
			dir := t.TempDir()
			var f faults
			var fatal atomic.Int32
			opt := small(dir)
			opt.Hook, opt.Fatal = f.hook, func(error) { fatal.Add(1) }
			q := mustOpen(t, opt)
			before := mustPut(t, q, body("before", 3000), "a@example.org")
			f.set(c.point, c.err)
			id, err := put(q, body("during", 3000), "a@example.org")
			wantErr(t, err, relay.ErrClosed)
			_, err = q.NewDraft()
			wantErr(t, err, relay.ErrClosed)
			wantErr(t, settle(q, relayed(before, 0, 0)), relay.ErrClosed)
			if fatal.Load() != 1 {
				t.Errorf("Fatal was called %d times", fatal.Load())
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			mark := filepath.Join(dir, "suspect")
			if _, err := os.Stat(mark); err != nil {
				t.Fatal("no mark was left")
			}
			was, _ := os.Stat(filepath.Join(dir, "queue.db"))
			q = mustOpen(t, small(dir))
			sound(t, q)
			if got, err := contentOf(q, before); err != nil || string(got) != string(body("before", 3000)) {
				t.Errorf("what was acknowledged: %v", err)
			}
			if _, err := contentOf(q, id); (err == nil) != c.visible {
				t.Errorf("the message of the failed commit: %v", err)
			}
			is, _ := os.Stat(filepath.Join(dir, "queue.db"))
			if _, err := os.Stat(mark); err == nil || os.SameFile(was, is) {
				t.Error("the file was not written anew, or its mark stays")
			}
		})
	}
}

// The sync that makes the name of a new spool directory durable is no other:
// the next message must not get a 250 because the kernel forgot the failure.
func TestFailedSyncOfDirectory(t *testing.T) {
	dir := t.TempDir()
	var f faults
	var fatal atomic.Int32
	opt := small(dir)
	opt.Hook, opt.Fatal = f.hook, func(error) { fatal.Add(1) }
	q := mustOpen(t, opt)
	f.set("directory", syscall.EIO)
	_, err := put(q, body("during", 3000), "a@example.org")
	wantErr(t, err, relay.ErrClosed)
	f.set("directory", nil)
	_, err = put(q, body("after", 3000), "a@example.org")
	wantErr(t, err, relay.ErrClosed)
	if _, err := os.Stat(filepath.Join(dir, "suspect")); err != nil || fatal.Load() != 1 {
		t.Errorf("mark: %v; Fatal was called %d times", err, fatal.Load())
	}
}

// A spool directory that cannot be opened, because somebody removed it or for
// want of a descriptor, is no failed disk: its mail is refused, the queue works on.
func TestSpoolDirectoryGone(t *testing.T) {
	opt := small(t.TempDir())
	opt.Fatal = func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }
	var armed atomic.Bool
	opt.Hook = func(point string) error {
		if point == "names" && armed.Load() {
			return os.RemoveAll(filepath.Join(opt.Dir, "spool"))
		}
		return nil
	}
	q := mustOpen(t, opt)
	old := mustPut(t, q, body("old", 300), "a@example.org")
	armed.Store(true)
	if _, err := put(q, body("x", 3000), "a@example.org"); err == nil || errors.Is(err, relay.ErrClosed) {
		t.Fatalf("error %v", err)
	}
	armed.Store(false)
	if err := os.Mkdir(filepath.Join(opt.Dir, "spool"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := settle(q, relayed(old, 0, 0)); err != nil {
		t.Error(err)
	}
	mustPut(t, q, body("y", 3000), "a@example.org")
	sound(t, q)
}

// On a full disk new mail is refused and leaves nothing behind; settlements
// wait, and are done when there is room. Time stands still
// while anybody works, so that the queue does not look at the disk in between.
func TestFullDisk(t *testing.T) { synctest.Test(t, testFullDisk) }

func testFullDisk(t *testing.T) {
	dir := t.TempDir()
	var f faults
	opt := small(dir)
	opt.Hook = f.hook
	q := mustOpen(t, opt)
	old := mustPut(t, q, body("old", 3000), "a@example.org")
	f.set("commit", full("write"))
	_, err := put(q, body("new", 3000), "a@example.org")
	wantErr(t, err, relay.ErrNoSpace)
	if files := spoolFiles(t, dir); len(files) != 1 {
		t.Errorf("the refused message left a file: %v", files)
	}
	wantErr(t, q.Room(), relay.ErrNoSpace)
	_, err = q.NewDraft()
	wantErr(t, err, relay.ErrNoSpace)

	done := make(chan error, 1)
	q.Settle(relayed(old, 0, 0), func(err error) { done <- err })
	if got, err := contentOf(q, old); err != nil || string(got) != string(body("old", 3000)) {
		t.Errorf("reading while the disk is full: %v", err)
	}
	f.set("commit", nil)
	if err := <-done; err != nil {
		t.Errorf("the settlement: %v", err)
	}
	for range 6 { // room again, but the last write had failed
		q.LookAtSpace()
	}
	mustPut(t, q, body("new", 3000), "a@example.org")
	sound(t, q)
}

// A queue that reached its max_size takes mail again once it has drained.
func TestMaxSize(t *testing.T) {
	t.Parallel()
	opt := small(memoryDir(t))
	opt.MaxSize, opt.InlineLimit = 48<<20, 256<<10
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for {
		id, err := put(q, body("x", 200<<10), "a@example.org")
		if err != nil {
			wantErr(t, err, relay.ErrNoSpace)
			break
		}
		if ids = append(ids, id); len(ids) > 1000 {
			t.Fatal("there is no limit")
		}
	}
	if info, _ := os.Stat(filepath.Join(opt.Dir, "queue.db")); info.Size() > opt.MaxSize {
		t.Errorf("the file has %d octets", info.Size())
	}
	for _, id := range ids {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	q.LookAtSpace()
	q.LookAtSpace()
	if err := q.Room(); err != nil {
		t.Fatalf("after it drained: %v (%+v)", err, q.FileStats())
	}
	mustPut(t, q, body("x", 200<<10), "a@example.org")
	sound(t, q)
}

// The same where mail is refused at the first look that finds it full: what lies
// behind the pages that were ever used is room too.
func TestMaxSizeEarly(t *testing.T) {
	t.Parallel()
	opt := small(memoryDir(t))
	opt.MaxSize, opt.InlineLimit = 48<<20, 256<<10
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for q.LookAtSpace(); q.Room() == nil; q.LookAtSpace() {
		id, err := putAs(q, fmt.Sprint("user", len(ids)), body("x", 200<<10), "a@example.org")
		if err != nil {
			wantErr(t, err, relay.ErrNoSpace)
			break
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	q.LookAtSpace()
	if err := q.Room(); err != nil {
		t.Fatalf("after it drained: %v", err)
	}
}

// One identity does not fill max_size: others find room when it is refused, and it
// may go on when its mail has left.
func TestShareOfRoom(t *testing.T) {
	t.Parallel()
	opt := small(memoryDir(t))
	opt.MaxSize, opt.InlineLimit = 48<<20, 256<<10
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for {
		q.LookAtSpace()
		id, err := putAs(q, "flood", body("x", 200<<10), "a@example.org")
		if err != nil {
			wantErr(t, err, relay.ErrNoSpace)
			break
		}
		if ids = append(ids, id); len(ids) > 1000 {
			t.Fatal("there is no limit")
		}
	}
	for range 5 {
		q.LookAtSpace()
		if _, err := putAs(q, "other", body("x", 200<<10), "a@example.org"); err != nil {
			t.Fatalf("another identity, after %d messages of one: %v", len(ids), err)
		}
	}
	for _, id := range ids[len(ids)-10:] {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	q.LookAtSpace()
	if _, err := putAs(q, "flood", body("x", 200<<10), "a@example.org"); err != nil {
		t.Errorf("when its mail had left: %v", err)
	}
}

// A commit that fails makes bbolt walk through its file: while the disk is full
// there are few of them.
func TestFewTriesOnFullDisk(t *testing.T) { synctest.Test(t, testFewTriesOnFullDisk) }

func testFewTriesOnFullDisk(t *testing.T) {
	opt := small(memoryDir(t))
	var armed atomic.Bool
	var tries atomic.Int32
	opt.Hook = func(point string) error {
		if point != "commit" || !armed.Load() {
			return nil
		}
		tries.Add(1)
		return full("write")
	}
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for range 100 {
		ids = append(ids, mustPut(t, q, body("x", 300), "a@example.org"))
	}
	armed.Store(true)
	done := make(chan error, len(ids))
	for _, id := range ids {
		q.Settle(relayed(id, 0, 0), func(err error) { done <- err })
	}
	// The first round begins when company was waited for, the others a second
	// after each other.
	for round, want := range []int32{3, 1, 1} { // 100, 6 and 1 together; 1; 1
		before := tries.Load()
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		if n := tries.Load() - before; n != want || q.Stats().Waiting != len(ids) {
			t.Errorf("round %d: %d tries, %d settlements wait; want %d tries", round, n, q.Stats().Waiting, want)
		}
	}
	armed.Store(false)
	for range ids {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	sound(t, q)
}

// A real full disk: a tmpfs, filled by the queue and by a foreign file.
func TestFullTmpfs(t *testing.T) {
	t.Parallel()
	dir := queuetest.Disk(t, "tmpfs", 40)
	opt := boltstore.Options{Dir: filepath.Join(dir, "data"), MinFree: 1}
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	submit := func(n int) {
		for {
			id, err := put(q, body("x", n), "a@example.org")
			if err != nil {
				wantErr(t, err, relay.ErrNoSpace)
				return
			}
			ids = append(ids, id)
		}
	}
	submit(600 << 10) // in spool files
	q.LookAtSpace()
	q.LookAtSpace()
	submit(20 << 10)
	foreign := filepath.Join(dir, "foreign")
	fillDisk(t, foreign)
	for _, id := range ids {
		if _, err := contentOf(q, id); err != nil {
			t.Fatalf("reading on a full disk: %v", err)
		}
	}
	for _, id := range ids[:len(ids)/2] {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Fatalf("settling on a full disk: %v", err)
		}
	}
	os.Remove(foreign)
	q.WaitTasks()
	q.LookAtSpace()
	q.LookAtSpace()
	ids = append(ids[len(ids)/2:], mustPut(t, q, body("x", 20<<10), "a@example.org"))
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = mustOpen(t, opt)
	sound(t, q)
	for _, id := range ids {
		if _, err := contentOf(q, id); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
	}
}

// On a file system without a free block there is no room, however large bbolt
// made its file; and there is as soon as somebody else's file goes.
func TestHolesAreNoRoom(t *testing.T) {
	t.Parallel()
	disk := queuetest.Disk(t, "tmpfs", 40)
	q := mustOpen(t, boltstore.Options{Dir: filepath.Join(disk, "data"), MinFree: 4 << 20})
	mustPut(t, q, body("x", 20<<10), "a@example.org")
	foreign := filepath.Join(disk, "foreign")
	fillDisk(t, foreign)
	q.LookAtSpace()
	wantErr(t, q.Room(), relay.ErrNoSpace)
	os.Remove(foreign)
	q.LookAtSpace()
	if err := q.Room(); err != nil {
		t.Error(err)
	}
	mustPut(t, q, body("x", 20<<10), "a@example.org")
}

// Close with settlements that no full disk lets through ends, and loses none.
func TestCloseOnFullDisk(t *testing.T) {
	var f faults
	opt := small(t.TempDir())
	opt.Hook = f.hook
	q := mustOpen(t, opt)
	id := mustPut(t, q, body("x", 300), "a@example.org")
	f.set("commit", full("write"))
	done := make(chan error, 1)
	q.Settle(relayed(id, 0, 0), func(err error) { done <- err })
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, <-done, relay.ErrClosed)
	q = mustOpen(t, small(opt.Dir))
	if _, err := q.Claim(id, 0); err != nil {
		t.Fatal(err)
	}
}

// What was handed over before Close is done; afterwards nothing is taken.
func TestCloseDrains(t *testing.T) {
	opt := small(t.TempDir())
	q := mustOpen(t, opt)
	id := mustPut(t, q, body("x", 300), "a@example.org")
	late, _ := q.NewDraft()
	done := make(chan error, 1)
	q.Settle(relayed(id, 0, 0), func(err error) { done <- err })
	if err := errors.Join(q.Close(), <-done, q.Close()); err != nil {
		t.Fatal(err)
	}
	m := &relay.Message{ID: late.ID()}
	m.Recipients = []relay.Recipient{{Path: mailbox("a@example.org")}}
	wantErr(t, q.Enqueue(context.Background(), late, m), relay.ErrClosed)
	wantErr(t, settle(q, relayed(id, 0, 0)), relay.ErrClosed)
	_, err := q.Claim(id, 0)
	wantErr(t, err, relay.ErrClosed)
	if n := mustOpen(t, opt).Stats().Messages; n != 0 {
		t.Errorf("%d messages", n)
	}
}
