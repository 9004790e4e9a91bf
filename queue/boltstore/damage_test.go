package boltstore_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/relay"
)

// edit changes the bbolt file behind the queue's back.
func edit(t *testing.T, dir string, f func(*bolt.Tx) error) {
	t.Helper()
	db, err := bolt.Open(filepath.Join(dir, "queue.db"), 0o600, &bolt.Options{NoFreelistSync: true})
	if err == nil {
		err = errors.Join(db.Update(f), db.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func refused(t *testing.T, dir string, want error, words ...string) {
	t.Helper()
	before, _ := os.ReadFile(filepath.Join(dir, "queue.db"))
	_, err := boltstore.Open(small(dir))
	wantErr(t, err, want, words...)
	after, _ := os.ReadFile(filepath.Join(dir, "queue.db"))
	if !bytes.Equal(before, after) {
		t.Error("the refused file was changed")
	}
}

// filled is a closed queue with n messages; the last byte of an ID picks size.
func filled(t *testing.T, n int) (dir string, ids []relay.QueueID) {
	dir = t.TempDir()
	q := mustOpen(t, small(dir))
	for i := range n {
		ids = append(ids, mustPut(t, q, body(fmt.Sprint("message ", i), []int{100, 900, 3000}[i%3]), "a@example.org", "b@example.com"))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return dir, ids
}

func TestRefusedFiles(t *testing.T) {
	t.Parallel()
	t.Run("newer", func(t *testing.T) {
		dir, _ := filled(t, 3)
		edit(t, dir, func(tx *bolt.Tx) error {
			return tx.Bucket([]byte("sys")).Put([]byte("schema"), binary.BigEndian.AppendUint32(nil, 99))
		})
		refused(t, dir, queue.ErrNewer, "layout 99", "newer version of dawk")
	})
	t.Run("truncated", func(t *testing.T) {
		dir, _ := filled(t, 60)
		if err := os.Truncate(filepath.Join(dir, "queue.db"), 5*4096); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, queue.ErrDamaged, "cut short", "nothing was changed")
	})
	// Both would look like a queue that has been drained.
	t.Run("0 octets", func(t *testing.T) {
		dir, _ := filled(t, 3)
		if err := os.Truncate(filepath.Join(dir, "queue.db"), 0); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, queue.ErrDamaged, "is empty, 0 octets", "restore a backup, or move queue.db, queue.journal and spool away")
		if r, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil || len(r.Problems) != 1 {
			t.Errorf("verify: %v %v", err, r.Problems)
		}
	})
	t.Run("gone", func(t *testing.T) {
		dir, _ := filled(t, 1)
		path := filepath.Join(dir, "queue.db")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, queue.ErrDamaged, "is missing", "restore a backup, or move queue.db, queue.journal and spool away")
		if _, err := os.Stat(path); err == nil {
			t.Error("it was made anew")
		}
		if r, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil || len(r.Problems) != 1 {
			t.Errorf("verify: %v %v", err, r.Problems)
		}
	})
	t.Run("not a queue", func(t *testing.T) {
		dir := t.TempDir()
		os.WriteFile(filepath.Join(dir, "queue.db"), bytes.Repeat([]byte("hello\n"), 5000), 0o600)
		refused(t, dir, queue.ErrDamaged, "does not begin like a queue file")
	})
	t.Run("held", func(t *testing.T) {
		dir := t.TempDir()
		mustOpen(t, small(dir))
		refused(t, dir, queue.ErrHeld, "held by another dawk", dir)
	})
	t.Run("not a directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		os.WriteFile(file, nil, 0o600)
		if _, err := boltstore.Open(small(file)); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("error %v", err)
		}
	})
}

func TestNewDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	mustOpen(t, small(dir))
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

// A first start that was interrupted anywhere leaves nothing that the next one
// takes for a queue that was lost.
func TestInterruptedFirstStart(t *testing.T) {
	for name, leave := range map[string]func(dir string){
		"before queue.db has its name": func(dir string) { failOpen(t, dir, "created") },
		"before the spool is made":     func(dir string) { failOpen(t, dir, "loaded") },
		"in the first write":           func(dir string) { os.WriteFile(filepath.Join(dir, "queue.db.new"), make([]byte, 5000), 0o600) },
		"with an empty file":           func(dir string) { os.WriteFile(filepath.Join(dir, "queue.db"), nil, 0o600) },
		"without buckets":              func(dir string) { edit(t, dir, func(*bolt.Tx) error { return nil }) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			leave(dir)
			if r, err := boltstore.VerifyDir(t.Context(), dir, nil); err == nil && len(r.Problems) > 0 {
				t.Errorf("verify calls it damage: %v", r.Problems)
			}
			q := mustOpen(t, small(dir))
			id := mustPut(t, q, body("x", 3000), "a@example.org")
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			q = mustOpen(t, small(dir))
			if _, err := contentOf(q, id); err != nil {
				t.Error(err)
			}
			sound(t, q)
		})
	}
}

func failOpen(t *testing.T, dir, point string) {
	t.Helper()
	opt, stop := small(dir), errors.New("stopped here")
	opt.Hook = func(p string) error {
		if p == point {
			return stop
		}
		return nil
	}
	_, err := boltstore.Open(opt)
	wantErr(t, err, stop)
}

// Flipped bits anywhere in the file or the spool: the queue refuses it, or serves every
// message unchanged or as damaged. It never ends the process, never invents.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	master, ids := filled(t, 40)
	// bbolt's file is a hole of 16 MiB behind a few pages: only those matter.
	if err := os.Truncate(filepath.Join(master, "queue.db"), 128*4096); err != nil {
		t.Fatal(err)
	}
	unclean := copyOf(t, master)
	edit(t, unclean, func(tx *bolt.Tx) error { return nil }) // the free list is not in the file any more
	rng := luck(t, 2)
	scratch := memoryDir(t)
	var opened, refusals, asDamaged int
	for i := range 150 {
		dir := filepath.Join(scratch, "d")
		os.RemoveAll(dir)
		if err := copyDir([]string{master, unclean}[i%2], dir); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "queue.db")
		b, _ := os.ReadFile(path)
		b = b[:128*4096]
		for range 4 << (i % 5) {
			b[rng.IntN(len(b))] ^= 1 << rng.IntN(8)
		}
		os.WriteFile(path, b, 0o600)
		if i%3 == 0 {
			flipFile(t, pickOne(rng, spoolFiles(t, dir)), rng.IntN(3000), 1<<rng.IntN(8))
		}
		if _, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil && !errors.Is(err, queue.ErrNewer) {
			t.Logf("verify: %v", err)
		}
		q, err := boltstore.Open(small(dir))
		if err != nil {
			if refusals++; !errors.Is(err, queue.ErrDamaged) && !errors.Is(err, queue.ErrNewer) {
				t.Errorf("refused with %v", err)
			}
			continue
		}
		opened++
		for _, err := range q.Entries() {
			if err != nil {
				break
			}
		}
		for n, id := range ids {
			got, err := contentOf(q, id)
			switch {
			case err != nil:
				asDamaged++
			case string(got) != string(body(fmt.Sprint("message ", n), []int{100, 900, 3000}[n%3])):
				t.Fatalf("flip %d: message %d has other content", i, n)
			}
		}
		q.Close()
	}
	t.Logf("%d opened, %d refused, %d messages known to be damaged", opened, refusals, asDamaged)
	if opened == 0 || refusals == 0 || asDamaged == 0 {
		t.Error("the flips do not reach all that they should")
	}
}

// A large file that was closed cleanly is in use before its pages were walked.
// When the walk finds damage, the queue stops trusting it, and the next start
// refuses it.
func TestLateWalk(t *testing.T) {
	t.Parallel()
	dir, ids := filled(t, 40)
	opt := small(dir)
	opt.WalkBelow = -1
	fatal := make(chan error, 1)
	opt.Fatal = func(err error) { fatal <- err }
	q := mustOpen(t, opt)
	for range 50 { // pages that the walk still has to see are not used again
		mustPut(t, q, body("new", 900), "a@example.org")
	}
	sound(t, q)
	if err := errors.Join(settle(q, relayed(ids[0], 0, 0)), q.Close()); err != nil || len(fatal) > 0 {
		t.Fatal(err, len(fatal))
	}
	path := filepath.Join(dir, "queue.db")
	b, _ := os.ReadFile(path)
	at := bytes.Index(b, body("message 4", 900)) / 4096 * 4096
	flipFile(t, path, at, 1) // the number of the page, which says that it is another one
	q = mustOpen(t, opt)
	wantErr(t, <-fatal, queue.ErrDamaged, "says that it is page")
	_, err := q.NewDraft()
	wantErr(t, err, relay.ErrClosed)
	q.Close()
	refused(t, dir, queue.ErrDamaged, "says that it is page", "nothing was changed")
}

// A file that is worth compacting at start is looked at before it is copied:
// bbolt ends the process at a damaged page, or copies less than there was.
func TestDamageBeforeCompaction(t *testing.T) {
	t.Parallel()
	opt := small(memoryDir(t))
	opt.WalkBelow, opt.CompactAbove, opt.InlineLimit = -1, 1<<20, 1<<20
	q := mustOpen(t, opt)
	var ids []relay.QueueID
	for range 50 {
		ids = append(ids, mustPut(t, q, body("message", 600<<10), "a@example.org"))
	}
	for _, id := range ids[5:] {
		if err := settle(q, relayed(id, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(opt.Dir, "queue.db")
	b, _ := os.ReadFile(path)
	for at := 2 * 4096; at < len(b); at += 4096 { // of the old pages as well
		if binary.NativeEndian.Uint64(b[at:]) == uint64(at/4096) && bytes.Contains(b[at:at+4096], body("message", 800)) {
			b[at] ^= 1 // the number of the page
		}
	}
	os.WriteFile(path, b, 0o600)
	_, err := boltstore.Open(opt)
	wantErr(t, err, queue.ErrDamaged, "says that it is page", "nothing was changed")
}

// One of the two meta pages is enough, and is told of.
func TestOneMetaPage(t *testing.T) {
	dir, ids := filled(t, 3)
	for page := range 2 {
		copied := copyOf(t, dir)
		flipFile(t, filepath.Join(copied, "queue.db"), page*4096+40, 1)
		var log bytes.Buffer
		opt := small(copied)
		opt.Log = slog.New(slog.NewTextHandler(&log, nil))
		q := mustOpen(t, opt)
		for _, id := range ids {
			if _, err := contentOf(q, id); err != nil {
				t.Error(err)
			}
		}
		if q.Close(); !strings.Contains(log.String(), "cannot be read") {
			t.Errorf("log: %s", log.String())
		}
	}
}

// luck is random, but where DAWK_SEED says from which seed. The log of a failure
// names the seed.
func luck(t *testing.T, stream uint64) *rand.Rand {
	seed, err := strconv.ParseUint(os.Getenv("DAWK_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("DAWK_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, stream))
}

func pickOne(rng *rand.Rand, from []string) string { return from[rng.IntN(len(from))] }

// flipFile flips bits of one octet of a file.
func flipFile(t *testing.T, path string, at int, bits byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil {
		b[at] ^= bits
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func copyOf(t *testing.T, dir string) string {
	to := t.TempDir()
	if err := copyDir(dir, to); err != nil {
		t.Fatal(err)
	}
	return to
}

func msgKey(id relay.QueueID) []byte { return binary.BigEndian.AppendUint64(nil, id.Key) }
func rowKey(id relay.QueueID, job uint16) []byte {
	return binary.BigEndian.AppendUint16(msgKey(id), job)
}

func flip(tx *bolt.Tx, bucket string, key []byte) error {
	b := tx.Bucket([]byte(bucket))
	v := bytes.Clone(b.Get(key))
	v[len(v)-1] ^= 1
	return b.Put(key, v)
}

// A message whose envelope cannot be read is set aside as a whole, said so, and
// hinders nobody. One whose content alone is lost is claimed without it, so that
// its sender can be told; what is left of it outlives that.
func TestDamagedMessage(t *testing.T) {
	t.Parallel()
	dir, ids := filled(t, 9)
	edit(t, dir, func(tx *bolt.Tx) error {
		metadata := bytes.Clone(tx.Bucket([]byte("msg")).Get(msgKey(ids[1])))
		metadata[40] ^= 1
		return errors.Join(flip(tx, "msg", msgKey(ids[0])), tx.Bucket([]byte("msg")).Put(msgKey(ids[1]), metadata))
	})
	files := spoolFiles(t, dir) // of 2, 5 and 8
	os.Remove(files[0])
	os.Truncate(files[1], 17)
	flipFile(t, files[2], 2999, 1)
	q := mustOpen(t, small(dir))
	for i, id := range ids {
		got, err := contentOf(q, id)
		switch {
		case i == 1:
			wantErr(t, err, relay.ErrCorrupt)
			_, err = q.Claim(id, 1)
			wantErr(t, err, relay.ErrNotFound)
		case i == 0 || i%3 == 2:
			wantErr(t, err, relay.ErrContentLost)
			for job := range uint16(2) {
				c, err := q.Claim(id, job)
				wantErr(t, err, relay.ErrContentLost)
				if c.Message.From != mailbox("sender@example.org") || len(c.Delivery.Open) != 1 || c.Content.Size() != 0 {
					t.Errorf("message %d: claimed %+v", i, c)
				}
				s := relay.Settlement{ID: id, Job: job, Outcomes: []relay.Outcome{{Recipient: int(job), Action: relay.ActionFailed}}}
				s.Notices = []relay.Notice{notice(q, "sender@example.org")}
				if err := settle(q, s); err != nil {
					t.Errorf("message %d: %v", i, err)
				}
			}
		case err != nil || len(got) == 0:
			t.Errorf("message %d: %v", i, err)
		}
	}
	q.Close()
	q = mustOpen(t, small(dir))
	sound(t, q)
	if left := spoolFiles(t, dir); len(left) != 2 {
		t.Errorf("the file of a damaged message went: %v", left)
	}
	r, _ := q.Verify(context.Background(), nil)
	if q.Stats().Quarantined != 4+3 || len(r.Quarantined) != 4+3 || r.Messages != 4+8 { // four that were lost, and one with both its Deliveries
		t.Errorf("%d, %v", q.Stats().Quarantined, r)
	}
	if s := r.Quarantined[0]; s.ID != ids[0] || !strings.Contains(s.Reason, "checksum") {
		t.Errorf("set aside: %v", s)
	}
}

// Mail that was just accepted is served from memory, but not its file. What
// was found damaged once is kept once, whoever finds it again.
func TestDamagedFreshMessage(t *testing.T) {
	opt := small(t.TempDir())
	q := mustOpen(t, opt)
	id := mustPut(t, q, body("x", 3000), "a@example.org")
	flipFile(t, spoolFiles(t, opt.Dir)[0], 1500, 4)
	_, err := q.Content(id)
	wantErr(t, err, relay.ErrContentLost)
	for range 2 {
		_, err = q.Claim(id, 0)
		wantErr(t, err, relay.ErrContentLost, "another checksum")
	}
	if n := q.Stats().Quarantined; n != 1 {
		t.Errorf("%d rows set aside", n)
	}
}

// A Delivery that cannot be read, of a message whose content is lost: it is
// rebuilt, so that the sender can be told of every recipient.
func TestDamagedDeliveryOfLostContent(t *testing.T) {
	dir, ids := filled(t, 1)
	edit(t, dir, func(tx *bolt.Tx) error {
		return errors.Join(flip(tx, "msg", msgKey(ids[0])), flip(tx, "sched", rowKey(ids[0], 1)))
	})
	q := mustOpen(t, small(dir))
	c, err := q.Claim(ids[0], 1)
	wantErr(t, err, relay.ErrContentLost)
	if got := c.Delivery.Recipients(); len(got) != 1 || got[0] != 1 {
		t.Errorf("recipients %v", got)
	}
}

// A file that cannot be read now may be read later: the Delivery is claimed
// without it, so that it can expire, and nothing is set aside.
func TestUnreadableFile(t *testing.T) {
	opt := small(t.TempDir())
	opt.Hook = func(point string) error {
		if point == "content.read" {
			return syscall.EIO
		}
		return nil
	}
	q := mustOpen(t, opt)
	id := mustPut(t, q, body("x", 3000), "a@example.org")
	c, err := q.Claim(id, 0)
	wantErr(t, err, syscall.EIO)
	if errors.Is(err, relay.ErrContentLost) || c == nil || c.Message.ID != id || c.Content.Size() != 0 {
		t.Errorf("%v, %v", c, err)
	}
	if n := q.Stats().Quarantined; n != 0 {
		t.Errorf("%d rows set aside", n)
	}
	s := relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionExpired}}, Notices: []relay.Notice{notice(q, "sender@example.org")}}
	if err := settle(q, s); err != nil {
		t.Error(err)
	}
	q.WaitTasks()
	if n := len(spoolFiles(t, opt.Dir)); n != 0 {
		t.Error("the file of a message that expired stays")
	}
}

// notice is a small one.
func notice(q *boltstore.Store, to string) relay.Notice {
	m := relay.Message{ID: q.NextID(), Arrival: time.Now(), Notice: true}
	m.Recipients = []relay.Recipient{{Path: mailbox(to)}}
	return relay.Notice{Message: m, Content: []byte("Subject: notice\r\n\r\n")}
}

// A Delivery that cannot be read is rebuilt from the message and the history:
// what was delivered is not delivered again.
func TestDamagedDelivery(t *testing.T) {
	t.Parallel()
	for name, find := range map[string]func(*testing.T, *boltstore.Store, relay.QueueID){
		"at start": func(t *testing.T, q *boltstore.Store, id relay.QueueID) {
			n := 0
			for e, err := range q.Entries() {
				if err != nil || e.ID != id {
					t.Errorf("%v %v", e, err)
				}
				n++
			}
			if n != 2 {
				t.Errorf("%d entries", n)
			}
		},
		"at a claim": func(*testing.T, *boltstore.Store, relay.QueueID) {},
		"at a settlement": func(t *testing.T, q *boltstore.Store, id relay.QueueID) {
			s := relay.Settlement{ID: id, Next: relay.State{Attempts: 2}}
			if err := settle(q, s); err != nil {
				t.Error(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			opt := small(t.TempDir())
			q := mustOpen(t, opt)
			id := mustPut(t, q, body("x", 300), "a@example.org", "b@example.org", "c@example.com", "d@example.org")
			s := relayed(id, 0, 1)
			s.Attempt = &relay.Attempt{N: 1, At: time.Now(), Outcomes: s.Outcomes}
			s.Next.Attempts = 1
			byHand := relayed(id, 0, 3)
			byHand.Next.Attempts = 1
			if err := errors.Join(settle(q, s), settle(q, byHand), q.Close()); err != nil {
				t.Fatal(err)
			}
			edit(t, opt.Dir, func(tx *bolt.Tx) error { return flip(tx, "sched", rowKey(id, 0)) })
			r, err := boltstore.VerifyDir(context.Background(), opt.Dir, nil)
			if err != nil || len(r.Problems) == 0 {
				t.Errorf("verify found nothing: %v", err)
			}
			q = mustOpen(t, opt)
			find(t, q, id)
			c, err := q.Claim(id, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := c.Delivery.Recipients(); len(got) != 1 || got[0] != 0 {
				t.Errorf("recipients %v are tried again, want [0]", got)
			}
			if q.Stats().Quarantined != 1 {
				t.Errorf("%d rows set aside", q.Stats().Quarantined)
			}
			sound(t, q)
		})
	}
}

// A row of sched that a damaged page lost, or shows under another key: its
// recipients are tried all the same, and the count is right again.
func TestLostDelivery(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(b *bolt.Bucket, id relay.QueueID) error{
		"gone": func(b *bolt.Bucket, id relay.QueueID) error { return b.Delete(rowKey(id, 1)) },
		"under another key": func(b *bolt.Bucket, id relay.QueueID) error {
			v := bytes.Clone(b.Get(rowKey(id, 1)))
			id2 := id
			id2.Key++
			return errors.Join(b.Delete(rowKey(id, 1)), b.Put(rowKey(id2, 1), v))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ids := filled(t, 400)
			edit(t, dir, func(tx *bolt.Tx) error { return lose(tx.Bucket([]byte("sched")), ids[300]) })
			q := mustOpen(t, small(dir))
			told := make(chan relay.Entry, 10)
			q.Watch(func(all []relay.Entry) {
				for _, e := range all {
					told <- e
				}
			})
			for range 2 {
				for _, err := range q.Entries() {
					if err != nil {
						t.Fatal(err)
					}
				}
				q.WaitTasks()
			}
			close(told)
			for e := range told {
				c, err := q.Claim(e.ID, e.Job)
				if err != nil || e.ID != ids[300] || len(c.Delivery.Open) != 1 || c.Delivery.Open[0].Recipient != 1 || e.Destination != "example.com" {
					t.Errorf("%+v %v", e, err)
				}
			}
			if q.Stats().Deliveries != 800 {
				t.Errorf("%d Deliveries are counted", q.Stats().Deliveries)
			}
			sound(t, q)
		})
	}
}

// Files in the spool that no message owns: those that a crash of this queue
// can have left go, all others stay and are reported.
func TestExtraSpoolFiles(t *testing.T) {
	dir, ids := filled(t, 3)
	owned := spoolFiles(t, dir)[0]
	orphan := filepath.Join(filepath.Dir(owned), fmt.Sprintf("%016x", ids[2].Key+1))
	foreign := filepath.Join(dir, "spool", "README")
	strange := filepath.Join(filepath.Dir(owned), "notes.txt")
	older := filepath.Join(dir, "spool", "00", fmt.Sprintf("%016x", 4711))
	os.Mkdir(filepath.Dir(older), 0o700)
	for _, path := range []string{orphan, foreign, strange, older} {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := boltstore.VerifyDir(context.Background(), dir, nil)
	if err != nil || len(r.Problems) != 4 {
		t.Errorf("verify: %v\n%s", err, strings.Join(r.Problems, "\n"))
	}
	q := mustOpen(t, small(dir))
	q.WaitTasks()
	for path, want := range map[string]bool{owned: true, orphan: false, foreign: true, strange: true, older: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// Starting empty means to move queue.db, queue.journal and spool away. When somebody puts the
// old spool back to look for mail in it, its files stay.
func TestSpoolOutlivesItsFile(t *testing.T) {
	dir, _ := filled(t, 3)
	spool := filepath.Join(dir, "spool")
	if err := errors.Join(os.Rename(filepath.Join(dir, "queue.db"), filepath.Join(dir, "old.db")), os.Rename(spool, spool+".old")); err != nil {
		t.Fatal(err)
	}
	q := mustOpen(t, small(dir))
	if n := q.Stats().Messages; n != 0 {
		t.Errorf("%d messages in an empty queue", n)
	}
	if err := errors.Join(q.Close(), os.RemoveAll(spool), os.Rename(spool+".old", spool)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		q := mustOpen(t, small(dir))
		q.WaitTasks()
		if n := len(spoolFiles(t, dir)); n != 1 {
			t.Fatalf("%d files", n)
		}
		q.Close()
	}
}
