package boltstore_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dawk/queue/boltstore"
	"dawk/relay"
)

// The directory in testdata/layout2 was left by a relay of layout 2 that was
// killed: its journal holds new mail, attempts, a split, a notice and the end of a
// message. messages.json is what that relay said of its queue just before.

func TestLayout2Drains(t *testing.T) {
	dir := t.TempDir()
	archive, err := os.ReadFile(filepath.Join("testdata", "layout2", "data.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	unpack(t, z, dir)
	before := filesOf(t, dir)
	report, err := boltstore.VerifyDir(context.Background(), dir, nil)
	// The file of the message that had just ended was still there.
	if err != nil || len(report.Problems) != 1 || !strings.Contains(report.Problems[0], "the next start removes it") ||
		report.Messages != 5 || report.Deliveries != 6 {
		t.Fatalf("verify: %v, %v", err, report)
	}
	if d := cmp.Diff(before, filesOf(t, dir)); d != "" {
		t.Error("the verification changed the directory")
	}
	var log bytes.Buffer
	opt := small(dir)
	opt.Log = slog.New(slog.NewTextHandler(&log, nil))
	q := mustOpen(t, opt)
	sameMessages(t, q)
	sound(t, q)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "the journal was replayed") {
		t.Errorf("nothing came from the journal:\n%s", log.String())
	}
	q = mustOpen(t, small(dir)) // now of our own layout
	sameMessages(t, q)
	drainStore(t, q)
	sound(t, q)
	if n, files := q.Stats().Messages, spoolFiles(t, dir); n != 0 || len(files) > 0 {
		t.Errorf("%d messages and the files %v are left", n, files)
	}
}

// sameMessages compares a store with messages.json.
func sameMessages(t *testing.T, q *boltstore.Store) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", "layout2", "messages.json"))
	if err != nil {
		t.Fatal(err)
	}
	type message struct {
		Item    *relay.Item
		Content string
	}
	var all []message
	for listed, err := range q.Items(context.Background(), relay.QueueID{}) {
		if err != nil {
			t.Fatal(err)
		}
		item, err := q.Item(listed.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		content, err := q.Content(listed.Message.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(content, 0, content.Size()))
		content.Close()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, message{item, string(b)})
	}
	got, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), strings.Split(string(got), "\n")); d != "" {
		t.Errorf("the queue is not what it was (-was +is):\n%s", d)
	}
}

// drainStore settles every Delivery as relayed.
func drainStore(t *testing.T, q *boltstore.Store) {
	t.Helper()
	for e, err := range q.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		c, err := q.Claim(e.ID, e.Job)
		if err != nil {
			t.Fatal(err)
		}
		c.Content.Close()
		if err := settle(q, relayed(e.ID, e.Job, c.Delivery.Recipients()...)); err != nil {
			t.Fatal(err)
		}
	}
}

// filesOf is the content of every file that a verification must leave alone.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, name := range []string{"queue.db", "queue.journal"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}
