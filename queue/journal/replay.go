package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"os"
	"strings"

	"dawk/queue"
)

// toDo ends every refusal of a journal that does not fit its store.
const toDo = "nothing was changed; put the right files back, restore a backup into an empty directory, or move queue.db, queue.journal and spool away, together, to start empty"

// Change is one row that a group made, replaced or removed.
type Change struct {
	Table      byte
	Removed    bool
	Key, Value []byte // parts of the record: copy what is kept
}

// record is one group of changes, read back.
type record struct {
	Generation
	seq     uint64
	totals  Totals
	head    [recordHeader]byte
	changes []byte
	size    int64 // in the file, octets
}

// reading notes a read that failed: a read error is not a torn record.
type reading struct {
	*Journal
	err error
}

func (r *reading) ReadAt(b []byte, off int64) (n int, err error) {
	if err = r.hook("journal.read"); err == nil {
		n, err = r.f.ReadAt(b, off)
	}
	if n < len(b) && err != io.EOF {
		r.err = fmt.Errorf("the queue's journal cannot be read: %w", err)
	}
	return n, err
}

// readHead reads the beginning of the record at off. ok is false where none is,
// or one that is longer than the file.
func readHead(f io.ReaderAt, off, size int64) (r record, crc uint32, ok bool) {
	var head [recordHeader]byte
	if n, _ := f.ReadAt(head[:], off); n < len(head) || binary.BigEndian.Uint32(head[:]) != recordMagic {
		return r, 0, false
	}
	word := func(i int) uint64 { return binary.BigEndian.Uint64(head[8+8*i:]) }
	length := word(3)
	if length > 2*MaxRecord || int64(length) > size-off-recordHeader || (recordHeader+length)%Block != 0 {
		return r, 0, false
	}
	r = record{Generation: Generation{word(0), word(1)}, seq: word(2), head: head, totals: Totals{word(4), word(5), word(6), word(7)}}
	r.size = recordHeader + int64(length)
	return r, binary.BigEndian.Uint32(head[4:]), true
}

// readRecord reads the record at off, if one is there that is whole.
func readRecord(f io.ReaderAt, off, size int64) (r record, ok bool) {
	r, crc, ok := readHead(f, off, size)
	if !ok {
		return r, false
	}
	r.changes = make([]byte, binary.BigEndian.Uint64(r.head[32:]))
	if n, _ := f.ReadAt(r.changes, off+recordHeader); n < len(r.changes) {
		return r, false
	}
	return r, crc == crc32.Update(crc32.Checksum(r.head[8:], castagnoli), castagnoli, r.changes)
}

// CatchUp opens the file, with flags of os.OpenFile, and gives apply the groups
// that a store with this mark lacks, oldest first. Where there are any, it
// returns the totals of the last one and true.
//
// The first record that does not fit is where a crash tore the last write,
// which nobody was told of. A record is begun only when the one before it is
// durable: so the head of a later one of the same generation, whole or not, proves
// that this one was whole once, and what it held was acknowledged. A first record that is newer proves
// that the store is older than it should be, and one of a generation that the store
// does not name, that the journal is another one. Then nothing may go on: queue.ErrDamaged.
//
// Later content may look like a record, since mail may be hostile; but no sender can know the
// generation.
func (j *Journal) CatchUp(now Mark, flags int, apply func([]Change) error) (Totals, bool, error) {
	if err := j.open(flags); err != nil {
		return Totals{}, false, err
	}
	j.Restart(now)
	f := &reading{Journal: j}
	size, err := j.usable(f)
	if err == nil && size > 0 {
		err = j.replay(f, size, apply)
	}
	return j.tail, j.seq > 0, err
}

func (j *Journal) replay(f *reading, size int64, apply func([]Change) error) error {
	first, ok := readRecord(f, j.end, size)
	if f.err != nil {
		return f.err
	}
	if ok {
		if err := j.mark.admits(first.Generation, j.f.Name()); err != nil {
			return err
		}
	}
	if !j.mark.Armed {
		return nil
	}
	for {
		r, ok := readRecord(f, j.end, size)
		if !ok || r.Generation != j.mark.Generation || r.seq != j.seq+1 {
			break
		}
		if err := r.apply(apply); err != nil {
			return err
		}
		j.pass(r)
	}
	if f.err != nil {
		return f.err
	}
	return j.searchBehind(f, size)
}

// admits says whether the file may begin with a record of generation g. It is
// that of the mark, or the last one that had records, run and number. Where the store
// counts on no journal, another one may hold mail of another queue, which would be
// written over.
func (m Mark) admits(g Generation, file string) error {
	used := g == m.Used || m.Used.Run == 0 && g.Number == m.Used.Number
	switch {
	case g == m.Generation && m.Armed, used:
		return nil
	case g.Number >= m.Number:
		return fmt.Errorf("%w; %s", queue.Damaged("%s holds mail that is newer than queue.db beside it, or belongs to another queue", file), toDo)
	case !m.Armed:
		return fmt.Errorf("%w; nothing was changed; move it away and keep it, to go on: all mail of this queue.db is in queue.db", queue.Damaged("%s belongs to another queue, or is older than queue.db beside it, which needs none", file))
	case g.Number < m.Used.Number:
		return fmt.Errorf("%w; %s", queue.Damaged("%s is older than queue.db beside it, which counts on a newer one, or belongs to another queue", file), toDo)
	}
	return fmt.Errorf("%w; %s", queue.Damaged("%s belongs to another queue than queue.db beside it", file), toDo)
}

// searchBehind looks for records of this generation after the last that is
// whole: they prove that one is missing.
func (j *Journal) searchBehind(f *reading, size int64) error {
	j.torn = j.renamed(f, size)
	for off := j.end; off < size; off += Block {
		r, _, ok := readHead(f, off, 1<<62) // also where the file ends before it does
		if !ok || r.Generation != j.mark.Generation {
			continue
		}
		j.torn = j.torn || off == j.end
		proof := "was begun" // and is torn or damaged itself
		if _, whole := readRecord(f, off, size); whole {
			proof = "is whole"
		} else if off == j.end {
			continue
		}
		return fmt.Errorf("%w; %s; or keep a copy of all and cut the journal there, `truncate -s %d %s`, to go on without what was accepted from then on", queue.Damaged("record %d of %s is damaged, and what it held was acknowledged: record %d behind it %s",
			j.seq+1, j.f.Name(), r.seq, proof), toDo, j.end, j.f.Name())
	}
	return f.err
}

// renamed says whether a record follows that is whole but for what its header
// says of itself: its magic, its generation, its place.
func (j *Journal) renamed(f io.ReaderAt, size int64) bool {
	var head [recordHeader]byte
	if n, _ := f.ReadAt(head[:], j.end); n < len(head) {
		return false
	}
	crc := binary.BigEndian.Uint32(head[4:])
	binary.BigEndian.PutUint32(head[:], recordMagic)
	for i, v := range [...]uint64{j.mark.Run, j.mark.Number, j.seq + 1} {
		binary.BigEndian.PutUint64(head[8+8*i:], v)
	}
	length := binary.BigEndian.Uint64(head[32:])
	if length > 2*MaxRecord || int64(length) > size-j.end-recordHeader {
		return false
	}
	changes := make([]byte, length)
	n, _ := f.ReadAt(changes, j.end+recordHeader)
	return n == len(changes) && crc == crc32.Update(crc32.Checksum(head[8:], castagnoli), castagnoli, changes)
}

// Torn says what CatchUp left out; "": nothing.
func (j *Journal) Torn() string {
	if !j.torn {
		return ""
	}
	return fmt.Sprintf("the last record of the journal is not whole (record %d of %s); unless the power failed just now, or the process was killed while it wrote, what was accepted last may be missing",
		j.seq+1, Path(j.dir))
}

// WarnTorn tells of what CatchUp left out.
func (j *Journal) WarnTorn(log *slog.Logger) {
	if torn := j.Torn(); torn != "" {
		log.Warn(torn)
	}
}

// Again gives apply the groups of this generation a second time: a transaction
// of the store that had them was rolled back.
func (j *Journal) Again(apply func([]Change) error) error {
	last, f := j.seq, &reading{Journal: j}
	for j.seq, j.end = 0, Block; j.seq < last; {
		r, ok := readRecord(f, j.end, 1<<62)
		if f.err != nil {
			return f.err
		}
		if !ok || r.Generation != j.mark.Generation || r.seq != j.seq+1 {
			return queue.Damaged("record %d of %s cannot be read back", j.seq+1, j.f.Name())
		}
		if err := r.apply(apply); err != nil {
			return err
		}
		j.pass(r)
	}
	return nil
}

func (j *Journal) pass(r record) {
	j.seq, j.tail = r.seq, r.totals
	j.end += r.size
	j.length.Store(j.end - Block)
}

// usable is the size of the file; 0: there is nothing in it. If the store counts on a journal that
// is missing, it may have held mail.
func (j *Journal) usable(f *reading) (size int64, err error) {
	if j.f != nil && titled(f) {
		info, err := j.f.Stat()
		if err != nil {
			return 0, fmt.Errorf("the queue's journal cannot be read: %w", err)
		}
		return info.Size(), nil
	}
	if f.err != nil {
		return 0, f.err
	}
	if j.mark.Armed {
		return 0, fmt.Errorf("%w; %s; or, where it is lost, make a queue.journal of the one line %q, to go on without what was accepted last",
			queue.Damaged("queue.journal is missing or empty, but queue.db was not closed and counts on it: mail that was acknowledged last may be in it"), toDo, strings.TrimSpace(title))
	}
	return 0, nil
}

// apply gives f the changes of one record.
func (r *record) apply(f func([]Change) error) error {
	changes, ok := parseChanges(r.changes)
	if !ok {
		return Unreadable()
	}
	return f(changes)
}

// Unreadable is the error for a record that is complete but has no valid content: another program
// wrote it.
func Unreadable() error {
	return fmt.Errorf("%w; %s", queue.Damaged("a record of queue.journal is whole, but its changes cannot be read"), toDo)
}

// parseChanges reads what Record.Put and Record.Remove wrote.
func parseChanges(b []byte) (all []Change, ok bool) {
	field := func() []byte {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			ok = false
			return nil
		}
		v := b[used : used+int(n)]
		b = b[used+int(n):]
		return v
	}
	for ok = true; ok && len(b) > 0 && b[0] != 0; { // zeros: after the last
		c := Change{Table: b[0] &^ removes, Removed: b[0]&removes != 0}
		b = b[1:]
		c.Key = field()
		if ok && !c.Removed {
			c.Value = field()
		}
		ok = ok && c.Table != 0 && len(c.Key) > 0
		all = append(all, c)
	}
	return all, ok
}

// Used says whether dir has a journal that records were ever written to.
func Used(dir string) bool {
	info, err := os.Stat(Path(dir))
	return err == nil && info.Size() > Block
}
