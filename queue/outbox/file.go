package outbox

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/queue/record"
	"dawk/relay"
)

// A file is frames: u32 length of the row, u64 number, the row. The row has a
// checksum that covers the number.
const (
	suffix    = ".events"
	frameHead = 12
	maxRow    = 8 << 20   // octets
	markEvery = 256 << 10 // octets between two places where reading may begin
)

type file struct {
	path        string
	first, last uint64 // numbers
	size        int64  // of what is committed
	began       time.Time
	changed     time.Time
	marks       []mark
}

// mark is where in a file an event begins.
type mark struct {
	number uint64
	at     int64
}

func appendFrame(b []byte, r Row) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(r.Value)))
	b = binary.BigEndian.AppendUint64(b, r.Number)
	return append(b, r.Value...)
}

// add notes that r was appended.
func (f *file) add(r Row) {
	if n := len(f.marks); n == 0 || f.size-f.marks[n-1].at >= markEvery {
		f.marks = append(f.marks, mark{r.Number, f.size})
	}
	f.last = r.Number
	f.size += frameHead + int64(len(r.Value))
}

// list is the files of a folder, oldest first.
func list(dir string) ([]*file, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*file
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		first, err := strconv.ParseUint(name, 16, 64)
		if !ours || err != nil {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		all = append(all, &file{path: filepath.Join(dir, e.Name()), first: first, size: info.Size(),
			began: time.UnixMicro(int64(first)), changed: info.ModTime()}) //nolint:gosec // a time
	}
	slices.SortFunc(all, func(a, b *file) int { return strings.Compare(a.path, b.path) })
	for i, f := range all[:max(0, len(all)-1)] {
		f.last = all[i+1].first - 1
	}
	return all, nil
}

// cutAfter cuts off incomplete frames and those with a higher number.
func (f *file) cutAfter(high uint64) error {
	var n file
	in, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	for r := range frames(in, 0, f.size) {
		if _, err := record.DecodeEvent(r.Key(), r.Value); err != nil || r.Number > high {
			break
		}
		n.add(r)
	}
	if n.size < f.size {
		err = in.Truncate(n.size)
	}
	f.size, f.last, f.marks = n.size, n.last, n.marks
	if n.size == 0 {
		return errors.Join(err, os.Remove(f.path))
	}
	return err
}

// frames are the rows from octet at to end, as far as they are whole. The next row overwrites the previous
// one.
func frames(in io.ReaderAt, at, end int64) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		r := bufio.NewReaderSize(io.NewSectionReader(in, at, end-at), 64<<10)
		var head [frameHead]byte
		var value []byte
		for {
			if _, err := io.ReadFull(r, head[:]); err != nil {
				return
			}
			n := binary.BigEndian.Uint32(head[:])
			if n > maxRow {
				return
			}
			value = slices.Grow(value[:0], int(n))[:n]
			if _, err := io.ReadFull(r, value); err != nil || !yield(Row{binary.BigEndian.Uint64(head[4:]), value}) {
				return
			}
		}
	}
}

// Backup gives each file, by its name in the data directory, as far as it is committed.
func (l *Log) Backup(add func(name string, size int64, content io.Reader) error) error {
	l.mu.Lock()
	files := make([]file, len(l.files))
	for i, f := range l.files {
		files[i] = *f
	}
	l.mu.Unlock()
	for _, f := range files {
		in, err := os.Open(f.path)
		if errors.Is(err, fs.ErrNotExist) { // it was old
			continue
		}
		if err == nil {
			err = errors.Join(add(Dir+"/"+filepath.Base(f.path), f.size, in), in.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Events implements queue.Outbox. What is damaged is left out.
func (l *Log) Events(after uint64) iter.Seq2[relay.OutboxEvent, error] {
	return func(yield func(relay.OutboxEvent, error) bool) {
		for {
			files, rows := l.from(after)
			for _, f := range files {
				last, more, err := l.read(f, after, yield)
				if err != nil {
					yield(relay.OutboxEvent{}, err)
				}
				if err != nil || !more {
					return
				}
				after = max(after, last)
			}
			for _, r := range rows {
				if r.Number <= after {
					continue
				}
				if after = r.Number; !l.yield(r, yield) {
					return
				}
			}
			if len(files) == 0 { // otherwise some may have come between files and rows
				return
			}
		}
	}
}

// from is where the events after a number are: in files alone, as they are now, or in memory.
func (l *Log) from(after uint64) (files []file, rows []Row) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.recent) > 0 && l.recent[0].Number <= after+1 || len(l.files) == 0 || l.files[len(l.files)-1].last <= after {
		i, _ := slices.BinarySearchFunc(l.recent, after+1, func(r Row, n uint64) int {
			if r.Number < n {
				return -1
			}
			return 1
		})
		return nil, slices.Clone(l.recent[i:])
	}
	for _, f := range l.files {
		if f.last > after {
			own := *f
			own.marks = slices.Clone(f.marks)
			files = append(files, own)
		}
	}
	return files, nil
}

// read yields the events of a file. A file that was removed meanwhile has none.
func (l *Log) read(f file, after uint64, yield func(relay.OutboxEvent, error) bool) (last uint64, more bool, err error) {
	in, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f.last, true, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer in.Close()
	at := int64(0)
	for _, m := range f.marks {
		if m.number <= after {
			at = m.at
		}
	}
	for r := range frames(in, at, f.size) {
		if r.Number > after && !l.yield(r, yield) {
			return 0, false, nil
		}
	}
	return f.last, true, nil
}

func (l *Log) yield(r Row, yield func(relay.OutboxEvent, error) bool) bool {
	e, err := record.DecodeEvent(r.Key(), r.Value)
	if err != nil {
		l.losing(1, "a file of the outbox is damaged")
		return true
	}
	return yield(relay.OutboxEvent{Number: r.Number, ID: "evt_" + relay.QueueID{Key: r.Number, Dir: l.id}.String(), Event: e}, nil)
}
