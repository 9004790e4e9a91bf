package boltstore_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/relay"
)

// Compaction returns space, at start and on command, and keeps what is queued.
func TestCompact(t *testing.T) {
	t.Parallel()
	for name, compact := range map[string]func(*testing.T, *boltstore.Store, boltstore.Options) *boltstore.Store{
		"command": func(t *testing.T, q *boltstore.Store, _ boltstore.Options) *boltstore.Store {
			if err := q.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
			return q
		},
		"start": func(t *testing.T, q *boltstore.Store, opt boltstore.Options) *boltstore.Store {
			q.Close()
			opt.CompactAbove = 1 << 20
			return mustOpen(t, opt)
		},
	} {
		t.Run(name, func(t *testing.T) {
			opt := small(memoryDir(t))
			opt.InlineLimit = 256 << 10
			q := mustOpen(t, opt)
			var ids []relay.QueueID
			for i := range 200 {
				ids = append(ids, mustPut(t, q, body(fmt.Sprint(i), 100<<10), "a@example.org"))
			}
			for _, id := range ids[2:] {
				q.Settle(relayed(id, 0, 0), nil)
			}
			if err := settle(q, relayed(ids[1], 0, 0)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(opt.Dir, "queue.db")
			before, _ := os.Stat(path)
			q = compact(t, q, opt)
			after, err := os.Stat(path)
			if err != nil || after.Size() > before.Size()/4 && after.Size() > 17<<20 || before.Size() < 30<<20 {
				t.Errorf("%d octets before, %d after", before.Size(), after.Size())
			}
			q.DropCache()
			if got, err := contentOf(q, ids[0]); err != nil || !bytes.Equal(got, body("0", 100<<10)) {
				t.Errorf("content after it: %v", err)
			}
			mustPut(t, q, body("more", 100), "a@example.org")
			if _, err := boltstore.Open(small(opt.Dir)); !errors.Is(err, queue.ErrHeld) {
				t.Errorf("the lock was lost with the old file: %v", err)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			q = mustOpen(t, opt)
			sound(t, q)
			if n := q.Stats().Messages; n != 2 {
				t.Errorf("%d messages", n)
			}
		})
	}
}

// A backup made under load is a sound queue of its own, spool files included.
func TestBackup(t *testing.T) {
	q := mustOpen(t, small(t.TempDir()))
	var kept []relay.QueueID
	for i := range 20 {
		kept = append(kept, mustPut(t, q, body(fmt.Sprint("kept ", i), 200+i*200), "a@example.org"))
	}
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id, err := put(q, body("passing", 2000), "a@example.org")
				if err == nil {
					err = settle(q, relayed(id, 0, 0))
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var archive bytes.Buffer
	if err := q.Backup(context.Background(), &archive); err != nil {
		t.Fatal(err)
	}
	sound := func(q *boltstore.Store) {
		r, err := q.Verify(context.Background(), nil)
		if err != nil || len(r.Problems) > 0 {
			t.Fatal(err, r.Problems)
		}
	}
	sound(q) // under load as well
	close(stop)
	load.Wait()
	dir := t.TempDir()
	unpack(t, &archive, dir)
	restored := mustOpen(t, small(dir))
	sound(restored)
	for i, id := range kept {
		if got, err := contentOf(restored, id); err != nil || !bytes.Equal(got, body(fmt.Sprint("kept ", i), 200+i*200)) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := q.Backup(ctx, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("a backup that was called off: %v", err)
	}
}

func unpack(t *testing.T, r io.Reader, dir string) {
	t.Helper()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		os.MkdirAll(filepath.Dir(path), 0o700)
		b, err := io.ReadAll(in)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Mail that was just accepted is claimed without a look at the disk; the
// memory for it is bounded, and what does not fit is read back.
func TestCache(t *testing.T) {
	opt := small(t.TempDir())
	opt.Cache = 20 << 10
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for i := range 50 {
		ids = append(ids, mustPut(t, q, body(fmt.Sprint(i), 500), "a@example.org"))
		if used := q.FileStats().CacheBytes; used > 20<<10 || used == 0 {
			t.Fatalf("%d octets in memory", used)
		}
	}
	for i, id := range ids {
		if got, err := contentOf(q, id); err != nil || !bytes.Equal(got, body(fmt.Sprint(i), 500)) {
			t.Errorf("message %d: %v", i, err)
		}
		// Deferred: from now on the disk knows better.
		s := relay.Settlement{ID: id, Next: relay.State{Attempts: 1}}
		if err := settle(q, s); err != nil {
			t.Fatal(err)
		}
		if c, err := q.Claim(id, 0); err != nil || c.Delivery.Attempts != 1 {
			t.Errorf("message %d after its settlement: %+v %v", i, c, err)
		}
	}
	if used := q.FileStats().CacheBytes; used != 0 {
		t.Errorf("%d octets stay in memory", used)
	}
}

// Everything at once, for the race detector.
func TestConcurrent(t *testing.T) {
	q := mustOpen(t, small(t.TempDir()))
	entries := make(chan relay.Entry, 10000)
	q.Watch(func(all []relay.Entry) {
		for _, e := range all {
			entries <- e
		}
	})
	const each, producers = 60, 8
	var all, settled sync.WaitGroup
	settled.Add(each * producers)
	for p := range producers {
		all.Go(func() {
			for i := range each {
				if _, err := put(q, body(fmt.Sprint(p, i), 100+i*40), "a@example.org"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 {
		go func() {
			for e := range entries {
				c, err := q.Claim(e.ID, e.Job)
				if err != nil {
					t.Error(err)
					continue
				}
				c.Content.Close()
				q.Settle(relayed(e.ID, e.Job, 0), func(error) { settled.Done() })
			}
		}()
	}
	all.Go(func() {
		for range 3 {
			for _, err := range q.Items(context.Background(), relay.QueueID{}) {
				if err != nil && !errors.Is(err, relay.ErrCorrupt) {
					t.Error(err)
				}
			}
			q.Stats()
			q.Room()
			if err := q.Compact(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	all.Wait()
	settled.Wait()
	close(entries)
	sound(t, q)
	if s := q.Stats(); s.Messages != 0 || s.Deliveries != 0 {
		t.Errorf("%+v", s)
	}
}

// What root makes offline belongs to the owner of the data directory, who has to
// open it.
func TestRootLeavesFilesOfTheOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner = 4321
	dir := t.TempDir()
	if err := os.Chown(dir, owner, owner); err != nil {
		t.Fatal(err)
	}
	q := mustOpen(t, small(dir))
	mustPut(t, q, body("x", 300), "a@example.org")
	look := func() {
		t.Helper()
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Sys().(*syscall.Stat_t).Uid != owner {
				t.Errorf("%s: %+v %v", e.Name(), info.Sys(), err)
			}
		}
	}
	look()
	if err := q.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	look()
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	look()
}

// A backup holds the events that wait for programs, with their IDs, and what stands beside
// the queue; what is not there is no fault.
func TestBackupOfEvents(t *testing.T) {
	opt := small(t.TempDir())
	opt.Beside = []string{"webhooks", "list", "missing"}
	q := mustOpen(t, opt)
	q.Outbox().SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
	for i := range 300 {
		if err := settle(q, relay.Settlement{Events: []relay.Event{{Kind: relay.EventBounced, Time: time.Now(), Attempt: i}}}); err != nil {
			t.Fatal(err)
		}
	}
	beside := map[string]string{"webhooks/crm.json": `{"next": 7}`, "list": "who gets no mail"}
	for name, text := range beside {
		path := filepath.Join(opt.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	ids := func(q *boltstore.Store) (all []string) {
		for e, err := range q.Outbox().Events(0) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, fmt.Sprint(e.ID, " ", e.Attempt))
		}
		return all
	}
	var archive bytes.Buffer
	if err := q.Backup(t.Context(), &archive); err != nil {
		t.Fatal(err)
	}
	want := ids(q)
	dir := t.TempDir()
	unpack(t, &archive, dir)
	if got := ids(mustOpen(t, small(dir))); len(want) != 300 || !slices.Equal(got, want) {
		t.Errorf("%d events of %d are in the copy", len(got), len(want))
	}
	for name, text := range beside {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != text {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
}
