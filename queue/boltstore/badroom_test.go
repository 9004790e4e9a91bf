package boltstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// A quota, a limit of the size of files and a file system that takes no writes for a
// while are like a full disk, though much of it is free: whatever meets them, new mail is
// refused with the reason, nothing is lost, and all goes on by itself.
func TestNoWritesForAWhile(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EDQUOT, syscall.EFBIG, syscall.EROFS} {
		for _, point := range []string{"commit", "journal", "checkpoint", "draft.write", "draft.sync"} {
			t.Run(fmt.Sprint(point, " ", errno), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { noWrites(t, point, errno) })
			})
		}
	}
}

func noWrites(t *testing.T, point string, errno syscall.Errno) {
	var f faults
	opt := small(t.TempDir())
	opt.Hook, opt.Fatal = f.hook, func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }
	q := mustOpen(t, opt)
	ids := []relay.QueueID{mustPut(t, q, body("old", 300), "a@example.org"), mustPut(t, q, body("old", 3000), "a@example.org")}
	q.Checkpoint()
	f.set(point, &fs.PathError{Op: "write", Path: "queue.db", Err: errno})
	done := make(chan error, 1)
	q.Settle(relayed(ids[0], 0, 0), func(err error) { done <- err })
	time.Sleep(time.Second) // of the bubble's clock
	if id, err := put(q, body("new", 3000), "a@example.org"); err == nil {
		ids = append(ids, id)
	} else {
		wantErr(t, err, relay.ErrNoSpace, errno.Error())
	}
	time.Sleep(time.Minute)
	f.set(point, nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	ids = append(ids, mustPut(t, q, body("new", 3000), "a@example.org"))
	sound(t, q)
	if n := stillThere(q, ids); n != len(ids)-1 {
		t.Errorf("%d messages are there", n)
	}
}

// stillThere counts the messages that can be read.
func stillThere(q *boltstore.Store, ids []relay.QueueID) (n int) {
	for _, id := range ids {
		if _, err := contentOf(q, id); err == nil {
			n++
		}
	}
	return n
}

// A start on a file system that is mounted read-only is refused with that reason, and
// works once it is not.
func TestStartOnReadOnlyDisk(t *testing.T) {
	disk := queuetest.Disk(t, "tmpfs", 40)
	opt := boltstore.Options{Dir: filepath.Join(disk, "data"), MinFree: 1}
	q := mustOpen(t, opt)
	id := mustPut(t, q, body("x", 3000), "a@example.org")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	remount := func(flags uintptr) {
		if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(syscall.MS_RDONLY)
	_, err := boltstore.Open(opt)
	wantErr(t, err, syscall.EROFS, opt.Dir, "mount it")
	t.Log(err)
	remount(0)
	q = mustOpen(t, opt)
	if _, err := contentOf(q, id); err != nil {
		t.Error(err)
	}
	sound(t, q)
}

// Somebody takes the last block in the middle of a checkpoint, of a compaction, of a
// backup into the same file system, or at any step of a start. That may fail, with the reason; what
// was taken is there and can be settled on the full disk, and mail is taken again
// when there is room.
func TestDiskFillsMeanwhile(t *testing.T) {
	for _, point := range []string{"checkpoint", "compact", "compact.copied", "backup", "created", "journal.title", "replayed", "loaded"} {
		t.Run(point, func(t *testing.T) {
			disk := queuetest.Disk(t, "tmpfs", 60)
			synctest.Test(t, func(t *testing.T) { fillsMeanwhile(t, disk, point) })
		})
	}
}

func fillsMeanwhile(t *testing.T, disk, point string) {
	foreign, copied := filepath.Join(disk, "foreign"), filepath.Join(disk, "copied")
	var armed atomic.Bool
	opt := boltstore.Options{Dir: filepath.Join(disk, "data"), MinFree: 4 << 20, Cache: -1,
		Fatal: func(err error) { t.Errorf("the disk is not trusted any more: %v", err) },
		Hook: func(at string) error {
			if at == point && armed.CompareAndSwap(true, false) {
				fillDisk(t, foreign)
			}
			return nil
		}}
	if point == "created" {
		armed.Store(true)
		if q, err := boltstore.Open(opt); err == nil {
			q.Close()
		} else {
			wantErr(t, err, syscall.ENOSPC)
			t.Log(err)
		}
		os.Remove(foreign)
	}
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for i := range 60 {
		ids = append(ids, mustPut(t, q, body("x", []int{300, 3000, 30_000, 200_000}[i%4]), "a@example.org"))
	}
	q.Checkpoint()
	for range 30 { // free pages
		if err := settle(q, relayed(ids[0], 0, 0)); err != nil {
			t.Fatal(err)
		}
		ids = ids[1:]
	}
	ids = append(ids, mustPut(t, q, body("last", 30_000), "a@example.org")) // in the journal
	armed.Store(true)
	switch point {
	case "created":
	case "checkpoint":
		if err := q.Checkpoint(); err != nil {
			t.Error(err) // it has had its blocks since the mail was taken
		}
	case "compact", "compact.copied":
		if err := q.Compact(context.Background()); err != nil {
			wantErr(t, err, syscall.ENOSPC)
			t.Log(err)
		} else if point == "compact" {
			t.Error("there was room")
		}
	case "backup":
		f, err := os.Create(copied)
		if err != nil {
			t.Fatal(err)
		}
		fillDisk(t, foreign)
		err = q.Backup(context.Background(), f)
		wantErr(t, errors.Join(err, f.Close()), syscall.ENOSPC)
		t.Log(err)
		os.Remove(copied)
		fillDisk(t, foreign)
	default: // as after a kill
		crashed := filepath.Join(disk, "crashed")
		if err := copyDir(opt.Dir, crashed); err != nil {
			t.Fatal(err)
		}
		q.Close()
		os.RemoveAll(opt.Dir)
		opt.Dir = crashed
		armed.Store(true)
		q = mustOpen(t, opt)
	}
	if n := stillThere(q, ids); n != len(ids) {
		t.Errorf("%d of %d messages are there", n, len(ids))
	}
	for _, id := range ids[:20] {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Error(err)
		}
	}
	os.Remove(foreign)
	time.Sleep(time.Minute) // of the bubble's clock
	synctest.Wait()
	mustPut(t, q, body("x", 200<<10), "a@example.org")
	sound(t, q)
	if n := stillThere(q, ids); n != len(ids)-20 {
		t.Errorf("%d of %d messages are there", n, len(ids)-20)
	}
}

// A backup of an idle queue makes a commit. Where that finds no room, mail is taken
// again all the same once there is some, though nothing waits to be settled.
func TestBackupWithoutRoomWhenIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook, opt.Fatal = f.hook, func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }
		q := mustOpen(t, opt)
		f.set("checkpoint", &fs.PathError{Op: "write", Path: "queue.db", Err: syscall.EROFS})
		if err := q.Backup(context.Background(), &bytes.Buffer{}); err == nil {
			t.Error("a backup without its commit")
		}
		f.set("checkpoint", nil)
		time.Sleep(time.Minute) // of the bubble's clock
		synctest.Wait()
		if err := q.Room(); err != nil {
			t.Error(err)
		}
		mustPut(t, q, body("new", 3000), "a@example.org")
		sound(t, q)
	})
}
