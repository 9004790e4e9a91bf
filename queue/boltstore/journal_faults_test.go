package boltstore_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
	"dawk/relay/durable"
)

// Mail that came before the last checkpoint and left after it: the replay
// empties every page of the tables, which bbolt's cursors do not all survive.
func TestReplayDrainsTheQueue(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "crashed")
	var last relay.QueueID
	synctest.Test(t, func(t *testing.T) {
		opt := small(t.TempDir())
		opt.Journal, opt.Cache = 16<<20, -1
		q := mustOpen(t, opt)
		var ids []relay.QueueID
		for i := range 300 {
			ids = append(ids, mustPut(t, q, numbered(i), "a@example.org"))
		}
		q.Checkpoint()
		for _, id := range ids {
			q.Settle(relayed(id, 0, 0), func(err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(20 * time.Millisecond) // the settlements' own time
		synctest.Wait()
		if st := q.Stats(); st.Messages != 0 || q.FileStats().JournalBytes == 0 {
			t.Fatalf("%+v", st)
		}
		last = ids[len(ids)-1]
		if err := copyDir(opt.Dir, dir); err != nil {
			t.Fatal(err)
		}
	})
	q := mustOpen(t, small(dir))
	sound(t, q)
	if n := q.Stats().Messages; n != 0 || q.NextID().Key <= last.Key {
		t.Errorf("%d messages are there; %v after %v", n, q.NextID(), last)
	}
}

// What the disk does not give is not what a crash tore.
func TestUnreadableJournal(t *testing.T) {
	dir, ids := crashed(t, 4)
	for _, suspect := range []bool{false, true} {
		failing := copyOf(t, dir)
		if suspect {
			if err := os.WriteFile(filepath.Join(failing, "suspect"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.ReadFile(filepath.Join(failing, "queue.db"))
		for nth := 1; ; nth++ {
			opt, n := small(failing), 0
			opt.Hook = func(point string) error {
				if point == "journal.read" {
					if n++; n == nth {
						return syscall.EIO
					}
				}
				return nil
			}
			q, err := boltstore.Open(opt)
			if err == nil && n < nth { // all reads were tried
				q.Close()
				break
			}
			wantErr(t, err, syscall.EIO, "the queue's journal cannot be read")
			if after, _ := os.ReadFile(filepath.Join(failing, "queue.db")); !suspect && !bytes.Equal(before, after) {
				t.Fatal("the file was changed")
			}
		}
		q := mustOpen(t, small(failing))
		sound(t, q)
		if n := has(t, q, ids); n != 4 {
			t.Errorf("%d messages are there", n)
		}
	}
}

// A refusal names a way on for those to whom queue.db, with all that waits in it,
// is worth more than the last moments; and it is a way.
func TestOnWithoutTheJournal(t *testing.T) {
	dir, ids := crashed(t, 6)
	t.Run("cut", func(t *testing.T) {
		dir := copyOf(t, dir)
		journalOf(t, dir, func(b []byte) []byte { b[3*block+100] ^= 1; return b }) // block 1 is record 1
		_, err := boltstore.Open(small(dir))
		wantErr(t, err, queue.ErrDamaged)
		found := regexp.MustCompile("`truncate -s ([0-9]+) (.*?)`").FindStringSubmatch(err.Error())
		if found == nil {
			t.Fatal(err)
		}
		size, _ := strconv.ParseInt(found[1], 10, 64)
		if err := os.Truncate(found[2], size); err != nil {
			t.Fatal(err)
		}
		q := mustOpen(t, small(dir))
		sound(t, q)
		if n := has(t, q, ids); n != 3 { // the one that was checkpointed, and two records
			t.Errorf("%d messages are there", n)
		}
	})
	t.Run("anew", func(t *testing.T) {
		dir := copyOf(t, dir)
		path := filepath.Join(dir, "queue.journal")
		os.Remove(path)
		_, err := boltstore.Open(small(dir))
		wantErr(t, err, queue.ErrDamaged, `"dawk queue journal 2"`)
		if err := os.WriteFile(path, []byte("dawk queue journal 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		q := mustOpen(t, small(dir))
		sound(t, q)
		if n := has(t, q, ids); n != 1 {
			t.Errorf("%d messages are there", n)
		}
	})
}

// A start on a full disk cannot bring queue.db up to date: what the journal says
// of a message is what everybody sees all the same.
func TestFullStartShowsTheNewest(t *testing.T) {
	var ids []relay.QueueID
	dir := filepath.Join(t.TempDir(), "crashed")
	synctest.Test(t, func(t *testing.T) {
		opt := small(t.TempDir())
		opt.Journal, opt.InlineLimit = 16<<20, 64<<10
		q := mustOpen(t, opt)
		for range 3 {
			ids = append(ids, mustPut(t, q, body("old", 300), "a@example.org", "b@example.com"))
		}
		q.Checkpoint()
		for range 40 { // more than the free pages hold
			ids = append(ids, mustPut(t, q, body("new", 60<<10), "a@example.org"))
		}
		if err := settle(q, relayed(ids[0], 1, 1)); err != nil {
			t.Fatal(err)
		}
		for job := range uint16(2) {
			if err := settle(q, relayed(ids[1], job, int(job))); err != nil {
				t.Fatal(err)
			}
		}
		if err := copyDir(opt.Dir, dir); err != nil {
			t.Fatal(err)
		}
	})
	opt := small(dir)
	opt.InlineLimit = 64 << 10
	path := filepath.Join(dir, "queue.db")
	if err := os.Truncate(path, 256<<10); err != nil {
		t.Fatal(err)
	}
	opt.MaxSize = 256 << 10
	check := func(q *boltstore.Store) {
		t.Helper()
		if c, err := q.Claim(ids[3], 0); err != nil {
			t.Errorf("new mail: %v", err)
		} else {
			c.Content.Close()
		}
		_, err := q.Claim(ids[0], 1)
		wantErr(t, err, relay.ErrNotFound)
		_, err = q.Claim(ids[1], 0)
		wantErr(t, err, relay.ErrNotFound)
		if _, err := q.Claim(ids[0], 0); err != nil {
			t.Error(err)
		}
		n := 0
		for _, err := range q.Entries() {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 1+2+40 {
			t.Errorf("%d Deliveries are listed", n)
		}
	}
	for range 2 { // an orderly end in between, which finds no room either
		q, err := boltstore.Open(opt)
		if err != nil {
			t.Fatal(err)
		}
		if q.FileStats().JournalBytes == 0 {
			t.Fatal("there was room")
		}
		check(q)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
	}
	q := mustOpen(t, opt)
	if err := settle(q, relayed(ids[0], 0, 0)); err != nil {
		t.Error(err)
	}
	if err := settle(q, relayed(ids[3], 0, 0)); err != nil {
		t.Error(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	opt.MaxSize = 0
	q = mustOpen(t, opt)
	sound(t, q)
	if st := q.Stats(); st.Messages != 40 || st.Deliveries != 2+39 {
		t.Errorf("%+v", st)
	}
}

// A start that finds no room for a journal, of which nothing is left after an
// orderly end, does without.
func TestNoRoomForTheJournal(t *testing.T) {
	for _, op := range []string{"write", "fdatasync"} {
		dir, ids := filled(t, 5)
		opt := small(dir)
		opt.Hook = func(point string) error {
			if point == "journal.title" {
				return full(op)
			}
			return nil
		}
		for range 2 {
			q := mustOpen(t, opt)
			mustPut(t, q, body("x", 300), "a@example.org")
			if st := q.FileStats(); st.JournalBytes != 0 {
				t.Errorf("%+v", st)
			}
			if n := has(t, q, ids); n != 5 {
				t.Errorf("%d messages are there", n)
			}
			copied := copyOf(t, dir)
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			sound(t, mustOpen(t, small(copied)))
		}
	}
}

// On a full disk a start with records in the journal makes them durable, though there is
// no room for its title. Where that sync fails, for whatever reason, they may be lost: the
// start is refused, and the next one finds them.
func TestNoRoomForTheTitle(t *testing.T) {
	dir, ids := crashed(t, 6)
	for _, syncs := range []bool{true, false} {
		var f faults
		synced := 0
		opt := small(copyOf(t, dir))
		opt.Hook = func(point string) error {
			if point == "journal.sync" {
				synced++
			}
			return f.hook(point)
		}
		f.set("journal.title", full("write"))
		if !syncs {
			f.set("journal.sync", full("fdatasync"))
			_, err := boltstore.Open(opt)
			wantErr(t, err, durable.ErrUnsynced)
			f.set("journal.sync", nil)
		}
		q := mustOpen(t, opt)
		if n := has(t, q, ids); n != 6 || synced == 0 {
			t.Errorf("%d messages are there, after %d syncs", n, synced)
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	}
}

// When what is durable cannot be had back after a group that failed, nothing
// goes on, least of all a checkpoint of half of it.
func TestJournalCannotBeReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook, opt.Journal, opt.Cache = f.hook, 1<<20, -1
		q := mustOpen(t, opt)
		var ids []relay.QueueID
		for i := range 3 {
			ids = append(ids, mustPut(t, q, numbered(i), "a@example.org"))
		}
		f.set("commit", full("write"))
		_, err := put(q, body("refused", 300), "a@example.org")
		wantErr(t, err, relay.ErrNoSpace)
		f.set("commit", nil)
		f.set("journal.read", syscall.EIO)
		_, err = q.Claim(ids[1], 0)
		wantErr(t, err, relay.ErrClosed)
		f.set("journal.read", nil)
		wantErr(t, q.Room(), relay.ErrClosed)
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(opt.Dir, "suspect")); err != nil {
			t.Error("no mark was left")
		}
		q = mustOpen(t, small(opt.Dir))
		sound(t, q)
		if n := has(t, q, ids); n != 3 {
			t.Errorf("%d messages are there", n)
		}
	})
}

// Hundreds of messages come and go in one open transaction, whose pages empty
// and fill, and what it shows, and a replay on top of the pages that it began
// with, is what a list says.
func TestLongTransaction(t *testing.T) {
	rng := luck(t, 5)
	base := memoryDir(t)
	copied, there := filepath.Join(base, "copied"), map[relay.QueueID]int{} // → attempts
	synctest.Test(t, func(t *testing.T) {
		opt := small(filepath.Join(base, "data"))
		opt.Journal, opt.Cache = 64<<20, -1
		q := mustOpen(t, opt)
		var ids []relay.QueueID
		add := func() {
			id := mustPut(t, q, numbered(rng.IntN(3)), "a@example.org", "b@example.com")
			ids, there[id] = append(ids, id), 0
		}
		for range 150 {
			add()
		}
		q.Checkpoint()
		began := q.FileStats().Checkpoints
		var waiting []relay.Settlement
		flush := func() {
			for _, s := range waiting {
				q.Settle(s, func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
			waiting = waiting[:0]
			time.Sleep(11 * time.Millisecond) // ten of them are below the time of a checkpoint
			synctest.Wait()
		}
		end := func(i int) {
			id := ids[i]
			ids = slices.Delete(ids, i, i+1)
			delete(there, id)
			waiting = append(waiting, relayed(id, 0, 0), relayed(id, 1, 1))
		}
		defers := func(i int) {
			there[ids[i]]++
			n := there[ids[i]]
			waiting = append(waiting, relay.Settlement{ID: ids[i], Job: 1, Next: relay.State{Attempts: n}, Attempt: &relay.Attempt{N: n, At: time.Now()}})
		}
		for range 9 {
			switch at := rng.IntN(len(ids)); rng.IntN(3) {
			case 0: // a run of neighbours
				for n := min(60, len(ids)-at-1); n > 0; n-- {
					end(at)
				}
			case 1:
				for range 20 {
					end(rng.IntN(len(ids)))
				}
			default:
				for i := range ids {
					if rng.IntN(3) == 0 {
						defers(i)
					}
				}
			}
			for range 20 {
				add()
			}
			flush()
		}
		if q.FileStats().Checkpoints != began {
			t.Fatal("there was a checkpoint")
		}
		if err := copyDir(opt.Dir, copied); err != nil {
			t.Fatal(err)
		}
		shows(t, q, there)
		if q.FileStats().Checkpoints != began {
			t.Error("a look at messages made a checkpoint")
		}
		sound(t, q)
		shows(t, q, there)
	})
	q := mustOpen(t, small(copied))
	sound(t, q)
	shows(t, q, there)
}

// shows compares what a queue says of each message with the list.
func shows(t *testing.T, q *boltstore.Store, there map[relay.QueueID]int) {
	t.Helper()
	if st := q.Stats(); st.Messages != int64(len(there)) || st.Deliveries != 2*int64(len(there)) {
		t.Errorf("%d messages are counted, %d Deliveries; there are %d", st.Messages, st.Deliveries, len(there))
	}
	for id, attempts := range there {
		item, err := q.Item(id)
		if err != nil || len(item.Deliveries) != 2 || item.Deliveries[1].Attempts != attempts || len(item.Attempts[1]) != attempts {
			t.Fatalf("%s after %d attempts: %+v %v", id, attempts, item, err)
		}
	}
}

// A kill at any moment of a real file system that fills up, and a start that
// finds it full: what was acknowledged is there, and is delivered.
func TestKillOnFullDisk(t *testing.T) {
	disk := queuetest.Disk(t, "tmpfs", 40)
	base := memoryDir(t)
	synctest.Test(t, func(t *testing.T) {
		opt := small(filepath.Join(disk, "data"))
		opt.InlineLimit, opt.Journal, opt.Cache = 256<<10, 4<<20, -1
		opt.MinFree = 6 << 20
		opt.Fatal = func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }
		there := map[relay.QueueID]int{}
		var ids []relay.QueueID
		q := mustOpen(t, opt)
		q.LookAtSpace()
		look := func(name string) {
			t.Helper()
			copied := filepath.Join(base, name)
			if err := copyDir(opt.Dir, copied); err != nil {
				t.Fatal(err)
			}
			k := mustOpen(t, small(copied))
			sound(t, k)
			shows(t, k, there)
			if err := k.Close(); err != nil {
				t.Error(err)
			}
			os.RemoveAll(copied)
		}
		for n := 0; ; n++ {
			id, err := put(q, body("x", 200<<10), "a@example.org", "b@example.com")
			if err != nil {
				wantErr(t, err, relay.ErrNoSpace)
				t.Logf("full after %d messages", n)
				break
			}
			ids, there[id] = append(ids, id), 0
			if n%8 == 0 {
				time.Sleep(time.Second) // a checkpoint, and a look at the disk
				synctest.Wait()
			}
		}
		look("filled")
		fillDisk(t, filepath.Join(disk, "foreign"))
		look("foreign")
		time.Sleep(time.Minute)
		synctest.Wait()
		look("later")
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		for round := range 3 {
			q = mustOpen(t, opt)
			shows(t, q, there)
			for i, id := range ids[:20] {
				if i%4 == 0 {
					if err := settle(q, relay.Settlement{ID: ids[20+i], Job: 1, Next: relay.State{Attempts: there[ids[20+i]] + 1},
						Attempt: &relay.Attempt{N: there[ids[20+i]] + 1, At: time.Now()}}); err != nil {
						t.Fatal(err)
					}
					there[ids[20+i]]++
				}
				for job := range uint16(2) {
					if err := settle(q, relayed(id, job, int(job))); err != nil {
						t.Fatal(err)
					}
				}
				delete(there, id)
			}
			ids = ids[20:]
			look(fmt.Sprint("round ", round))
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
		}
		os.Remove(filepath.Join(disk, "foreign"))
		q = mustOpen(t, opt)
		sound(t, q)
		shows(t, q, there)
	})
}

// The directory as a kill leaves it at every point that the queue passes, from
// start to end: each is a queue with all that was acknowledged by then.
func TestKillAtEveryPoint(t *testing.T) {
	base := memoryDir(t)
	type copied struct {
		dir, point string
		there      map[relay.QueueID]bool // false: acknowledged that it is gone
	}
	points := []string{"replayed", "loaded", "journal", "journaled", "checkpoint", "checkpointed", "compact.copied", "compact.renamed", "close"}
	var copies []copied
	there := map[relay.QueueID]bool{}
	synctest.Test(t, func(t *testing.T) {
		opt := small(filepath.Join(base, "data"))
		opt.Cache, opt.Journal = -1, 1<<20
		opt.Hook = func(point string) error {
			if !slices.Contains(points, point) {
				return nil
			}
			c := copied{filepath.Join(base, fmt.Sprint(len(copies))), point, maps.Clone(there)}
			copies = append(copies, c)
			return copyDir(opt.Dir, c.dir)
		}
		for round := range 2 {
			q := mustOpen(t, opt)
			var ids []relay.QueueID
			add := func(n int) {
				for range n {
					id := mustPut(t, q, numbered(len(ids)), "a@example.org")
					ids, there[id] = append(ids, id), true
				}
			}
			end := func(id relay.QueueID) {
				delete(there, id) // until it is acknowledged: either
				if err := settle(q, relayed(id, 0, 0)); err != nil {
					t.Error(err)
				}
				there[id] = false
			}
			add(2)
			end(ids[0])
			q.WaitTasks()
			if err := q.Compact(t.Context()); err != nil {
				t.Error(err)
			}
			add(1)
			end(ids[1])
			if err := q.Backup(t.Context(), new(bytes.Buffer)); err != nil {
				t.Error(err)
			}
			add(2)                  // the first of them is a commit
			time.Sleep(time.Second) // a checkpoint
			synctest.Wait()
			add(1)
			end(ids[2])
			if round == 1 {
				end(ids[3])
			}
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	seen := map[string]int{}
	t.Logf("%d copies", len(copies))
	for _, c := range copies {
		seen[c.point]++
		q, err := boltstore.Open(small(c.dir))
		if err != nil {
			t.Errorf("at %q: %v", c.point, err)
			continue
		}
		sound(t, q)
		for id, want := range c.there {
			if _, err := q.Item(id); (err == nil) != want {
				t.Errorf("at %q: %s should be there: %v; %v", c.point, id, want, err)
			}
		}
		if err := q.Close(); err != nil {
			t.Error(err)
		}
		os.RemoveAll(c.dir)
	}
	for _, point := range points {
		if seen[point] < 2 {
			t.Errorf("%q was passed %d times", point, seen[point])
		}
	}
}

// Whoever it was that found the disk failing: queue.db stays as it is, and what
// it lacks stays in the journal.
func TestNoCheckpointAfterFailedSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook, opt.Journal = f.hook, 1<<20
		q := mustOpen(t, opt)
		ids := []relay.QueueID{mustPut(t, q, numbered(0), "a@example.org"), mustPut(t, q, numbered(1), "a@example.org")}
		path := filepath.Join(opt.Dir, "queue.db")
		before, _ := os.ReadFile(path)
		f.set("draft.sync", syscall.EIO)
		_, err := put(q, body("x", 3000), "a@example.org")
		wantErr(t, err, relay.ErrClosed)
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := q.Close(); err != nil {
			t.Fatal(err)
		}
		if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
			t.Error("queue.db was changed")
		}
		q = mustOpen(t, small(opt.Dir))
		sound(t, q)
		if n := has(t, q, ids); n != 2 {
			t.Errorf("%d messages are there", n)
		}
	})
}

// A message that is full of records, one of them at each place where a block
// may begin, is a message: whoever wrote it did not know the generation.
func TestForgedRecord(t *testing.T) {
	const magic, header, stride = 0x64774A52, 72, 101 // 101 and 4096 have no common divisor
	forged := func(run, number uint64) []byte {
		b := make([]byte, (block+1)*stride+block)
		for p := block * stride; p >= 0; p -= stride { // from behind: each covers those behind it
			binary.BigEndian.PutUint32(b[p:], magic)
			for i, v := range []uint64{run, number, 5, block - header, 1, 0, 0, 0} {
				binary.BigEndian.PutUint64(b[p+8+8*i:], v)
			}
			b[p+header], b[p+header+1] = 0x80|1, 8 // a message is removed
			binary.BigEndian.PutUint32(b[p+4:], crc32.Checksum(b[p+8:p+block], crc32.MakeTable(crc32.Castagnoli)))
		}
		return b
	}
	// The journal's last record holds the message, and its head is torn.
	dirWith := func(content func(q *boltstore.Store, dir string) []byte) (dir string, before relay.QueueID) {
		dir = filepath.Join(t.TempDir(), "crashed")
		synctest.Test(t, func(t *testing.T) {
			opt := small(t.TempDir())
			opt.Journal, opt.InlineLimit = 4<<20, 1<<20
			q := mustOpen(t, opt)
			before = mustPut(t, q, body("before", 300), "a@example.org")
			at := q.FileStats().JournalBytes
			mustPut(t, q, content(q, opt.Dir), "a@example.org")
			if err := copyDir(opt.Dir, dir); err != nil {
				t.Fatal(err)
			}
			journalOf(t, dir, func(b []byte) []byte { b[block+at] ^= 1; return b })
		})
		return dir, before
	}
	for _, run := range []uint64{0, ^uint64(0), 1 << 40} {
		for _, number := range []uint64{0, 1, 2, 1 << 30} {
			dir, before := dirWith(func(*boltstore.Store, string) []byte { return forged(run, number) })
			q := mustOpen(t, small(dir))
			sound(t, q)
			if st := q.Stats(); st.Messages != 1 {
				t.Errorf("%+v", st)
			}
			if _, err := contentOf(q, before); err != nil {
				t.Error(err)
			}
		}
	}
	// That one is looked at is seen with the right generation.
	dir, _ := dirWith(func(_ *boltstore.Store, dir string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "queue.journal"))
		if err != nil {
			t.Fatal(err)
		}
		return forged(binary.BigEndian.Uint64(b[block+8:]), binary.BigEndian.Uint64(b[block+16:]))
	})
	refused(t, dir, queue.ErrDamaged, "is whole")
}

// Who did something sees it, and all after it, whatever goes on beside.
func TestReadsSeeTheirOwnWrites(t *testing.T) {
	opt := small(memoryDir(t))
	opt.Cache, opt.Journal = -1, 32<<10
	q := mustOpen(t, opt)
	var workers, others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			switch n % 4 {
			case 0:
				if err := q.Compact(t.Context()); err != nil && !strings.Contains(err.Error(), "running") {
					t.Error(err)
				}
			case 1:
				if err := q.Backup(t.Context(), new(bytes.Buffer)); err != nil {
					t.Error(err)
				}
			default:
				q.Checkpoint()
			}
		}
	})
	for w := range 4 {
		workers.Go(func() {
			for n := range 12 {
				content := body(fmt.Sprint(w, " ", n), []int{300, 3000}[n%2])
				id, err := put(q, content, "a@example.org", "b@example.com")
				if err != nil {
					t.Error(err)
					return
				}
				for attempt := range 6 {
					item, err := q.Item(id)
					if err != nil || item.Deliveries[1].Attempts != attempt || len(item.Attempts[1]) != attempt {
						t.Errorf("attempt %d of %s: %+v %v", attempt, id, item, err)
						return
					}
					if got, err := contentOf(q, id); err != nil || !bytes.Equal(got, content) {
						t.Errorf("content of %s: %v", id, err)
					}
					s := relay.Settlement{ID: id, Job: 1, Next: relay.State{Attempts: attempt + 1}, Attempt: &relay.Attempt{N: attempt + 1, At: time.Now()}}
					if err := settle(q, s); err != nil {
						t.Error(err)
						return
					}
				}
				for job := range uint16(2) {
					if err := settle(q, relayed(id, job, int(job))); err != nil {
						t.Error(err)
					}
				}
				if _, err := q.Item(id); err == nil {
					t.Errorf("%s is gone and is shown", id)
				}
			}
		})
	}
	workers.Wait()
	close(stop)
	others.Wait()
	sound(t, q)
}
