package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

const block = 4096 // where records of the journal begin

// crashed is the directory of a queue that was killed with n messages, the
// first of them checkpointed, each of the others a record of the journal. Time
// stands still meanwhile, so that no checkpoint comes in between.
func crashed(t *testing.T, n int) (dir string, ids []relay.QueueID) {
	dir = filepath.Join(t.TempDir(), "crashed")
	synctest.Test(t, func(t *testing.T) {
		opt := small(t.TempDir())
		opt.Journal = 1 << 20
		q := mustOpen(t, opt)
		for i := range n {
			ids = append(ids, mustPut(t, q, numbered(i), "a@example.org", "b@example.com"))
			if i == 0 {
				q.Checkpoint()
			}
		}
		if got := q.FileStats().JournalBytes; got < int64(n-1)*block {
			t.Fatalf("%d octets in the journal", got)
		}
		if err := copyDir(opt.Dir, dir); err != nil {
			t.Fatal(err)
		}
	})
	return dir, ids
}

func numbered(i int) []byte { return body(fmt.Sprint("message ", i), []int{100, 900, 3000}[i%3]) }

// journalOf changes the journal of dir.
func journalOf(t *testing.T, dir string, f func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, "queue.journal")
	b, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, f(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// has says which of the messages a queue shows, with their content.
func has(t *testing.T, q *boltstore.Store, ids []relay.QueueID) (n int) {
	t.Helper()
	for i, id := range ids {
		got, err := contentOf(q, id)
		if err == nil && !bytes.Equal(got, numbered(i)) {
			t.Errorf("message %d differs", i)
		}
		if err == nil {
			n++
		}
	}
	return n
}

// What was acknowledged and not yet in queue.db comes back at the next start,
// and is verified before it.
func TestReplay(t *testing.T) {
	dir, ids := crashed(t, 6)
	before, _ := os.ReadFile(filepath.Join(dir, "queue.db"))
	r, err := boltstore.VerifyDir(context.Background(), dir, nil)
	if err != nil || len(r.Problems) > 0 || r.Messages != 6 || r.Deliveries != 12 {
		t.Errorf("offline: %v %+v", err, r)
	}
	if after, _ := os.ReadFile(filepath.Join(dir, "queue.db")); !bytes.Equal(before, after) {
		t.Error("the verification changed the file")
	}
	q := mustOpen(t, small(dir))
	sound(t, q)
	if st := q.Stats(); has(t, q, ids) != 6 || st.Messages != 6 || st.Deliveries != 12 {
		t.Errorf("%d messages are there, %+v", has(t, q, ids), st)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "queue.journal")); err == nil {
		t.Error("an orderly end left a journal")
	}
}

// The record that a crash tore was acknowledged to nobody: it is left out, and
// all before it is there. Where one behind it is whole it was torn by something
// else, and what it held was acknowledged: refused.
func TestDamagedRecord(t *testing.T) {
	dir, ids := crashed(t, 6)
	for at := 1; at <= 5; at++ {
		for _, off := range []int{0, 5, 30, 39, 60, 200, 4095} {
			copied := copyOf(t, dir)
			var where int
			journalOf(t, copied, func(b []byte) []byte {
				for n, p := 0, block; p < len(b); p += block {
					if binary.BigEndian.Uint32(b[p:]) == 0x64774A52 {
						if n++; n == at {
							where = p
						}
					}
				}
				b[where+off] ^= 0x10
				return b
			})
			if at < 5 {
				refused(t, copied, queue.ErrDamaged, fmt.Sprintf("record %d of", at), "is whole", "nothing was changed")
				if r, err := boltstore.VerifyDir(context.Background(), copied, nil); err != nil || len(r.Problems) == 0 {
					t.Errorf("verify: %v %v", err, r.Problems)
				}
				continue
			}
			q := mustOpen(t, small(copied))
			sound(t, q)
			if n := has(t, q, ids); n != 5 {
				t.Errorf("octet %d: %d messages are there", off, n)
			}
		}
	}
}

// The head of a record proves that the one in front of it was acknowledged, also
// where a crash tore the rest of it.
func TestDamagedBeforeTorn(t *testing.T) {
	dir, _ := crashed(t, 6)
	journalOf(t, dir, func(b []byte) []byte {
		var heads []int
		for p := block; p < len(b); p += block {
			if binary.BigEndian.Uint32(b[p:]) == 0x64774A52 {
				heads = append(heads, p)
			}
		}
		b[heads[3]+5] ^= 0x10
		b[heads[4]+block-1] ^= 0x10
		return b
	})
	refused(t, dir, queue.ErrDamaged, "record 4 of", "record 5 behind it was begun", "nothing was changed")
}

// A record that the end of the file cuts is told of like any other that is torn: by
// verify, which does not call it damage, and in the log.
func TestCutJournal(t *testing.T) {
	dir, ids := crashed(t, 2)
	if err := os.Truncate(filepath.Join(dir, "queue.journal"), block+100); err != nil {
		t.Fatal(err)
	}
	report, err := boltstore.VerifyDir(context.Background(), dir, nil)
	if err != nil || len(report.Problems) > 0 || !strings.Contains(strings.Join(report.Notes, "\n"), "the last record of the journal is not whole (record 1 of") {
		t.Errorf("verify: %v, %+v", err, report)
	}
	var log bytes.Buffer
	opt := small(dir)
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	q := mustOpen(t, opt)
	if n := has(t, q, ids); n != 1 {
		t.Errorf("%d messages are there", n)
	}
	q.Close()
	if !strings.Contains(log.String(), "record of the journal is not whole") {
		t.Errorf("the log does not say that a record was left out:\n%s", &log)
	}
}

// Whatever was acknowledged can be read back, however long its record is.
func TestLongestRecord(t *testing.T) {
	opt := small(memoryDir(t))
	opt.InlineLimit, opt.Journal = 4<<20, 5<<20 // a record has at most 5 << 18 octets then
	copied := filepath.Join(memoryDir(t), "copied")
	synctest.Test(t, func(t *testing.T) {
		q := mustOpen(t, opt)
		direct := 0
		for size := 5<<18 - 400; size <= 5<<18+20; size += 15 {
			before := q.JournalWritten()
			id := mustPut(t, q, body("x", size), "a@example.org")
			if q.JournalWritten() == before {
				direct++
			}
			os.RemoveAll(copied)
			if err := copyDir(opt.Dir, copied); err != nil {
				t.Fatal(err)
			}
			crash := mustOpen(t, opt2(opt, copied))
			if got, err := contentOf(crash, id); err != nil || !bytes.Equal(got, body("x", size)) {
				t.Fatalf("%d octets: %v", size, err)
			}
			if err := errors.Join(crash.Close(), settle(q, relayed(id, 0, 0))); err != nil {
				t.Fatal(err)
			}
		}
		if direct == 0 {
			t.Error("all of them were journaled")
		}
	})
}

func opt2(opt boltstore.Options, dir string) boltstore.Options { opt.Dir = dir; return opt }

// Files that do not belong together are never made one: neither is replayed,
// neither is changed.
func TestForeignJournal(t *testing.T) {
	dir, ids := crashed(t, 4)
	other, _ := crashed(t, 4)
	journal := func(dir string) string { return filepath.Join(dir, "queue.journal") }
	move := func(from, to string) {
		t.Helper()
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Run("gone", func(t *testing.T) {
		dir := copyOf(t, dir)
		os.Remove(journal(dir))
		refused(t, dir, queue.ErrDamaged, "queue.journal is missing or empty", "nothing was changed")
		if r, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil || len(r.Problems) == 0 {
			t.Errorf("verify: %v %v", err, r.Problems)
		}
	})
	t.Run("empty", func(t *testing.T) {
		dir := copyOf(t, dir)
		os.Truncate(journal(dir), 0)
		refused(t, dir, queue.ErrDamaged, "queue.journal is missing or empty")
	})
	t.Run("of another queue", func(t *testing.T) {
		dir := copyOf(t, dir)
		move(journal(other), journal(dir))
		refused(t, dir, queue.ErrDamaged, "newer than queue.db beside it, or belongs to another queue")
	})
	t.Run("an older queue.db", func(t *testing.T) {
		dir, old := copyOf(t, dir), copyOf(t, dir)
		synctest.Test(t, func(t *testing.T) {
			opt := small(dir)
			opt.Journal = 1 << 20
			q := mustOpen(t, opt)
			mustPut(t, q, body("new", 100), "a@example.org")
			move(journal(dir), journal(old))
		})
		refused(t, old, queue.ErrDamaged, "newer than queue.db beside it")
	})
	t.Run("an older one than queue.db counts on", func(t *testing.T) {
		live, killed := copyOf(t, dir), filepath.Join(t.TempDir(), "killed")
		synctest.Test(t, func(t *testing.T) {
			opt := small(live)
			opt.Journal = 1 << 20
			q := mustOpen(t, opt)
			for range 2 {
				mustPut(t, q, body("new", 100), "a@example.org")
				q.Checkpoint()
			}
			mustPut(t, q, body("last", 100), "a@example.org")
			if err := copyDir(live, killed); err != nil {
				t.Fatal(err)
			}
		})
		whole := copyOf(t, killed)
		move(journal(dir), journal(killed))
		refused(t, killed, queue.ErrDamaged, "is older than queue.db beside it")
		if st := mustOpen(t, small(whole)).Stats(); st.Messages != 7 {
			t.Errorf("%+v", st)
		}
	})
	t.Run("of an earlier state", func(t *testing.T) {
		dir, old := copyOf(t, dir), copyOf(t, dir)
		if err := mustOpen(t, small(dir)).Close(); err != nil {
			t.Fatal(err)
		}
		move(journal(old), journal(dir)) // it is in queue.db already
		q := mustOpen(t, small(dir))
		sound(t, q)
		if has(t, q, ids) != 4 {
			t.Error("messages are missing")
		}
	})
	t.Run("of another queue, beside one that was closed", func(t *testing.T) {
		closed := t.TempDir()
		q := mustOpen(t, small(closed))
		for range 30 { // its numbers are higher
			mustPut(t, q, body("x", 100), "a@example.org")
			q.Checkpoint()
		}
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		move(journal(other), journal(closed))
		refused(t, closed, queue.ErrDamaged, "belongs to another queue", "move it away")
		if r, err := boltstore.VerifyDir(context.Background(), closed, nil); err != nil || len(r.Problems) == 0 {
			t.Errorf("verify: %v %v", err, r.Problems)
		}
	})
	t.Run("without queue.db", func(t *testing.T) {
		dir := copyOf(t, dir)
		os.Remove(filepath.Join(dir, "queue.db"))
		os.RemoveAll(filepath.Join(dir, "spool"))
		refused(t, dir, queue.ErrDamaged, "is missing, but queue.journal beside it")
	})
	t.Run("beside a restored backup", func(t *testing.T) {
		opt := small(t.TempDir())
		q := mustOpen(t, opt)
		kept := mustPut(t, q, body("kept", 100), "a@example.org")
		var archive bytes.Buffer
		if err := q.Backup(context.Background(), &archive); err != nil {
			t.Fatal(err)
		}
		mustPut(t, q, body("later", 100), "a@example.org") // a commit: the copy needs no journal, the queue does again
		mustPut(t, q, body("later", 100), "a@example.org")
		empty, used := t.TempDir(), t.TempDir()
		backup := archive.Bytes()
		unpack(t, bytes.NewReader(backup), empty)
		unpack(t, bytes.NewReader(backup), used)
		move(journal(opt.Dir), journal(used))
		refused(t, used, queue.ErrDamaged, "newer than queue.db beside it")
		restored := mustOpen(t, small(empty))
		sound(t, restored)
		if _, err := contentOf(restored, kept); err != nil {
			t.Error(err)
		}
	})
}

// A queue of an older layout is taken over; what has a journal and a bucket
// digest is of layout 3, so that an older dawk refuses it and does not lose what
// is in there.
func TestOlderLayout(t *testing.T) {
	for _, from := range []byte{1, 2} {
		t.Run(fmt.Sprint(from), func(t *testing.T) { testOlderLayout(t, from) })
	}
}

func testOlderLayout(t *testing.T, from byte) {
	dir, ids := filled(t, 5)
	edit(t, dir, func(tx *bolt.Tx) error {
		sys := tx.Bucket([]byte("sys"))
		if n := binary.BigEndian.Uint32(sys.Get([]byte("schema"))); n != 3 {
			t.Errorf("layout %d", n)
		}
		if from == 1 {
			sys.Delete([]byte("journal"))
		}
		return errors.Join(tx.DeleteBucket([]byte("digest")), sys.Put([]byte("schema"), []byte{0, 0, 0, from}))
	})
	if r, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil || len(r.Problems) > 0 {
		t.Errorf("verified before it is taken over: %v %v", err, r.Problems)
	}
	q := mustOpen(t, small(dir))
	if has(t, q, ids) != 5 {
		t.Error("messages are missing")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, dir, func(tx *bolt.Tx) error {
		if n := binary.BigEndian.Uint32(tx.Bucket([]byte("sys")).Get([]byte("schema"))); n != 3 {
			t.Errorf("layout %d", n)
		}
		return nil
	})
}

// After a failed sync the journal goes into the file that is written anew.
func TestReplayAfterFailedSync(t *testing.T) {
	dir, ids := crashed(t, 5)
	if err := os.WriteFile(filepath.Join(dir, "suspect"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	failed := copyOf(t, dir)
	opt := small(failed)
	opt.Hook = func(point string) error {
		if point == "compact.copied" {
			return syscall.EIO
		}
		return nil
	}
	if _, err := boltstore.Open(opt); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
	for _, dir := range []string{dir, failed} {
		q := mustOpen(t, small(dir))
		sound(t, q)
		if n := has(t, q, ids); n != 5 {
			t.Errorf("%d messages are there", n)
		}
	}
}

// Written anew, the queue says and knows of its journal what it does otherwise.
func TestJournalOfRewrittenQueue(t *testing.T) {
	root := t.TempDir()
	early, killed := filepath.Join(root, "early"), filepath.Join(root, "killed")
	suspect := func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, "suspect"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		live, late := filepath.Join(root, "live"), filepath.Join(root, "late")
		q := mustOpen(t, small(live))
		for _, dir := range []string{early, late} {
			mustPut(t, q, body("x", 100), "a@example.org")
			if err := copyDir(live, dir); err != nil {
				t.Fatal(err)
			}
			q.Checkpoint()
		}
		suspect(late)
		q = mustOpen(t, small(late))
		mustPut(t, q, body("last", 100), "a@example.org")
		if err := copyDir(late, killed); err != nil {
			t.Fatal(err)
		}
	})
	if err := os.Rename(filepath.Join(early, "queue.journal"), filepath.Join(killed, "queue.journal")); err != nil {
		t.Fatal(err)
	}
	refused(t, killed, queue.ErrDamaged, "is older than queue.db beside it")

	torn, _ := crashed(t, 2)
	suspect(torn)
	journalOf(t, torn, func(b []byte) []byte { b[2*block-1] ^= 0x10; return b })
	var log bytes.Buffer
	opt := small(torn)
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	mustOpen(t, opt).Close()
	if !strings.Contains(log.String(), "record of the journal is not whole") {
		t.Errorf("the log does not say that a record was left out:\n%s", &log)
	}
}

// A journal that finds no room to grow is no reason to refuse mail: the group
// goes into queue.db at once.
func TestFullJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook = f.hook
		q := mustOpen(t, opt)
		mustPut(t, q, body("before", 300), "a@example.org")
		f.set("journal", full("write"))
		before := q.FileStats()
		id := mustPut(t, q, body("during", 300), "a@example.org")
		if st := q.FileStats(); st.Checkpoints != before.Checkpoints+1 || st.JournalBytes != 0 {
			t.Errorf("%+v, before %+v", st, before)
		}
		f.set("journal", nil)
		mustPut(t, q, body("after", 300), "a@example.org")
		if q.DropCache(); q.FileStats().JournalBytes == 0 {
			t.Error("nothing goes into the journal any more")
		}
		if _, err := contentOf(q, id); err != nil {
			t.Error(err)
		}
		sound(t, q)
	})
}

// A checkpoint that finds no room leaves everything in the journal, where it can
// be read, and is lost by no crash. New mail is refused, settlements go on. When
// there is room again, so does all.
func TestFullCheckpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook = f.hook
		q := mustOpen(t, opt)
		var ids []relay.QueueID
		for i := range 4 {
			ids = append(ids, mustPut(t, q, numbered(i), "a@example.org"))
		}
		f.set("checkpoint", full("write"))
		time.Sleep(time.Second) // of the bubble's clock
		synctest.Wait()
		wantErr(t, q.Room(), relay.ErrNoSpace)
		q.DropCache()
		if has(t, q, ids) != 4 {
			t.Error("messages cannot be read")
		}
		n := 0
		for _, err := range q.Items(context.Background(), relay.QueueID{}) {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		for _, err := range q.Entries() {
			if err != nil {
				t.Error(err)
			}
			n++
		}
		if n != 8 {
			t.Errorf("%d messages and Deliveries are listed", n)
		}
		if err := settle(q, relayed(ids[3], 0, 0)); err != nil {
			t.Error(err)
		}
		copied := filepath.Join(t.TempDir(), "copied")
		if err := copyDir(opt.Dir, copied); err != nil {
			t.Fatal(err)
		}
		crash := mustOpen(t, small(copied))
		sound(t, crash)
		if has(t, crash, ids) != 3 {
			t.Error("after a crash messages are missing, or too many")
		}
		q.LookAtSpace()
		_, err := put(q, body("x", 300), "a@example.org")
		wantErr(t, err, relay.ErrNoSpace)
		f.set("checkpoint", nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		mustPut(t, q, body("x", 300), "a@example.org")
		sound(t, q)
		if has(t, q, ids) != 3 {
			t.Error("messages are missing, or too many")
		}
	})
}

// A start that finds the disk full goes on with what the journal has; the first one of a queue
// says what to do.
func TestFullStart(t *testing.T) {
	t.Run("the first one", func(t *testing.T) {
		tmpfs := queuetest.Disk(t, "tmpfs", 40)
		opt := small(filepath.Join(tmpfs, "data"))
		if err := os.Mkdir(opt.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
		foreign := filepath.Join(tmpfs, "foreign")
		fillDisk(t, foreign)
		if _, err := boltstore.Open(opt); err == nil || !strings.Contains(err.Error(), "make room on the file system of "+opt.Dir) {
			t.Errorf("%v", err)
		}
		os.Remove(foreign)
		mustPut(t, mustOpen(t, opt), body("x", 300), "a@example.org")
	})
	dir, ids := crashed(t, 5)
	synctest.Test(t, func(t *testing.T) {
		tmpfs := queuetest.Disk(t, "tmpfs", 40)
		opt := small(filepath.Join(tmpfs, "data"))
		if err := copyDir(dir, opt.Dir); err != nil {
			t.Fatal(err)
		}
		// The file has no free pages, and none can be had.
		opt.MaxSize = 20 << 20
		path := filepath.Join(opt.Dir, "queue.db")
		if err := os.Truncate(path, 1<<20); err != nil {
			t.Fatal(err)
		}
		fillDisk(t, filepath.Join(tmpfs, "foreign"))
		q := mustOpen(t, opt)
		if n := has(t, q, ids); n != 5 {
			t.Errorf("%d messages are there", n)
		}
		for i, id := range ids[:4] {
			for job := range uint16(2) {
				if err := settle(q, relayed(id, job, int(job))); err != nil {
					t.Errorf("settling message %d: %v", i, err)
				}
			}
		}
		os.Remove(filepath.Join(tmpfs, "foreign"))
		time.Sleep(time.Minute)
		synctest.Wait()
		sound(t, q)
		if n := has(t, q, ids); n != 1 {
			t.Errorf("%d messages are there", n)
		}
	})
}

// A checkpoint that fails leaves a queue that is not trusted, and loses nothing.
func TestFailedCheckpoint(t *testing.T) {
	for _, point := range []string{"checkpoint", "checkpointed"} {
		t.Run(point, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var f faults
				fatal := make(chan error, 1)
				opt := small(t.TempDir())
				opt.Hook, opt.Fatal = f.hook, func(err error) { fatal <- err }
				q := mustOpen(t, opt)
				var ids []relay.QueueID
				for i := range 3 {
					ids = append(ids, mustPut(t, q, numbered(i), "a@example.org"))
				}
				f.set(point, syscall.EIO)
				wantErr(t, <-fatal, syscall.EIO)
				_, err := q.NewDraft()
				wantErr(t, err, relay.ErrClosed)
				for _, err := range q.Items(context.Background(), relay.QueueID{}) {
					wantErr(t, err, relay.ErrClosed)
				}
				q.Close()
				if _, err := os.Stat(filepath.Join(opt.Dir, "suspect")); err != nil {
					t.Error("no mark was left")
				}
				q = mustOpen(t, small(opt.Dir))
				sound(t, q)
				if n := has(t, q, ids); n != 3 {
					t.Errorf("%d messages are there", n)
				}
			})
		})
	}
}

// A message is read as it is, wherever it is, by everybody.
func TestReadsSeeTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := small(t.TempDir())
		opt.Cache = -1
		q := mustOpen(t, opt)
		id := mustPut(t, q, body("x", 300), "a@example.org", "b@example.com")
		check := func(attempts int) {
			t.Helper()
			item, err := q.Item(id)
			if err != nil || item.Deliveries[1].Attempts != attempts || len(item.Attempts[1]) != attempts {
				t.Errorf("item: %+v %v", item, err)
			}
			c, err := q.Claim(id, 1)
			if err != nil || c.Delivery.Attempts != attempts {
				t.Errorf("claim: %+v %v", c, err)
			}
			if _, err := q.Content(id); err != nil {
				t.Error(err)
			}
		}
		for n := range 4 {
			check(n)
			if n == 2 {
				q.Checkpoint()
				check(n)
			}
			s := relay.Settlement{ID: id, Job: 1, Next: relay.State{Attempts: n + 1}, Attempt: &relay.Attempt{N: n + 1, At: time.Now()}}
			if err := settle(q, s); err != nil {
				t.Fatal(err)
			}
		}
		for job := range uint16(2) {
			if err := settle(q, relayed(id, job, int(job))); err != nil {
				t.Fatal(err)
			}
		}
		_, err := q.Item(id)
		wantErr(t, err, relay.ErrNotFound)
		_, err = q.Claim(id, 0)
		wantErr(t, err, relay.ErrNotFound)
		_, err = q.Content(id)
		wantErr(t, err, relay.ErrNotFound)
	})
}

// An idle queue is all in queue.db; what was delivered at once never was in it.
func TestCheckpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opt := small(t.TempDir())
		opt.Journal = 1 << 20
		q := mustOpen(t, opt)
		began := q.FileStats().Checkpoints
		for range 20 {
			id := mustPut(t, q, body("x", 300), "a@example.org")
			settled := make(chan error, 1)
			q.Settle(relayed(id, 0, 0), func(err error) { settled <- err })
			if err := <-settled; err != nil { // 10 ms
				t.Fatal(err)
			}
		}
		if n := q.FileStats().Checkpoints - began; n != 0 {
			t.Errorf("%d checkpoints in a fifth of a second", n)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if st := q.FileStats(); st.JournalBytes != 0 || st.Checkpoints-began != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := q.FileStats().Checkpoints - began; n != 1 {
			t.Errorf("%d checkpoints of an idle queue", n)
		}
	})
}

// A start that is killed anywhere in its replay begins it again.
func TestKilledReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	for _, points := range [][]string{{"journaled", "replayed"}, {"checkpoint", "replayed"}, {"journal", "replayed"}} {
		t.Run(strings.Join(points, " "), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			p := runChild(t, dir, points[0], 7, -1)
			for range 2 {
				runChild(t, dir, points[1], 1, -1)
			}
			p.kept(t, dir)
		})
	}
}
