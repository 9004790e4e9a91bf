package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	bolt "go.etcd.io/bbolt"
)

// A commit of bbolt costs two flushes and pages all over its file. So the
// write transaction stays open for a while, and each group is made durable by a
// record of what it changed, written to the file queue.journal with one write
// and one flush. When the transaction is committed at last, a checkpoint, the
// records are history, and the journal begins again at its start: blocks that
// were written before cost a third of new ones.
//
// A record is, big-endian:
//
//	 0 u32  magic
//	 4 u32  CRC-32C of everything behind it
//	 8 u64  generation: which run of a queue,
//	16 u64              and which checkpoint, counted over the life of queue.db
//	24 u64  sequence: 1, 2, 3 ... in its generation
//	32 u64  length of the changes, in octets, to the end of a block
//	40 u64  high, messages, deliveries and rows set aside, as sys keeps them,
//	        with the group done
//	72      the changes: u8 table and whether it is removed, then the key and,
//	        if it is not, the value, both behind their length (varint); zeros
//	        behind the last
//
// It begins at a multiple of 4 KiB, so that what was acknowledged is never
// written again until a checkpoint has made it history.
const (
	journalName  = "queue.journal"
	journalBlock = 4096
	recordMagic  = 0x64774A52
	recordHeader = 72

	// maxRecord bounds the keys and values of one record, in octets. A larger group is
	// committed to queue.db at once: there two flushes cost less than to write
	// twice what is not delivered before the next checkpoint. Measured with 64
	// bodies of 64 KiB and 16 of 256 KiB, which are a fifth slower in the journal,
	// and 16 of 64 KiB, which are 1.6 times as fast.
	maxRecord = 5 << 18
)

// journalTitle begins the first block of the file; records begin behind it. A
// journal without it is one that was lost.
const journalTitle = "dawk queue journal 1\n"

// generation says which records belong to a state of queue.db: those that the
// same run of the queue wrote since the same checkpoint.
type generation struct{ run, number uint64 }

// jotted is what sys says of the journal.
type jotted struct {
	generation
	armed bool   // records of this generation may exist: queue.db alone is not all
	used  uint64 // the last number of which there were records: the first in the journal is not older
}

func (j jotted) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, j.run)
	b = binary.BigEndian.AppendUint64(b, j.number)
	b = binary.BigEndian.AppendUint64(b, j.used)
	if j.armed {
		return append(b, 1)
	}
	return append(b, 0)
}

// readJotted is zero for a file of layout 1, which knew no journal.
func readJotted(sys *bolt.Bucket) (j jotted, err error) {
	v := sys.Get(sysJournal)
	switch {
	case v == nil:
		return j, nil
	case len(v) != 25 || v[24] > 1:
		return j, damaged("its bucket sys cannot be read")
	}
	return jotted{generation{binary.BigEndian.Uint64(v), binary.BigEndian.Uint64(v[8:])}, v[24] == 1, binary.BigEndian.Uint64(v[16:])}, nil
}

// totals are what sys keeps beside the rows, as of the end of a group.
type totals struct{ high, messages, deliveries, setAside uint64 }

// journal is the file, and where in it we are. It belongs to the writer.
type journal struct {
	f    *os.File // nil: there is none
	hook func(string) error
	now  jotted
	seq  uint64 // of the last record of this generation
	end  int64  // where the next one begins
	tail totals // of the last record
	made bool   // the file and its name are durable
	torn bool   // a replay found a record at its end that is not whole

	length  atomic.Int64 // octets of records that are no history yet
	written atomic.Int64 // octets since the start
}

func journalPath(dir string) string { return filepath.Join(dir, journalName) }

// draftRecord collects the changes of one group. Large values are not copied.
type draftRecord struct {
	buf    []byte // with room for the header in front
	large  []largeValue
	length int // of the changes, in octets
}

// largeValue belongs into a record where at octets of buf are before it.
type largeValue struct {
	at    int
	value []byte
}

// largeAbove is the size from which a value is written from where it lies: a
// system call costs about as much as copying so much. In octets.
const largeAbove = 16 << 10

func (r *draftRecord) reset() {
	r.buf = append(r.buf[:0], make([]byte, recordHeader)...)
	clear(r.large)
	r.large, r.length = r.large[:0], 0
}

// change adds one change.
func (r *draftRecord) change(table byte, key, value []byte, removed bool) {
	before := len(r.buf)
	if removed {
		table |= changeRemoves
	}
	r.buf = append(r.buf, table)
	r.buf = binary.AppendUvarint(r.buf, uint64(len(key)))
	r.buf = append(r.buf, key...)
	if !removed {
		r.buf = binary.AppendUvarint(r.buf, uint64(len(value)))
		if len(value) >= largeAbove {
			r.large = append(r.large, largeValue{len(r.buf), value})
			r.length += len(value)
		} else {
			r.buf = append(r.buf, value...)
		}
	}
	r.length += len(r.buf) - before
}

// pieces calls f for what the record is made of, from octet from of buf on.
func (r *draftRecord) pieces(from int, f func([]byte) error) error {
	for _, l := range r.large {
		if err := f(r.buf[from:l.at]); err != nil {
			return err
		}
		if err := f(l.value); err != nil {
			return err
		}
		from = l.at
	}
	return f(r.buf[from:])
}

// add makes one group durable. An error for which isFull holds means that
// nothing was done.
func (j *journal) add(r *draftRecord, t totals) error {
	// A page that is written as a whole need not be read before; and what a full
	// disk cuts short is never a whole record.
	pad := -(recordHeader + r.length) & (journalBlock - 1)
	r.buf = append(r.buf, make([]byte, pad)...)
	r.length += pad
	j.seal(r, t)
	size := int64(recordHeader + r.length)
	if err := j.hook("journal"); err != nil {
		return err
	}
	at := j.end
	err := r.pieces(0, func(b []byte) error {
		n, err := j.f.WriteAt(b, at)
		at += int64(n)
		return err
	})
	if err == nil {
		err = datasync(j.f)
	}
	if err != nil {
		return err
	}
	j.seq++
	j.end += size
	j.tail = t
	j.length.Store(j.end - journalBlock)
	j.written.Add(size)
	return j.hook("journaled")
}

// seal fills in the header.
func (j *journal) seal(r *draftRecord, t totals) {
	head := r.buf[:recordHeader]
	binary.BigEndian.PutUint32(head, recordMagic)
	for i, v := range [...]uint64{j.now.run, j.now.number, j.seq + 1, uint64(r.length),
		t.high, t.messages, t.deliveries, t.setAside} {
		binary.BigEndian.PutUint64(head[8+8*i:], v)
	}
	var crc uint32
	r.pieces(8, func(b []byte) error {
		crc = crc32.Update(crc, castagnoli, b)
		return nil
	})
	binary.BigEndian.PutUint32(head[4:], crc)
}

// next is what sys says of the journal once all its records are history.
func (j *journal) next(run uint64, armed bool) jotted {
	next := jotted{generation{run, j.now.number + 1}, armed, j.now.used}
	if j.seq > 0 {
		next.used = j.now.number
	}
	return next
}

// restart makes all records history. queue.db must say so already, and durably.
func (j *journal) restart(now jotted) {
	j.now, j.seq, j.end, j.tail = now, 0, journalBlock, totals{}
	j.length.Store(0)
}

// openJournal opens the journal of dir; nil: there is none.
func openJournal(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(journalPath(dir), flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the queue's journal cannot be opened: %w", err)
	}
	return f, nil
}

// ready makes the file, if it is missing, and its name and its title durable:
// from then on queue.db may count on it.
func (j *journal) ready(dir string) (err error) {
	if j.f == nil {
		if j.f, err = openJournal(dir, os.O_RDWR|os.O_CREATE); err != nil {
			return err
		}
	}
	// Also where it is there: a run that was killed may have written it and not
	// synced it, or its sync failed, and a power cut would take it away again.
	title := make([]byte, journalBlock)
	copy(title, journalTitle)
	if _, err = j.f.WriteAt(title, 0); err == nil {
		err = j.hook("journal.title")
	}
	if err == nil {
		err = datasync(j.f)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("the queue's journal cannot be made: %w", err)
	}
	j.made = true
	return nil
}

func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	return j.f.Close()
}

// titled says whether f begins like a journal.
func titled(f io.ReaderAt) bool {
	var b [len(journalTitle)]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == len(b) && string(b[:]) == journalTitle
}

// The tables of changes.
const (
	tableMsg = 1 + iota
	tableSched
	tableHist
	tableCorrupt
	tableDigest
	changeRemoves = 1 << 7
)
