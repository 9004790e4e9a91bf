package history

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"hash/fnv"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"

	"dawk/relay/durable"
	"dawk/relay/filter"
)

// An index lies beside each file of the history. It has an entry for each block of about a MiB of
// whole lines: the times between which these lie, and a Bloom filter of the words that look-ups ask
// for. A look-up passes over the blocks that cannot have what it wants, and reads all that no entry
// covers: an index that is missing, short or damaged costs time and nothing else.
//
// It takes less than a hundredth of the room of its file. Four bytes of checksum end an entry; the
// sum includes the name of the file, since the index of another must not be believed.
const (
	indexSuffix = ".index"
	blockSize   = 1 << 20
	bloomSize   = 8 << 10 // octets; for 2,000 lines with three words of their own each it errs once in 70
	bloomProbes = 5
	entryHead   = 32
	entrySize   = entryHead + bloomSize + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// block is the entry of one block.
type block struct {
	from, to       int64 // octets of the file
	oldest, newest int64 // of its lines, in µs of the Unix epoch
	bloom          [bloomSize]byte
}

// words of a record by which an index finds it. The first octet says what a word is.
func (r *Record) words(each func(kind byte, word string)) {
	put := func(kind byte, word string) {
		if word != "" {
			each(kind, strings.ToLower(word))
		}
	}
	put('i', r.ID.String())
	put('i', r.NoticeID.String())
	put('m', filter.Bare(r.MessageID))
	put('t', r.Recipient.String())
	put('t', "@"+r.Recipient.Domain())
	put('f', r.From.String())
	put('f', "@"+r.From.Domain())
	put('u', r.Identity)
	put('r', r.Reason)
	put('h', r.Host)
}

// hashOf is where a word is looked for. It is written to disk, so that it stays as it is.
func hashOf(kind byte, word string) uint64 {
	h := fnv.New64a()
	h.Write([]byte{kind})
	io.WriteString(h, word) //nolint:errcheck // a hash takes everything
	return h.Sum64()
}

// bits of a hash in a Bloom filter.
func bits(hash uint64, each func(octet uint64, mask byte) bool) bool {
	step := hash>>32 | 1
	for range bloomProbes {
		at := hash % (bloomSize * 8)
		if !each(at/8, 1<<(at%8)) {
			return false
		}
		hash += step
	}
	return true
}

func (b *block) put(hash uint64) {
	bits(hash, func(i uint64, mask byte) bool { b.bloom[i] |= mask; return true })
}

func (b *block) has(hash uint64) bool {
	return bits(hash, func(i uint64, mask byte) bool { return b.bloom[i]&mask != 0 })
}

// marks are what lines that are to be written add to their block.
type marks struct {
	hashes         []uint64
	oldest, newest int64
}

func (m *marks) add(r *Record) {
	r.words(func(kind byte, word string) { m.hashes = append(m.hashes, hashOf(kind, word)) })
	at := r.Time.UnixMicro()
	if m.newest == 0 {
		m.oldest, m.newest = at, at
	}
	m.oldest, m.newest = min(m.oldest, at), max(m.newest, at)
}

func (m *marks) reset() { *m = marks{hashes: m.hashes[:0]} }

// index writes the entries of one file.
type index struct {
	file  *os.File // nil: the file has no index, or cannot be given more of it
	name  string   // of the file that it is for
	size  int64    // of a block, in octets, at least
	block block
}

// openIndex opens the index of a file and leaves in it what is right from its beginning on.
func openIndex(data *os.File, size int64) (*index, error) {
	name := indexOf(data.Name())
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	x, good := &index{file: f, name: data.Name(), size: size}, int64(0)
	for b := range entries(f, data) {
		if b.from != x.block.to {
			break
		}
		x.block.to = b.to
		good += entrySize
	}
	x.start(x.block.to)
	_, err = f.Seek(good, io.SeekStart)
	if err = errors.Join(err, durable.Own(name), f.Truncate(good)); err != nil {
		f.Close()
		return nil, err
	}
	return x, nil
}

func (x *index) start(from int64) {
	x.block = block{from: from, to: from}
}

// add says that lines reach to an octet now.
func (x *index) add(m *marks, to int64) error {
	b := &x.block
	for _, h := range m.hashes {
		b.put(h)
	}
	if m.newest != 0 {
		if b.newest == 0 {
			b.oldest = m.oldest
		}
		b.oldest, b.newest = min(b.oldest, m.oldest), max(b.newest, m.newest)
	}
	if b.to = to; b.to-b.from < x.size {
		return nil
	}
	return x.flush()
}

// flush writes the entry of the block, if that has lines enough to be worth one.
func (x *index) flush() error {
	b := &x.block
	if b.to-b.from < x.size/8 {
		return nil
	}
	e := make([]byte, entrySize)
	for i, v := range [...]int64{b.from, b.to, b.oldest, b.newest} {
		binary.LittleEndian.PutUint64(e[8*i:], uint64(v))
	}
	copy(e[entryHead:], b.bloom[:])
	binary.LittleEndian.PutUint32(e[entrySize-4:], checksum(e, x.name))
	_, err := x.file.Write(e)
	x.start(b.to)
	return err
}

func indexOf(path string) string { return strings.TrimSuffix(path, suffix) + indexSuffix }

func checksum(entry []byte, path string) uint32 {
	sum := crc32.Checksum([]byte(filepath.Base(path)), castagnoli)
	return crc32.Update(sum, castagnoli, entry[:entrySize-4])
}

// entries are the entries that are right in an index, ascending; each is good until the next. An
// index that knows more than its file has is that of another.
func entries(x, data *os.File) iter.Seq[*block] {
	return func(yield func(*block) bool) {
		known, err := x.Stat()
		file, err2 := data.Stat() // afterwards: lines are written before their entry
		if err != nil || err2 != nil {
			return
		}
		n := known.Size() / entrySize
		e, b := make([]byte, entrySize), new(block)
		if _, err := x.ReadAt(e, (n-1)*entrySize); n == 0 || err != nil || b.decode(e, data.Name()) && b.to > file.Size() {
			return
		}
		in := bufio.NewReaderSize(io.NewSectionReader(x, 0, n*entrySize), 8*entrySize)
		for at := int64(0); ; {
			if _, err := io.ReadFull(in, e); err != nil {
				return
			}
			if b.decode(e, data.Name()) && b.from >= at && b.to <= file.Size() {
				if at = b.to; !yield(b) {
					return
				}
			}
		}
	}
}

// decode says whether e is an entry of the index of a file.
func (b *block) decode(e []byte, path string) bool {
	if binary.LittleEndian.Uint32(e[entrySize-4:]) != checksum(e, path) {
		return false
	}
	for i, v := range [...]*int64{&b.from, &b.to, &b.oldest, &b.newest} {
		*v = int64(binary.LittleEndian.Uint64(e[8*i:]))
	}
	copy(b.bloom[:], e[entryHead:])
	return b.from >= 0 && b.from < b.to
}

// reindex completes the index of a file that nobody writes any more.
func reindex(ctx context.Context, path string, size int64) error {
	data, err := os.Open(path)
	if err != nil {
		return err
	}
	defer data.Close()
	x, err := openIndex(data, size)
	if err != nil {
		return err
	}
	defer x.file.Close()
	var m marks
	to := x.block.to
	err = lines(data, to, math.MaxInt64, func(line []byte, end int64) error {
		var r Record
		if json.Unmarshal(line, &r) == nil {
			m.add(&r)
		}
		if to = end; to-x.block.from < x.size || line[len(line)-1] != '\n' {
			return nil
		}
		defer m.reset()
		return errors.Join(ctx.Err(), x.add(&m, to))
	})
	if err == nil {
		err = errors.Join(x.add(&m, to), x.flush())
	}
	if _, gone := os.Stat(path); errors.Is(gone, fs.ErrNotExist) {
		return os.Remove(x.file.Name())
	}
	return err
}
