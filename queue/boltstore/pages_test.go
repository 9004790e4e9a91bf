package boltstore_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore"
)

// A page that lists nothing hides what is in it: that is no empty queue.
func TestEmptiedPage(t *testing.T) {
	t.Parallel()
	dir, _ := filled(t, 58) // the last one is small, and in no file
	page, entries := leafWith(t, dir, body("message 57", 100))
	flipFile(t, filepath.Join(dir, "queue.db"), page*4096+10, byte(entries))
	refused(t, dir, queue.ErrDamaged, fmt.Sprintf("page %d", page), "lists nothing")
	report, err := boltstore.VerifyDir(context.Background(), dir, nil)
	if err != nil || !strings.Contains(strings.Join(report.Problems, "\n"), "lists nothing") {
		t.Errorf("verify says %v, %v", report.Problems, err)
	}
	// A large file is opened first, and its pages are looked at then.
	opt := small(dir)
	opt.WalkBelow = -1
	failed := make(chan error, 1)
	opt.Fatal = func(err error) { failed <- err }
	q := mustOpen(t, opt)
	wantErr(t, <-failed, queue.ErrDamaged, "lists nothing")
	q.Close()
}

// leafWith is the number of the page in use that holds text, and how many
// entries it has.
func leafWith(t *testing.T, dir string, text []byte) (page, entries int) {
	t.Helper()
	path := filepath.Join(dir, "queue.db")
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		data := new(bytes.Buffer)
		if _, err := tx.WriteTo(data); err != nil {
			return err
		}
		for id := 2; ; {
			info, err := tx.Page(id)
			if info == nil {
				return fmt.Errorf("no page has it: %v", err)
			}
			next := id + 1 + info.OverflowCount
			if info.Type == "leaf" && bytes.Contains(data.Bytes()[id*4096:next*4096], text) {
				page, entries = id, info.Count
				return nil
			}
			id = next
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return page, entries
}
