package boltstore_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/relay"
)

// Verify finds each kind of damage, while the queue runs and when it does not.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	bucket := func(name string, f func(b *bolt.Bucket, ids []relay.QueueID) error) func(*testing.T, string, []relay.QueueID) {
		return func(t *testing.T, dir string, ids []relay.QueueID) {
			edit(t, dir, func(tx *bolt.Tx) error { return f(tx.Bucket([]byte(name)), ids) })
		}
	}
	for name, c := range map[string]struct {
		damage func(t *testing.T, dir string, ids []relay.QueueID)
		want   string
	}{
		"a Delivery is gone": {bucket("sched", func(b *bolt.Bucket, ids []relay.QueueID) error {
			return b.Delete(rowKey(ids[0], 1))
		}), "recipient 1 is open: false, and done: false"},
		"all Deliveries are gone": {bucket("sched", func(b *bolt.Bucket, ids []relay.QueueID) error {
			b.Delete(rowKey(ids[0], 0))
			return b.Delete(rowKey(ids[0], 1))
		}), "it has no Delivery"},
		"a message is gone": {bucket("msg", func(b *bolt.Bucket, ids []relay.QueueID) error {
			return b.Delete(msgKey(ids[1]))
		}), "a Delivery without a message"},
		"a row under another key": {bucket("sched", func(b *bolt.Bucket, ids []relay.QueueID) error {
			return b.Put(rowKey(ids[0], 7), bytes.Clone(b.Get(rowKey(ids[0], 1))))
		}), "a Delivery cannot be read"},
		"an attempt of nobody": {bucket("hist", func(b *bolt.Bucket, ids []relay.QueueID) error {
			return b.Put(append(rowKey(relay.QueueID{Key: 4711}, 0), 0, 0, 0, 0), []byte("x"))
		}), "an attempt without a message"},
		"a flipped bit in content": {bucket("msg", func(b *bolt.Bucket, ids []relay.QueueID) error {
			v := bytes.Clone(b.Get(msgKey(ids[0])))
			v[len(v)-1] ^= 1
			return b.Put(msgKey(ids[0]), v)
		}), "its content has another checksum"},
		"a wrong count": {bucket("sys", func(b *bolt.Bucket, _ []relay.QueueID) error {
			return b.Put([]byte("messages"), []byte{0, 0, 0, 0, 0, 0, 0, 99})
		}), "the store counts 99 messages, there are 3"},
		"a low high-water mark": {bucket("sys", func(b *bolt.Bucket, _ []relay.QueueID) error {
			return b.Put([]byte("high"), []byte{0, 0, 0, 0, 0, 0, 0, 99})
		}), "the high-water mark 99 is below"},
		"a flipped bit in a file": {func(t *testing.T, dir string, _ []relay.QueueID) {
			path := spoolFiles(t, dir)[0]
			b, _ := os.ReadFile(path)
			b[100] ^= 1
			os.WriteFile(path, b, 0o600)
		}, "has another checksum"},
		"a short file": {func(t *testing.T, dir string, _ []relay.QueueID) {
			os.Truncate(spoolFiles(t, dir)[0], 10)
		}, "has 10 octets instead of 3000"},
		"a missing file": {func(t *testing.T, dir string, _ []relay.QueueID) {
			os.Remove(spoolFiles(t, dir)[0])
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir, ids := filled(t, 3)
			c.damage(t, dir, ids)
			check := func(where string, r queue.Report, err error) {
				if all := strings.Join(r.Problems, "\n"); err != nil || !strings.Contains(all, c.want) {
					t.Errorf("%s: %v; it said:\n%s\nwant %q", where, err, all, c.want)
				}
			}
			r, err := boltstore.VerifyDir(context.Background(), dir, nil)
			check("stopped", r, err)
			if name == "a low high-water mark" {
				return // the next start mends it
			}
			q := mustOpen(t, small(dir))
			r, err = q.Verify(context.Background(), nil)
			check("running", r, err)
		})
	}
	dir, _ := filled(t, 3)
	var told [][2]int64 // progress: the first of 3
	r, err := boltstore.VerifyDir(context.Background(), dir, func(done, total int64) { told = append(told, [2]int64{done, total}) })
	if len(told) != 1 || told[0] != [2]int64{0, 3} {
		t.Errorf("progress: %v", told)
	}
	if err != nil || len(r.Problems) > 0 || r.Messages != 3 || r.Deliveries != 6 || r.Files != 1 || r.Octets != 4000 {
		t.Errorf("a sound queue: %v %+v", err, r)
	}
	if _, err := boltstore.VerifyDir(context.Background(), t.TempDir(), nil); err == nil {
		t.Error("a directory without a queue was verified")
	}
}

// Every test that docs/internals/durability.md names is there.
func TestDurabilityRows(t *testing.T) {
	page, err := os.ReadFile("../../docs/internals/durability.md")
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob("*_test.go")
	beside, _ := filepath.Glob("*/*_test.go")
	var code bytes.Buffer
	for _, f := range append(files, beside...) {
		b, _ := os.ReadFile(f)
		code.Write(b)
	}
	names := regexp.MustCompile("`(Test[A-Za-z]+)(?:/([a-z.]+))?").FindAllSubmatch(page, -1)
	for _, n := range names {
		if !bytes.Contains(code.Bytes(), []byte("func "+string(n[1])+"(")) ||
			len(n[2]) > 0 && !bytes.Contains(code.Bytes(), []byte(`"`+string(n[2])+`"`)) {
			t.Errorf("there is no %s", n[0])
		}
	}
	if len(names) < 30 {
		t.Errorf("the page names %d tests", len(names))
	}
}
