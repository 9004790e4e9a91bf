package suppression

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/maphash"
	"io"
	"log/slog"
	"math"
	"os"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// The file begins with a title. Records follow, big-endian:
//
//	0 u32  length of what follows the checksum, in octets
//	4 u32  CRC-32C of it
//	8      flags, failures, then as varints: time of the last failure, since, expires
//	       (in seconds), key and directory of the queue ID; then identity, address and
//	       reason, each after its length
//
// The last record of an address is the one in force.
const (
	title        = "dawk suppression 1\n"
	headerSize   = 8
	longest      = 8 << 10 // of a record, in octets
	most         = 8 << 20 // entries
	flagRemoved  = 1
	wastefulFrom = 1 << 20 // octets below which a file is not written anew
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errFull says that the list takes no more.
var errFull = fmt.Errorf("the list has %d entries, as many as it may; remove some", most)

// record is what is noted of an address for an identity: failures that do not make an
// entry yet, or an entry.
type record struct {
	identity, address, reason string
	strikes                   int
	last                      int64 // when the last failure was, in seconds
	since, expires            int64 // of the entry, in seconds; 0: there is none
	id                        relay.QueueID
	removed                   bool
}

func (r *record) listed(now int64) bool { return !r.removed && r.since != 0 && r.expires > now }

func (r *record) entry() Entry {
	return Entry{Address: r.address, Identity: r.identity, Reason: r.reason, QueueID: r.id,
		Since: time.Unix(r.since, 0).UTC(), Expires: time.Unix(r.expires, 0).UTC()}
}

func recordOf(e Entry) record {
	return record{identity: e.Identity, address: e.Address, reason: e.Reason, since: e.Since.Unix(), expires: e.Expires.Unix(), id: e.QueueID}
}

func (r *record) encode(b []byte) []byte {
	at := len(b)
	b = append(b, make([]byte, headerSize)...)
	flags := byte(0)
	if r.removed {
		flags = flagRemoved
	}
	b = append(b, flags, byte(r.strikes))
	for _, n := range [...]uint64{uint64(r.last), uint64(r.since), uint64(r.expires), r.id.Key, uint64(r.id.Dir)} {
		b = binary.AppendUvarint(b, n)
	}
	for _, s := range [...]string{r.identity, r.address, r.reason} {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-headerSize))
	binary.BigEndian.PutUint32(b[at+4:], crc32.Checksum(b[at+headerSize:], castagnoli))
	return b
}

var errDamaged = errors.New("a record is damaged")

// decode reads what follows the checksum.
func decode(b []byte) (r record, err error) {
	if len(b) < 2 {
		return r, errDamaged
	}
	r.removed, r.strikes = b[0]&flagRemoved != 0, int(b[1])
	b = b[2:]
	all := string(b) // the texts are parts of it
	number := func() uint64 {
		n, used := binary.Uvarint(b)
		if used <= 0 {
			err = errDamaged
			return 0
		}
		b = b[used:]
		return n
	}
	text := func() string {
		n := number()
		if err != nil || n > uint64(len(b)) {
			err = errDamaged
			return ""
		}
		s := all[len(all)-len(b):][:n]
		b = b[n:]
		return s
	}
	r.last, r.since, r.expires = int64(number()), int64(number()), int64(number())
	r.id = relay.QueueID{Key: number(), Dir: uint32(number())}
	r.identity, r.address, r.reason = text(), text(), text()
	return r, err
}

// file is the list on disk, and where in it each entry stands. Two addresses with the
// same hash would hide each other; with 64 bits that does not happen.
type file struct {
	f    *os.File
	size int64
	live int64 // octets of records that are in force
	// skipped is how many records in the middle cannot be read.
	skipped int
	seed    maphash.Seed
	index   map[uint64]uint32 // where the record of an address begins, and isEntry
	entries int               // that have isEntry
	buffers sync.Pool         // of read
}

// isEntry is the bit of an index that tells entries, those whose time is up too, from
// what is noted of failures. A file is below 2 GiB, so no offset has it.
const isEntry = 1 << 31

func (f *file) hash(identity, address string) uint64 {
	var h maphash.Hash
	h.SetSeed(f.seed)
	h.WriteString(identity)
	h.WriteByte(0)
	h.WriteString(address)
	return h.Sum64()
}

// openFile reads the file, which is made if it is missing. What a crash left at its end
// is cut off; a file that is damaged elsewhere is kept beside it.
func openFile(path string, log *slog.Logger) (_ *file, err error) {
	durable.Sweep(path)
	if err := durable.New(path, []byte(title)); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	f := &file{seed: maphash.MakeSeed(), index: map[uint64]uint32{}}
	if f.f, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	info, err := f.f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.f.Close())
	}
	err = f.each(info.Size(), func(at int64, r *record, n int) error {
		f.note(r, at, int64(n))
		return nil
	})
	switch {
	case err == nil:
	case !errors.Is(err, errDamaged):
		return nil, errors.Join(err, f.f.Close())
	case f.skipped > 0 || info.Size()-f.size > longest: // more than a write that was cut
		aside := path + ".damaged"
		log.Error("the suppression list is damaged: what can be read is used, and the file is kept", "records", f.skipped, "end", f.size, "kept", aside)
		_ = os.Remove(aside)
		if err := os.Link(path, aside); err != nil {
			return nil, errors.Join(err, f.f.Close())
		}
		next, err := f.rewritten(nil, 0)
		return next, errors.Join(err, f.f.Close())
	default:
		log.Warn("a record that a crash cut short was removed from the end of the suppression list", "offset", f.size)
		if err := f.f.Truncate(f.size); err != nil {
			return nil, errors.Join(err, f.f.Close())
		}
	}
	return f, nil
}

// each reads the records up to size, in order, and sets f.size to the end of the last
// whole one. One that is not is skipped where another follows it; errDamaged tells of it
// at the end.
func (f *file) each(size int64, do func(at int64, r *record, n int) error) error {
	in := bufio.NewReaderSize(io.NewSectionReader(f.f, 0, size), 256<<10)
	head := make([]byte, len(title))
	if _, err := io.ReadFull(in, head); err != nil || string(head) != title {
		return fmt.Errorf("%s is not a suppression list of this version", f.f.Name())
	}
	f.size = int64(len(title))
	buf, bad := make([]byte, longest), 0
	for at := f.size; at < size; {
		var h [headerSize]byte
		if _, err := io.ReadFull(in, h[:]); err != nil {
			return errDamaged
		}
		n := binary.BigEndian.Uint32(h[:])
		if n > longest {
			return errDamaged
		}
		if _, err := io.ReadFull(in, buf[:n]); err != nil {
			return errDamaged
		}
		begin := at
		at += headerSize + int64(n)
		r, err := decode(buf[:n])
		if err != nil || crc32.Checksum(buf[:n], castagnoli) != binary.BigEndian.Uint32(h[4:]) {
			bad++
			continue
		}
		f.size, f.skipped, bad = at, f.skipped+bad, 0
		if err := do(begin, &r, headerSize+int(n)); err != nil {
			return err
		}
	}
	if f.skipped+bad > 0 {
		return errDamaged
	}
	return nil
}

// note puts a record into the index. Its predecessor counts as long as it: that only
// decides when the file is written anew.
func (f *file) note(r *record, at, n int64) {
	h := f.hash(r.identity, r.address)
	if old, was := f.index[h]; was {
		f.live -= n
		f.entries -= int(old >> 31)
	}
	if r.removed {
		delete(f.index, h)
		return
	}
	place := uint32(at)
	if r.since != 0 {
		place |= isEntry
		f.entries++
	}
	f.index[h] = place
	f.live += n
}

func (f *file) has(identity, address string) bool {
	_, ok := f.index[f.hash(identity, address)]
	return ok
}

// get is what is noted of an address for an identity. An error of the disk is an
// address that is not on the list: mail goes on.
func (f *file) get(identity, address string) (record, bool) {
	at, ok := f.index[f.hash(identity, address)]
	if !ok {
		return record{}, false
	}
	r, err := f.read(int64(at &^ isEntry))
	return r, err == nil && r.identity == identity && r.address == address
}

// read reads the record at an offset.
func (f *file) read(at int64) (record, error) {
	short, _ := f.buffers.Get().(*[256]byte) // each message asks for its recipients
	if short == nil {
		short = new([256]byte)
	}
	defer f.buffers.Put(short)
	n, err := f.f.ReadAt(short[:], at)
	if n < headerSize {
		return record{}, errors.Join(errDamaged, err)
	}
	b, length := short[headerSize:n], int(binary.BigEndian.Uint32(short[:]))
	if length > longest {
		return record{}, errDamaged
	}
	if length > len(b) {
		b = make([]byte, length)
		if _, err := f.f.ReadAt(b, at+headerSize); err != nil {
			return record{}, err
		}
	}
	if b = b[:length]; crc32.Checksum(b, castagnoli) != binary.BigEndian.Uint32(short[4:]) {
		return record{}, errDamaged
	}
	return decode(b)
}

// append writes records behind the others and says where they begin. After an error
// the file is as before.
func (f *file) append(batch []record, sync bool) (places []int64, err error) {
	var b []byte
	for i := range batch {
		places = append(places, f.size+int64(len(b)))
		b = batch[i].encode(b)
	}
	if len(f.index)+len(batch) > most || f.size+int64(len(b)) > math.MaxInt32 {
		return nil, errFull
	}
	_, err = f.f.WriteAt(b, f.size)
	if err == nil && sync {
		err = f.f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.f.Truncate(f.size))
	}
	f.size += int64(len(b))
	return append(places, f.size), nil
}

// put makes records that append has written the ones in force.
func (f *file) put(batch []record, places []int64) {
	for i := range batch {
		f.note(&batch[i], places[i], places[i+1]-places[i])
	}
}

// wasteful says whether most of the file is out of force.
func (f *file) wasteful() bool { return f.size > wastefulFrom && f.size > 2*f.live }

// inForce calls do with the records that are in force.
func (f *file) inForce(do func(*record) error) error {
	r := &file{f: f.f} // with a size of its own
	err := r.each(f.size, func(at int64, rec *record, _ int) error {
		if in, ok := f.index[f.hash(rec.identity, rec.address)]; !ok || int64(in&^isEntry) != at {
			return nil
		}
		return do(rec)
	})
	if errors.Is(err, errDamaged) {
		return nil // it was told when the file was opened
	}
	return err
}

// rewritten is a new file with the records in force and more, in the place of f.
// Entries whose time was up at now stay away.
func (f *file) rewritten(more []record, now int64) (_ *file, err error) {
	path := f.f.Name()
	out, err := durable.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Inherit(); err != nil {
		return nil, err
	}
	w := bufio.NewWriterSize(out, 256<<10)
	w.WriteString(title)
	next := &file{seed: f.seed, index: make(map[uint64]uint32, len(f.index)+len(more)), size: int64(len(title))}
	var b []byte
	put := func(r *record) error {
		b = r.encode(b[:0])
		if next.size+int64(len(b)) > math.MaxInt32 || len(next.index) > most {
			return errFull
		}
		next.note(r, next.size, int64(len(b)))
		next.size += int64(len(b))
		_, err := w.Write(b)
		return err
	}
	err = f.inForce(func(r *record) error {
		if r.since != 0 && r.expires <= now {
			return nil
		}
		return put(r)
	})
	for i := range more {
		if err == nil {
			err = put(&more[i])
		}
	}
	if err = errors.Join(err, w.Flush()); err != nil {
		return nil, err
	}
	if err := out.Commit(); err != nil {
		return nil, err
	}
	next.f, err = os.OpenFile(path, os.O_RDWR, 0)
	return next, err
}

func (f *file) close() error { return f.f.Close() }
