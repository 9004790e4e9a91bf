package boltstore_test

import (
	"context"
	"reflect"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore"
	"dawk/relay"
)

func rowsOf(t *testing.T, q *boltstore.Store) (told []string) {
	t.Helper()
	for r, err := range q.DigestRows() {
		if err != nil {
			t.Fatal(err)
		}
		told = append(told, string(r.Data))
	}
	return told
}

// keepRow ends a message with a row of what its sender is to be told.
func keepRow(t *testing.T, q *boltstore.Store, data string) relay.QueueID {
	t.Helper()
	id := mustPut(t, q, body("m", 10), "a@example.org")
	s := relayed(id, 0, 0)
	s.Rows = []relay.DigestRow{{ID: q.NextID(), Data: []byte(data)}}
	if err := settle(q, s); err != nil {
		t.Fatal(err)
	}
	return s.Rows[0].ID
}

// A row that was damaged is set aside; the others are told all the same.
func TestDamagedDigestRow(t *testing.T) {
	dir := t.TempDir()
	q := mustOpen(t, small(dir))
	keepRow(t, q, "first")
	bad := keepRow(t, q, "second")
	keepRow(t, q, "third")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	edit(t, dir, func(tx *bolt.Tx) error { return flip(tx, "digest", msgKey(bad)) })
	if r, err := boltstore.VerifyDir(context.Background(), dir, nil); err != nil || len(r.Problems) != 1 || !strings.Contains(r.Problems[0], bad.String()) {
		t.Errorf("verify: %v %v", err, r.Problems)
	}
	q = mustOpen(t, small(dir))
	for range 2 {
		if got := rowsOf(t, q); !reflect.DeepEqual(got, []string{"first", "third"}) {
			t.Errorf("rows %q", got)
		}
	}
	sound(t, q)
	if r, err := q.Verify(context.Background(), nil); err != nil || len(r.Quarantined) != 1 || r.Quarantined[0].ID != bad || r.Quarantined[0].Kind != "notice" {
		t.Errorf("set aside: %v %v", err, r.Quarantined)
	}
}

// A row that is not of this queue is refused with its settlement.
func TestForeignDigestRow(t *testing.T) {
	q := mustOpen(t, small(t.TempDir()))
	id := mustPut(t, q, body("m", 10), "a@example.org")
	s := relayed(id, 0, 0)
	s.Rows = []relay.DigestRow{{ID: relay.QueueID{Key: 7, Dir: id.Dir + 1}}}
	if err := settle(q, s); err == nil {
		t.Error("it was taken")
	}
	if _, err := q.Item(id); err != nil {
		t.Errorf("the message: %v", err)
	}
}
