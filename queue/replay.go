package queue

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"strings"
)

// record is one group of changes, read back.
type record struct {
	generation
	seq uint64
	totals
	head    [recordHeader]byte
	changes []byte
	size    int64 // in the file, octets
}

// reading notes a read that failed: what the disk does not give is not what a
// crash tore.
type reading struct {
	*journal
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
	if length > 2*maxRecord || int64(length) > size-off-recordHeader || (recordHeader+length)%journalBlock != 0 {
		return r, 0, false
	}
	r = record{generation: generation{word(0), word(1)}, seq: word(2), head: head, totals: totals{word(4), word(5), word(6), word(7)}}
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

// journalToDo ends every refusal of a journal that does not fit its queue.db.
const journalToDo = "nothing was changed; put the right files back, restore a backup into an empty directory, or move queue.db, queue.journal and spool away, together, to start empty"

// replay applies the records that queue.db, whose open transaction t is, lacks.
// It leaves j behind the last one.
//
// The first record that does not fit is where a crash tore the last write,
// which nobody was told of. A record is begun only when the one before it is
// durable: so the head of a later one of the same generation, whole or not, proves
// that this one was whole once, and what it held was acknowledged. A first record that is newer proves
// that queue.db is older than it should be, and one that is older than those that
// queue.db has seen, that the journal is. Then nothing may go on.
//
// Behind the first record anything may look like one: mail is hostile. But
// nobody knows the generation.
//
// Touched, which may be nil, is told whose rows the records changed.
func (j *journal) replay(t tables, touched func([]uint64)) error {
	j.restart(j.now)
	f := &reading{journal: j}
	size, err := j.usable(f)
	if err != nil || size == 0 {
		return err
	}
	first, ok := readRecord(f, j.end, size)
	if f.err != nil {
		return f.err
	}
	if ok && first.generation != j.now.generation && first.number >= j.now.number || ok && !j.now.armed && first.generation == j.now.generation {
		return fmt.Errorf("%w; %s", damaged("%s holds mail that is newer than queue.db beside it, or belongs to another queue", j.f.Name()), journalToDo)
	}
	if !j.now.armed {
		return nil
	}
	if ok && first.number < j.now.used {
		return fmt.Errorf("%w; %s", damaged("%s is older than queue.db beside it, which counts on a newer one", j.f.Name()), journalToDo)
	}
	for {
		r, ok := readRecord(f, j.end, size)
		if !ok || r.generation != j.now.generation || r.seq != j.seq+1 {
			break
		}
		if err := t.redo(r.changes, true, touched); err != nil {
			return err
		}
		j.pass(r)
	}
	if f.err != nil {
		return f.err
	}
	for off := j.end; off < size; off += journalBlock {
		r, _, ok := readHead(f, off, 1<<62) // also where the file ends before it does
		if !ok || r.generation != j.now.generation {
			continue
		}
		j.torn = j.torn || off == j.end
		proof := "was begun" // and is torn or damaged itself
		if _, whole := readRecord(f, off, size); whole {
			proof = "is whole"
		} else if off == j.end {
			continue
		}
		return fmt.Errorf("%w; %s; or keep a copy of all and cut the journal there, `truncate -s %d %s`, to go on without what was accepted from then on", damaged("record %d of %s is damaged, and what it held was acknowledged: record %d behind it %s",
			j.seq+1, j.f.Name(), r.seq, proof), journalToDo, j.end, j.f.Name())
	}
	return f.err
}

// warnTorn tells of what a replay left out.
func (j *journal) warnTorn(log *slog.Logger) {
	if j.torn {
		log.Warn("the last record of the journal is not whole; unless the power failed just now, or the process was killed while it wrote, what was accepted last may be missing",
			"file", j.f.Name(), "record", j.seq+1)
	}
}

// again applies the records of this run a second time: a transaction that had
// them was rolled back. bodies false: it leaves new messages out.
func (j *journal) again(t tables, bodies bool) error {
	last, f := j.seq, &reading{journal: j}
	for j.seq, j.end = 0, journalBlock; j.seq < last; {
		r, ok := readRecord(f, j.end, 1<<62)
		if f.err != nil {
			return f.err
		}
		if !ok || r.generation != j.now.generation || r.seq != j.seq+1 {
			return damaged("record %d of %s cannot be read back", j.seq+1, j.f.Name())
		}
		if err := t.redo(r.changes, bodies, nil); err != nil {
			return err
		}
		j.pass(r)
	}
	return nil
}

func (j *journal) pass(r record) {
	j.seq, j.tail = r.seq, r.totals
	j.end += r.size
	j.length.Store(j.end - journalBlock)
}

// usable is the size of the file; 0: there is nothing in it. A journal that
// queue.db counts on and that is not there may have held mail.
func (j *journal) usable(f *reading) (size int64, err error) {
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
	if j.now.armed {
		return 0, fmt.Errorf("%w; %s; or, where it is gone for good, make a queue.journal of the one line %q, to go on without what was accepted last",
			damaged("queue.journal is missing or empty, but queue.db was not closed and counts on it: mail that was acknowledged last may be in it"), journalToDo, strings.TrimSpace(journalTitle))
	}
	return 0, nil
}

// redo makes the changes of one record, with or without new messages. Touched,
// which may be nil, is told whose rows they are.
func (t tables) redo(changes []byte, bodies bool, touched func([]uint64)) error {
	d := dec{b: changes}
	var ids []uint64
	for len(d.b) > 0 && d.b[0] != 0 { // zeros: behind the last
		kind := d.u8()
		b := t.byNumber(kind &^ changeRemoves)
		key := d.bytes()
		removed := kind&changeRemoves != 0
		var value []byte
		if !removed {
			value = d.bytes()
		}
		if d.bad || b == nil || len(key) == 0 {
			return fmt.Errorf("%w; %s", damaged("a record of queue.journal is whole, but its changes cannot be read"), journalToDo)
		}
		var err error
		switch {
		case removed:
			err = b.Delete(key)
		case bodies || b != t.msg:
			err = b.Put(key, value)
		}
		if err != nil {
			return fmt.Errorf("replay the queue's journal: %w", err)
		}
		ids = t.owner(ids, b, key)
	}
	if touched != nil {
		touched(ids)
	}
	return nil
}
