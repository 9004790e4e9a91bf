package queue

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

func noHook(string) error { return nil }

// sampleRecord is a record as the writer makes it, with a value that is not
// copied among others.
func sampleRecord(t testing.TB) []byte {
	f, err := os.Create(filepath.Join(t.TempDir(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	j := &journal{f: f, hook: noHook, now: jotted{generation: generation{7, 9}, armed: true}}
	r := new(draftRecord)
	r.reset()
	r.change(tableMsg, idKey(1), []byte("small"), false)
	r.change(tableMsg, idKey(2), bytes.Repeat([]byte("large"), largeAbove), false)
	r.change(tableSched, jobKey(2, 0), []byte("state"), false)
	r.change(tableMsg, idKey(1), nil, true)
	if err := j.add(r, totals{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil || len(b)%journalBlock != 0 || int64(len(b)) != j.end {
		t.Fatalf("%d octets, %v", len(b), err)
	}
	return b
}

// scratchTables are empty ones.
func scratchTables(t testing.TB) tables {
	db, err := bolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin(true)
	if err == nil {
		_, err = makeBuckets(tx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback(); db.Close() })
	return openTables(tx)
}

func TestRecordRoundTrip(t *testing.T) {
	b := sampleRecord(t)
	r, ok := readRecord(bytes.NewReader(b), 0, int64(len(b)))
	if !ok || r.generation != (generation{7, 9}) || r.seq != 1 || r.totals != (totals{1, 2, 3, 4}) || r.size != int64(len(b)) {
		t.Fatalf("%v %+v", ok, r.generation)
	}
	tables := scratchTables(t)
	for range 2 { // once more changes nothing
		if err := tables.redo(r.changes, true, nil); err != nil {
			t.Fatal(err)
		}
		if tables.msg.Get(idKey(1)) != nil || len(tables.msg.Get(idKey(2))) != 5*largeAbove || string(tables.sched.Get(jobKey(2, 0))) != "state" {
			t.Error("the tables differ")
		}
	}
	for _, cut := range []int64{0, 1, recordHeader, 5000} {
		if _, ok := readRecord(bytes.NewReader(b[:cut]), 0, cut); ok {
			t.Errorf("a record of %d octets is whole", cut)
		}
	}
}

// FuzzRecord feeds whatever may lie in a journal; the checksum is made right, so
// that the changes are reached. Nothing ends the process, nothing is allocated
// for a length that is not there.
func FuzzRecord(f *testing.F) {
	whole := sampleRecord(f)
	f.Add(whole[:journalBlock])
	f.Add(whole)
	tables := scratchTables(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		readRecord(bytes.NewReader(b), 0, int64(len(b)))
		if len(b) > maxRecord {
			return
		}
		b = append(bytes.Clone(b), make([]byte, max(journalBlock-len(b), -len(b)&(journalBlock-1)))...)
		binary.BigEndian.PutUint32(b, recordMagic)
		binary.BigEndian.PutUint64(b[32:], uint64(len(b)-recordHeader))
		binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
		r, ok := readRecord(bytes.NewReader(b), 0, int64(len(b)))
		if !ok {
			t.Fatal("a whole record is not seen")
		}
		if err := tables.redo(r.changes, true, nil); err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, bolterrors.ErrKeyTooLarge) {
			t.Fatal(err)
		}
	})
}
