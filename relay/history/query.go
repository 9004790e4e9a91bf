package history

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/filter"
)

// Query picks records. Its zero value picks all.
type Query = filter.Of[*Record]

// Terms are what a query may say.
var Terms = filter.Grammar[*Record]{
	HasID: func(r *Record, id relay.QueueID) bool { return r.ID == id || r.NoticeID == id },
	Fields: slices.Concat([]filter.Field[*Record]{
		filter.Mailbox("to", "to=@example.com", "the recipient: address, @domain, or with *", filter.One(func(r *Record) string { return r.Recipient.String() })).Or("rcpt", "recipient"),
		filter.Mailbox("from", "from=user@example.org", "the sender; from=<> for notices", filter.One(func(r *Record) string { return r.From.String() })).Or("sender"),
		filter.Text("identity", "identity=app", "who submitted it", filter.One(func(r *Record) string { return r.Identity })).Or("user"),
		filter.Choice("is", "is=failed,expired", "outcome", "accepted, relayed, delivered, delayed, failed, expired,\nbounced, complained, suppressed, held, released, deleted,\nnotified or dropped", kinds, filter.One(func(r *Record) string { return string(r.Kind) })),
		filter.MessageID(filter.One(func(r *Record) string { return r.MessageID })),
		filter.Text("reason", "reason=mailbox_full", "the category of the reply", filter.One(func(r *Record) string { return r.Reason })),
		filter.Text("host", "host=mx1.example.com", "the server that answered", filter.One(func(r *Record) string { return r.Host })).Or("mta"),
		filter.Text("route", "route=office", "the route it went by", filter.One(func(r *Record) string { return r.Route })),
		filter.Domain("domain", "domain=example.com", "the domain of the recipient", filter.One(func(r *Record) string { return r.Recipient.Domain() })),
	}, filter.Replies(filter.One(func(r *Record) relay.Reply { return r.Reply })), filter.Times("it happened", func(r *Record) time.Time { return r.Time })),
}

// search is a query as files are looked through for it.
type search struct {
	Query
	needs        [][]uint64 // of each list, one hash is in the index of a block that has what q picks
	sign         []byte     // in every line that q picks, once that is in lower case; it saves parsing most
	oldest, last int64      // µs: what q picks is between them
	low          []byte     // a line in lower case
}

func newSearch(q Query) *search {
	s := &search{Query: q, oldest: math.MinInt64, last: math.MaxInt64}
	need := func(kind byte, list []string) {
		var hashes []uint64
		for _, w := range list {
			if w == "" { // no word stands for what is empty
				return
			}
			hashes = append(hashes, hashOf(kind, strings.ToLower(w)))
		}
		s.needs = append(s.needs, hashes)
		if len(list) == 1 && s.sign == nil && kind != 'h' {
			s.sign = signOf(list[0])
		}
	}
	since, until := q.Span()
	if all := q.IDs(); all != nil {
		var ids []string
		for _, id := range all {
			ids = append(ids, id.String())
		}
		need('i', ids)
		// Nothing happened to a message before it came; a clock may have been set back a little.
		s.oldest = slices.MinFunc(all, func(a, b relay.QueueID) int { return a.Time().Compare(b.Time()) }).Time().Add(-time.Minute).UnixMicro()
	}
	for _, x := range [...]struct {
		kind  byte
		field string
	}{{'m', "msgid"}, {'t', "to"}, {'f', "from"}, {'u', "identity"}, {'r', "reason"}, {'h', "host"}} {
		for _, list := range q.Words(x.field) {
			need(x.kind, list)
		}
	}
	if is := q.Words("is"); len(is) == 1 && len(is[0]) == 1 && s.sign == nil { // no index has it, since most blocks have most kinds
		s.sign = []byte(`"kind":"` + is[0][0] + `"`)
	}
	if !since.IsZero() {
		s.oldest = max(s.oldest, since.UnixMicro())
	}
	if !until.IsZero() {
		s.last = until.UnixMicro()
	}
	return s
}

// signOf is a word as it stands in a line in lower case; nil: JSON may write it in several ways.
func signOf(word string) []byte {
	for i := range len(word) {
		if c := word[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return nil
		}
	}
	return lowered(nil, []byte(word))
}

// lowered appends text to b, its ASCII letters in lower case. A look-up may do this with much of the
// history, so that it takes eight octets at a time.
func lowered(b, text []byte) []byte {
	const each = 0x0101010101010101
	b = append(b, text...)
	low := b[len(b)-len(text):]
	for ; len(low) >= 8; low = low[8:] {
		v := binary.LittleEndian.Uint64(low)
		seven := v & (0x7f * each)                                                           // so that no sum reaches the next octet
		upper := (seven + (0x80-'A')*each) &^ (seven + (0x7f-'Z')*each) &^ v & (0x80 * each) // at least A, not above Z, ASCII
		binary.LittleEndian.PutUint64(low, v|upper>>2)                                       // 0x80>>2 is what A and a differ by
	}
	for i, c := range low {
		if c >= 'A' && c <= 'Z' {
			low[i] = c + 'a' - 'A'
		}
	}
	return b
}

// inFile says whether a file may have what is looked for.
func (s *search) inFile(f *file) bool {
	const slack = time.Minute
	return f.changed.Add(slack).UnixMicro() >= s.oldest && f.began.Add(-slack).UnixMicro() <= s.last
}

// in says whether a block may have what is looked for.
func (s *search) in(b *block) bool {
	return b.newest >= s.oldest && b.oldest <= s.last &&
		!slices.ContainsFunc(s.needs, func(any []uint64) bool { return !slices.ContainsFunc(any, b.has) })
}

// stretch is a part of a file, from an octet to before another.
type stretch struct{ from, to int64 }

// stretches are the parts of a file that may have what is looked for.
func (s *search) stretches(f *os.File) iter.Seq[stretch] {
	return func(yield func(stretch) bool) {
		at := int64(0)
		if x, err := os.Open(indexOf(f.Name())); err == nil {
			defer x.Close()
			for b := range entries(x, f) {
				if b.from > at && !yield(stretch{at, b.from}) || s.in(b) && !yield(stretch{b.from, b.to}) {
					return
				}
				at = b.to
			}
		}
		yield(stretch{at, math.MaxInt64})
	}
}

// maxLine bounds a record, in octets; a longer line is not ours.
const maxLine = 64 << 10

// Read calls each with every record that q picks, oldest first, until each returns an error, which
// Read returns. Lines that cannot be read are left out: a crash may have cut one. A folder that is
// missing holds nothing.
func Read(dir string, q Query, each func(Record) error) error {
	files, err := listFiles(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the history cannot be read: %w", err)
	}
	s := newSearch(q)
	for _, f := range files {
		if !s.inFile(&f) {
			continue
		}
		err := opened(f.path, func(file *os.File) error {
			for part := range s.stretches(file) {
				if err := s.read(file, part, each); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// What Newest reads only to count: octets, which is all of a history of the default size, and records.
const (
	furtherOctets  = 256 << 20
	furtherRecords = 10_000
)

// Newest returns the newest records that q picks, at most limit of them, oldest first, and how many
// it picks in all. It begins at the end, so that a search for what is frequent reads little of a
// long history: whether there may be more than it has found, it says.
func Newest(dir string, q Query, limit int) (list []Record, found int, more bool, err error) {
	return newest(dir, q, limit, furtherOctets, furtherRecords)
}

func newest(dir string, q Query, limit int, octets int64, records int) (list []Record, found int, more bool, err error) {
	files, err := listFiles(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, false, fmt.Errorf("the history cannot be read: %w", err)
	}
	s, missing := newSearch(q), limit
	var parts [][]Record // the newest first
	for _, f := range slices.Backward(files) {
		if !s.inFile(&f) {
			continue
		}
		err := opened(f.path, func(file *os.File) error {
			for _, part := range slices.Backward(slices.Collect(s.stretches(file))) {
				if missing == 0 {
					octets -= min(part.to, max(f.size, part.from)) - part.from
				}
				if more = octets < 0 || found > limit+records; more {
					return nil
				}
				var here []Record // the last of the part
				err := s.read(file, part, func(r Record) error {
					if here = append(here, r); len(here) == 2*limit {
						here = append(here[:0], here[limit:]...)
					}
					found++
					return nil
				})
				if err != nil {
					return err
				}
				here = here[len(here)-min(len(here), missing):]
				parts, missing = append(parts, here), missing-len(here)
			}
			return nil
		})
		if err != nil || more {
			break
		}
	}
	slices.Reverse(parts)
	return slices.Concat(parts...), found, more, err
}

// opened calls do with a file, unless it was pruned meanwhile.
func opened(path string, do func(*os.File) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the history cannot be read: %w", err)
	}
	defer f.Close()
	return do(f)
}

// read calls each with what is picked of a part of a file.
func (s *search) read(f *os.File, part stretch, each func(Record) error) error {
	return lines(f, part.from, part.to, func(line []byte, _ int64) error {
		if s.low = lowered(s.low[:0], line); !bytes.Contains(s.low, s.sign) {
			return nil
		}
		var rec Record
		if json.Unmarshal(line, &rec) != nil || !s.Match(&rec) {
			return nil
		}
		if p := &rec.Reply; p.Code == 0 && p.Stage != "" && p.Cause == "" { // written before there were causes
			*p = p.Parted()
		}
		return each(rec)
	})
}

// lines calls each with the lines of a stretch of a file and with where each ends. A line that is
// longer than ours comes in pieces.
func lines(f *os.File, from, to int64, each func(line []byte, end int64) error) error {
	r := bufio.NewReaderSize(io.NewSectionReader(f, from, to-from), maxLine)
	for {
		line, err := r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("the history cannot be read: %s: %w", f.Name(), err)
		}
		if from += int64(len(line)); len(line) > 0 {
			if err := each(line, from); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// Of returns all that is known about one message, oldest first.
func (s *Store) Of(id relay.QueueID) (events []relay.Event, err error) {
	s.Flush()
	err = Read(s.opt.Dir, only(id), func(r Record) error {
		if r.ID == id {
			if !r.Arrival.IsZero() {
				r.Age = r.Time.Sub(r.Arrival)
			}
			events = append(events, r.Event)
		}
		return nil
	})
	return events, err
}

// only picks what happened to one message.
func only(id relay.QueueID) Query {
	q, _ := Terms.Parse(id.String(), time.Time{}) // an ID is a filter
	return q
}

// Since calls each with the events of some kinds since then, oldest first.
func (s *Store) Since(at time.Time, kinds []relay.EventKind, each func(relay.Event)) error {
	q, err := Terms.Parse("since="+at.UTC().Format(time.RFC3339), time.Time{})
	if err != nil {
		return err
	}
	s.Flush()
	return Read(s.opt.Dir, q, func(r Record) error {
		if slices.Contains(kinds, r.Kind) {
			each(r.Event)
		}
		return nil
	})
}
