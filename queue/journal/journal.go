// Package journal keeps groups of changes in a file until a store has them: one
// checksummed record a group, written with one write and made durable by one
// flush. It knows tables by number and rows as octets, and nothing of the store.
//
// A store uses it like this: [Journal.CatchUp] at start gives back the records that the
// store lacks; [Journal.Add] makes a group durable; once a commit of the store
// holds all of them and [Journal.Next] beside them, [Journal.Restart] retires the
// records, and the next one is written over the first. Blocks that were
// written before cost a third of new ones.
//
// It has no goroutines and no locks: a Journal belongs to one goroutine, but for
// Length and Written.
package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/relay/durable"
)

// A record is, big-endian:
//
//	 0 u32  magic
//	 4 u32  CRC-32C of everything after it
//	 8 u64  generation: which run of a store,
//	16 u64              and which commit, counted over the life of the store
//	24 u64  sequence: 1, 2, 3 ... in its generation
//	32 u64  length of the changes, in octets, to the end of a block
//	40 u64  the four Totals
//	72      the changes: u8 table and whether it is removed, then the key and,
//	        if it is not, the value, both after their length (varint); zeros
//	        after the last
//
// It begins at a multiple of 4 KiB, so that what was acknowledged is never
// written again until a commit of the store has made it history.
const (
	Name         = "queue.journal" // of the file, in the data directory
	Block        = 4096            // octets; a record begins at a multiple of it
	recordMagic  = 0x64774A52
	recordHeader = 72

	// MaxRecord bounds the keys and values of any record, in octets.
	MaxRecord = 8 << 20

	// removes marks the table of a change that removes a row.
	removes = 1 << 7
)

// title begins the first block of the file; records begin after it. A journal
// without it is one that was lost. In one with the title of older versions no record
// is longer than 1.25 MiB, and they take longer ones for torn.
const (
	title      = "dawk queue journal 2\n"
	olderTitle = "dawk queue journal 1\n"
)

// Generation says which records belong to a state of the store: those that the
// same run wrote since the same commit.
type Generation struct{ Run, Number uint64 }

// Mark is what each commit of the store says of its journal.
type Mark struct {
	Generation
	Armed bool       // records of this generation may exist: the store alone is not all
	Used  Generation // the last one that had records: they begin the file until the next record. Run 0: an older dawk wrote the number alone
}

// Encode is for DecodeMark.
func (m Mark) Encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, m.Run)
	b = binary.BigEndian.AppendUint64(b, m.Number)
	b = binary.BigEndian.AppendUint64(b, m.Used.Number)
	if m.Armed {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, m.Used.Run)
}

// DecodeMark reads what Encode wrote; nil is the zero Mark. False: it is damaged.
func DecodeMark(b []byte) (Mark, bool) {
	switch {
	case b == nil:
		return Mark{}, true
	case len(b) != 25 && len(b) != 33 || b[24] > 1:
		return Mark{}, false
	}
	word := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	m := Mark{Generation{word(0), word(8)}, b[24] == 1, Generation{Number: word(16)}}
	if len(b) == 33 {
		m.Used.Run = word(25)
	}
	return m, true
}

// Totals are what the store keeps beside its rows, as of the end of a group.
type Totals struct{ High, Messages, Deliveries, Quarantined uint64 }

// Journal is the file, and where in it we are.
type Journal struct {
	dir  string
	f    *os.File // nil: there is none
	hook func(point string) error
	mark Mark
	seq  uint64 // of the last record of this generation
	end  int64  // where the next one begins
	tail Totals // of the last record
	made bool   // the file and its name are durable
	torn bool   // a replay found an incomplete record at its end

	length  atomic.Int64
	written atomic.Int64
}

// New is the journal of a data directory. Hook, which may be nil, is for tests:
// an error that it returns at a named point is treated as the failure of what
// the point stands for.
func New(dir string, hook func(point string) error) *Journal {
	if hook == nil {
		hook = func(string) error { return nil }
	}
	return &Journal{dir: dir, hook: hook}
}

// Path is the file of the journal of dir.
func Path(dir string) string { return filepath.Join(dir, Name) }

// Records is how many groups the store lacks.
func (j *Journal) Records() uint64 { return j.seq }

// Length is how many octets these are. Any goroutine may ask.
func (j *Journal) Length() int64 { return j.length.Load() }

// Written is how many octets Add has written in all. Any goroutine may ask.
func (j *Journal) Written() int64 { return j.written.Load() }

// End is where the next record begins, in octets.
func (j *Journal) End() int64 { return j.end }

// Mark is what the store's last commit says.
func (j *Journal) Mark() Mark { return j.mark }

// Record collects the changes of one group. Large values are not copied: they
// must not change until it is added.
type Record struct {
	Most int // octets of keys and values, at most MaxRecord

	buf    []byte   // with room for the header in front
	parts  [][]byte // of buf and of large, in their order: see pieces
	large  []largeValue
	length int // of the changes, in octets
}

// largeValue is a value of a record, after the first at octets of buf.
type largeValue struct {
	at    int
	value []byte
	known int    // octets at the end of value
	crc   uint32 // of these
}

// largeAbove is the size from which a value is written from where it lies, in octets.
const largeAbove = 4 << 10

// Reset empties r, and keeps its memory.
func (r *Record) Reset() {
	r.buf = append(r.buf[:0], make([]byte, recordHeader)...)
	clear(r.large)
	clear(r.parts)
	r.large, r.length = r.large[:0], 0
}

// Fits says whether a change of that many octets of key and value may be added.
func (r *Record) Fits(octets int) bool { return r.length+octets <= r.Most } // readHead leaves room for lengths

// Put adds a row of a table, whose number is 1 to 127.
func (r *Record) Put(table byte, key, value []byte) {
	before := len(r.buf)
	r.key(table, key)
	r.buf = binary.AppendUvarint(r.buf, uint64(len(value)))
	if len(value) >= largeAbove {
		r.large = append(r.large, largeValue{at: len(r.buf), value: value})
		r.length += len(value)
	} else {
		r.buf = append(r.buf, value...)
	}
	r.length += len(r.buf) - before
}

// Known says what CRC-32C the last octets of the value have that was put last: they need not be
// read once more for the checksum of the record.
func (r *Record) Known(octets int, crc uint32) {
	if n := len(r.large) - 1; n >= 0 && r.large[n].at == len(r.buf) {
		r.large[n].known, r.large[n].crc = octets, crc
	}
}

// Remove adds the removal of a row.
func (r *Record) Remove(table byte, key []byte) {
	before := len(r.buf)
	r.key(table|removes, key)
	r.length += len(r.buf) - before
}

func (r *Record) key(table byte, key []byte) {
	r.buf = append(r.buf, table)
	r.buf = binary.AppendUvarint(r.buf, uint64(len(key)))
	r.buf = append(r.buf, key...)
}

// pieces are what the record is made of, the header first.
func (r *Record) pieces() [][]byte {
	r.parts = r.parts[:0]
	from := 0
	for _, l := range r.large {
		r.parts = append(r.parts, r.buf[from:l.at], l.value)
		from = l.at
	}
	r.parts = append(r.parts, r.buf[from:])
	return r.parts
}

// Add makes one group durable. An error whose operation is "write" says that
// nothing was done; any other leaves the outcome unknown.
func (j *Journal) Add(r *Record, t Totals) error {
	// A page that is written as a whole need not be read before; and a record that a full disk cuts
	// short is never complete.
	pad := -(recordHeader + r.length) & (Block - 1)
	r.buf = append(r.buf, make([]byte, pad)...)
	r.length += pad
	j.seal(r, t)
	size := int64(recordHeader + r.length)
	if err := j.hook("journal"); err != nil {
		return err
	}
	err := writeAt(j.f, r.pieces(), j.end)
	if err == nil {
		err = Datasync(j.f)
	}
	if err != nil {
		return err
	}
	j.seq++
	j.end += size
	j.tail = t
	j.length.Store(j.end - Block)
	j.written.Add(size)
	return j.hook("journaled")
}

// Next is the mark for a commit that holds all records. Armed: records may follow, if Prepare has
// succeeded.
func (j *Journal) Next(run uint64, armed bool) Mark {
	next := Mark{Generation{run, j.mark.Number + 1}, armed && j.made, j.mark.Used}
	if j.seq > 0 {
		next.Used = j.mark.Generation
	}
	return next
}

// Restart retires all records. The store's mark must say so already, and durably.
func (j *Journal) Restart(now Mark) {
	j.mark, j.seq, j.end, j.tail = now, 0, Block, Totals{}
	j.length.Store(0)
}

// open opens the file; j.f stays nil where there is none.
func (j *Journal) open(flags int) error {
	f, err := os.OpenFile(Path(j.dir), flags, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the queue's journal cannot be opened: %w", err)
	}
	j.f = f
	return nil
}

// Prepare makes the file, if it is missing, and its name, its title and the
// first record that the store lacks durable: from then on the store may count on
// it. The next commit names the generation of that record. The file gets blocks
// for that many octets of records, where there are any. An error that wraps
// durable.ErrUnsynced says that records which are there may not be durable.
func (j *Journal) Prepare(octets int64) (err error) {
	if j.f == nil {
		if err = j.open(os.O_RDWR | os.O_CREATE); err != nil {
			return err
		}
		if err = Own(j.f.Name()); err != nil {
			return fmt.Errorf("the queue's journal cannot be made: %w", err)
		}
	}
	// Also where it is there: a run that was killed may have written it and not
	// synced it, or its sync failed, and a power cut would take it away again.
	first := make([]byte, Block)
	copy(first, title)
	if j.seq > 0 {
		first, err = j.withFirst(first)
	}
	if err == nil {
		_, err = j.f.WriteAt(first, 0)
	}
	if err == nil {
		err = j.hook("journal.title")
	}
	if err != nil && j.seq > 0 { // without room for them, the records that are there must be durable all the same
		if lost := j.sync(); lost != nil {
			err = lost
		}
	}
	if err == nil && octets > 0 {
		fallocate(j.f, unix.FALLOC_FL_KEEP_SIZE, Block, Block+octets) //nolint:errcheck // fewer blocks cost speed alone
	}
	if err == nil {
		err = j.sync()
	}
	if err == nil {
		err = durable.SyncDir(j.dir)
	}
	if err != nil {
		return fmt.Errorf("the queue's journal cannot be made: %w", err)
	}
	j.made = true
	return nil
}

func (j *Journal) sync() error {
	err := j.hook("journal.sync")
	if err == nil {
		err = Datasync(j.f)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", durable.ErrUnsynced, err)
	}
	return nil
}

// withFirst appends the first record, as it was read. Written again it is what
// the disk has, or lost in a sync that failed: after that the kernel takes it for
// written, and a sync alone does nothing.
func (j *Journal) withFirst(title []byte) ([]byte, error) {
	f := &reading{Journal: j}
	r, ok := readRecord(f, Block, 1<<62)
	switch {
	case f.err != nil:
		return nil, f.err
	case !ok || r.Generation != j.mark.Generation || r.seq != 1:
		return nil, queue.Damaged("record 1 of %s cannot be read back", j.f.Name())
	}
	return append(append(title, r.head[:]...), r.changes...), j.hook("journal.again")
}

// Prepared says whether Prepare has succeeded.
func (j *Journal) Prepared() bool { return j.made }

// Close closes the file. It may be called again.
func (j *Journal) Close() error {
	if j.f == nil {
		return nil
	}
	f := j.f
	j.f = nil
	return f.Close()
}

// Remove removes the file once the store says that there are no records. A file that stays has no
// effect.
func (j *Journal) Remove() error { return os.Remove(Path(j.dir)) }

// titled says whether f begins like a journal.
func titled(f io.ReaderAt) bool {
	var b [len(title)]byte
	n, _ := f.ReadAt(b[:], 0)
	return n == len(b) && (string(b[:]) == title || string(b[:]) == olderTitle)
}
