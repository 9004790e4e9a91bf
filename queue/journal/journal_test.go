package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dawk/queue"
)

// sampleRecord is a record as Add writes it, with a value that is not copied
// among others.
func sampleRecord(t testing.TB) []byte {
	f, err := os.Create(filepath.Join(t.TempDir(), Name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	j := New("", nil)
	j.f, j.mark = f, Mark{Generation: Generation{7, 9}, Armed: true}
	r := new(Record)
	r.Reset()
	r.Put(1, []byte("one"), []byte("small"))
	r.Put(1, []byte("two"), bytes.Repeat([]byte("large"), largeAbove))
	r.Put(2, []byte("two/0"), []byte("state"))
	r.Remove(1, []byte("one"))
	if err := j.Add(r, Totals{1, 2, 3, 4}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil || len(b)%Block != 0 || int64(len(b)) != j.end {
		t.Fatalf("%d octets, %v", len(b), err)
	}
	return b
}

func TestRecordRoundTrip(t *testing.T) {
	b := sampleRecord(t)
	r, ok := readRecord(bytes.NewReader(b), 0, int64(len(b)))
	if !ok || r.Generation != (Generation{7, 9}) || r.seq != 1 || r.totals != (Totals{1, 2, 3, 4}) || r.size != int64(len(b)) {
		t.Fatalf("%v %+v", ok, r.Generation)
	}
	changes, ok := parseChanges(r.changes)
	want := []Change{
		{Table: 1, Key: []byte("one"), Value: []byte("small")},
		{Table: 1, Key: []byte("two"), Value: bytes.Repeat([]byte("large"), largeAbove)},
		{Table: 2, Key: []byte("two/0"), Value: []byte("state")},
		{Table: 1, Key: []byte("one"), Removed: true},
	}
	same := func(a, b Change) bool {
		return a.Table == b.Table && a.Removed == b.Removed && bytes.Equal(a.Key, b.Key) && bytes.Equal(a.Value, b.Value)
	}
	if !ok || !slices.EqualFunc(changes, want, same) {
		t.Fatalf("%d changes, %v", len(changes), ok)
	}
	for _, cut := range []int64{0, 1, recordHeader, 5000} {
		if _, ok := readRecord(bytes.NewReader(b[:cut]), 0, cut); ok {
			t.Errorf("a record of %d octets is whole", cut)
		}
	}
}

// journalOf is a journal in a directory of its own on which a store may count,
// with one group for each of values, and the mark of that store.
func journalOf(t *testing.T, values ...string) (*Journal, Mark) {
	t.Helper()
	j := New(t.TempDir(), nil)
	t.Cleanup(func() { j.Close() })
	if _, _, err := j.CatchUp(Mark{}, os.O_RDWR, nil); err != nil {
		t.Fatal(err)
	}
	if err := j.Prepare(0); err != nil {
		t.Fatal(err)
	}
	mark := j.Next(7, true)
	j.Restart(mark)
	for i, v := range values {
		r := new(Record)
		r.Reset()
		r.Put(1, []byte{byte(i + 1)}, []byte(v))
		if err := j.Add(r, Totals{High: uint64(i + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	return j, mark
}

// replayed are the values that a new run of the store would get.
func replayed(t *testing.T, dir string, mark Mark) (values []string, totals Totals, err error) {
	t.Helper()
	j := New(dir, nil)
	defer j.Close()
	totals, _, err = j.CatchUp(mark, os.O_RDONLY, func(changes []Change) error {
		for _, c := range changes {
			values = append(values, string(c.Value))
		}
		return nil
	})
	return values, totals, err
}

// What was added is given back, once more where a transaction was rolled back,
// and not at all once the store has it.
func TestLife(t *testing.T) {
	j, mark := journalOf(t, "a", "b", "c")
	got, totals, err := replayed(t, j.dir, mark)
	if err != nil || !slices.Equal(got, []string{"a", "b", "c"}) || totals.High != 3 {
		t.Fatalf("%q %v %v", got, totals, err)
	}
	again := 0
	if err := j.Again(func([]Change) error { again++; return nil }); err != nil || again != 3 || j.Records() != 3 {
		t.Fatalf("again %d, %v, %d records", again, err, j.Records())
	}
	next := j.Next(7, true)
	j.Restart(next)
	if got, _, err := replayed(t, j.dir, next); err != nil || len(got) != 0 {
		t.Errorf("history comes back: %q %v", got, err)
	}
	if next.Number != mark.Number+1 || next.Used != mark.Generation || j.Length() != 0 {
		t.Errorf("%+v after %+v", next, mark)
	}
}

// Damage of the last record is told wherever it is, but for its length.
func TestDamageOfTheLastRecordIsTold(t *testing.T) {
	j, mark := journalOf(t, "a", strings.Repeat("b", 300))
	flip := func(at int64) {
		t.Helper()
		b := make([]byte, 1)
		if _, err := j.f.ReadAt(b, 2*Block+at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := j.f.WriteAt(b, 2*Block+at); err != nil {
			t.Fatal(err)
		}
	}
	for at := range int64(recordHeader + 200) {
		if at >= 32 && at < 40 {
			continue // the length
		}
		flip(at)
		again := New(j.dir, nil)
		if _, _, err := again.CatchUp(mark, os.O_RDONLY, func([]Change) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if again.Records() != 1 || again.Torn() == "" {
			t.Errorf("octet %d: %d records, %q", at, again.Records(), again.Torn())
		}
		again.Close()
		flip(at)
	}
}

// The last record may be torn, and is left out; one before others may not.
func TestTornAndDamaged(t *testing.T) {
	j, mark := journalOf(t, "a", "b", "c")
	flip := func(record int64) {
		t.Helper()
		f, err := os.OpenFile(Path(j.dir), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{0xff}, Block*record+100); err != nil {
			t.Fatal(err)
		}
	}
	flip(3)
	if got, _, err := replayed(t, j.dir, mark); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("with a torn record: %q %v", got, err)
	}
	flip(1)
	if _, _, err := replayed(t, j.dir, mark); !errors.Is(err, queue.ErrDamaged) {
		t.Errorf("a damaged record before another: %v", err)
	}
}

// A journal that does not belong to the store, or is gone, is refused.
func TestForeign(t *testing.T) {
	j, mark := journalOf(t, "a")
	for name, m := range map[string]Mark{
		"a store that is older":             {Generation: Generation{mark.Run, mark.Number - 1}, Armed: true},
		"a store that was closed before":    {Generation: mark.Generation},
		"a store of another run, later":     {Generation: Generation{8, mark.Number + 1}, Armed: true, Used: Generation{8, mark.Number}},
		"another one that was closed":       {Generation: Generation{8, mark.Number + 1}, Used: Generation{8, mark.Number}},
		"a store that saw no records":       {Generation: Generation{8, mark.Number + 2}, Armed: true},
		"a store that counts on newer ones": {Generation: Generation{mark.Run, mark.Number + 9}, Armed: true, Used: Generation{mark.Run, mark.Number + 5}},
	} {
		if _, _, err := replayed(t, j.dir, m); !errors.Is(err, queue.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := j.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := replayed(t, j.dir, mark); !errors.Is(err, queue.ErrDamaged) {
		t.Errorf("without its file: %v", err)
	}
	if got, _, err := replayed(t, j.dir, Mark{Generation: mark.Generation}); err != nil || got != nil {
		t.Errorf("where nothing counts on it: %q %v", got, err)
	}
}

// A mark that an older dawk wrote names the number alone: its journal is taken.
func TestOlderMark(t *testing.T) {
	j, mark := journalOf(t, "a")
	older := Mark{Generation: Generation{8, mark.Number + 1}, Armed: true, Used: Generation{Number: mark.Number}}
	if got, _, err := replayed(t, j.dir, older); err != nil || got != nil {
		t.Errorf("%q %v", got, err)
	}
}

// A sync that failed leaves a record that can be read, and that the disk does
// not have; no later sync writes it. So a start writes it again before the store
// names its generation: else a power cut brings back what was there before.
func TestFirstRecordIsWrittenAgain(t *testing.T) {
	j, mark := journalOf(t, "the first", "the second")
	again := New(j.dir, nil)
	defer again.Close()
	if _, _, err := again.CatchUp(mark, os.O_RDWR, func([]Change) error { return nil }); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(Path(j.dir))
	if err != nil {
		t.Fatal(err)
	}
	lost := false
	again.hook = func(point string) error {
		if point != "journal.again" { // what was read was in memory alone: the disk has zeros
			return nil
		}
		lost = true
		_, err := j.f.WriteAt(make([]byte, Block), Block)
		return err
	}
	if err := again.Prepare(0); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(Path(j.dir)); err != nil || !lost || !bytes.Equal(got, whole) {
		t.Errorf("the first record was not written again, %v", err)
	}
}

// Where there is no room to write the first record again, or the title, what was
// there is synced all the same, and a sync that fails then is told of as one.
func TestNoRoomForTheTitle(t *testing.T) {
	for _, lost := range []bool{false, true} {
		j, mark := journalOf(t, "the first")
		again := New(j.dir, nil)
		defer again.Close()
		if _, _, err := again.CatchUp(mark, os.O_RDWR, func([]Change) error { return nil }); err != nil {
			t.Fatal(err)
		}
		again.hook = func(point string) error {
			if point != "journal.title" {
				return nil
			}
			if lost { // fdatasync on this fails
				again.f.Close()
			}
			return &fs.PathError{Op: "write", Path: Path(j.dir), Err: unix.ENOSPC}
		}
		if err := again.Prepare(0); errors.Is(err, unix.ENOSPC) == lost || err == nil {
			t.Errorf("the sync fails: %v; error %v", lost, err)
		}
		if again.Prepared() {
			t.Error("the store counts on it")
		}
	}
}

func TestMark(t *testing.T) {
	for _, m := range []Mark{{}, {Generation{1, 2}, true, Generation{4, 3}}, {Generation{1<<64 - 1, 2}, false, Generation{1 << 63, 1 << 63}}} {
		if got, ok := DecodeMark(m.Encode()); !ok || got != m {
			t.Errorf("%+v comes back as %+v, %v", m, got, ok)
		}
	}
	old := Mark{Generation{1, 2}, true, Generation{4, 3}}.Encode()[:25]
	if got, ok := DecodeMark(old); !ok || got != (Mark{Generation{1, 2}, true, Generation{Number: 3}}) {
		t.Errorf("an older mark is %+v, %v", got, ok)
	}
	if _, ok := DecodeMark(make([]byte, 24)); ok {
		t.Error("a short mark is taken")
	}
}

// FuzzRecord feeds whatever may lie in a journal; the checksum is made right, so
// that the changes are reached. Nothing ends the process, nothing is allocated
// for a length that is not there.
func FuzzRecord(f *testing.F) {
	whole := sampleRecord(f)
	f.Add(whole[:Block])
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		readRecord(bytes.NewReader(b), 0, int64(len(b)))
		if len(b) > MaxRecord {
			return
		}
		b = append(bytes.Clone(b), make([]byte, max(Block-len(b), -len(b)&(Block-1)))...)
		binary.BigEndian.PutUint32(b, recordMagic)
		binary.BigEndian.PutUint64(b[32:], uint64(len(b)-recordHeader))
		binary.BigEndian.PutUint32(b[4:], crc32.Checksum(b[8:], castagnoli))
		r, ok := readRecord(bytes.NewReader(b), 0, int64(len(b)))
		if !ok {
			t.Fatal("a whole record is not seen")
		}
		if err := r.apply(func([]Change) error { return nil }); err != nil && !errors.Is(err, queue.ErrDamaged) {
			t.Fatal(err)
		}
	})
}
