package history

import (
	"bufio"
	"bytes"
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
)

// Query picks records. Its zero value picks all. Of several values of one field, one has to match.
type Query struct {
	IDs        []relay.QueueID
	From, To   []string // an address, "@domain", or "<>" for the null reverse-path
	Identities []string
	Kinds      []relay.EventKind
	Reasons    []string
	Hosts      []string
	MessageIDs []string  // without angle brackets
	Since      time.Time // zero: from the beginning
	Until      time.Time // zero: to the end
}

// QueryHelp describes what ParseQuery reads.
const QueryHelp = `ID                      a queue ID
to=sales@example.com    the recipient; to=@example.com for a domain
from=office@example.org the sender; from=<> for notices
identity=app            who submitted it
is=failed               accepted, relayed, delivered, delayed, failed, expired, bounced, complained, suppressed,
                        held, released, deleted, notified, dropped
msgid=1@example.org     the Message-ID, with or without angle brackets
reason=mailbox_full     the category of the reply
host=mx1.example.com    the server that answered
since=2d until=1h       an age, or a time: 2026-03-02, 2026-03-02T09:00:00Z or "2026-03-02 09:00:00 UTC"
Several values of one are joined by commas: is=failed,expired`

// ParseQuery reads terms as QueryHelp describes them. now is what ages count
// from.
func ParseQuery(terms []string, now time.Time) (q Query, err error) {
	for _, t := range terms {
		name, value, found := strings.Cut(t, "=")
		values := strings.Split(value, ",")
		switch {
		case !found:
			var id relay.QueueID
			if id, err = relay.ParseQueueID(t); err == nil {
				q.IDs = append(q.IDs, id)
			} else {
				err = errors.New("it is neither a queue ID nor of the form name=value")
			}
		case value == "":
			err = errors.New("it has no value")
		case name == "to":
			q.To, err = addresses(q.To, values)
		case name == "from":
			q.From, err = addresses(q.From, values)
		case name == "identity":
			q.Identities = append(q.Identities, values...)
		case name == "reason":
			q.Reasons = append(q.Reasons, values...)
		case name == "msgid":
			for _, v := range values {
				q.MessageIDs = append(q.MessageIDs, bare(v))
			}
		case name == "host":
			q.Hosts = append(q.Hosts, values...)
		case name == "is":
			for _, v := range values {
				if !kept(relay.EventKind(v)) {
					err = fmt.Errorf("the history knows no %q", relay.Sanitize(v))
				}
				q.Kinds = append(q.Kinds, relay.EventKind(v))
			}
		case name == "since":
			q.Since, err = moment(value, now)
		case name == "until":
			q.Until, err = moment(value, now)
		default:
			err = errors.New("there is no such term: use to, from, identity, is, msgid, reason, host, since or until")
		}
		if err != nil {
			return Query{}, fmt.Errorf("%q: %w", relay.Sanitize(t), err)
		}
	}
	return q, nil
}

// addresses converts domains to the form in records.
func addresses(list, values []string) ([]string, error) {
	for _, v := range values {
		local, domain, found := cutLast(v, "@")
		switch {
		case v == "<>":
		case !found:
			return nil, errors.New("an address has an @; a domain alone is written @example.com")
		default:
			d, err := relay.NormalizeDomain(domain)
			if err != nil {
				return nil, err
			}
			v = local + "@" + d
		}
		list = append(list, v)
	}
	return list, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// moment is an age ("2d", "90m") or a time.
func moment(s string, now time.Time) (time.Time, error) {
	if age, err := relay.ParseDuration(s); err == nil {
		return now.Add(-time.Duration(age)), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339,
		"2006-01-02 15:04", time.DateTime, "2006-01-02 15:04:05 MST"} { // the last as the history prints it
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errors.New(`it is neither an age as "2d" or "90m" nor a time as "2026-03-02" or "2026-03-02T09:00:00Z"`)
}

// Match says whether q picks r.
func (q *Query) Match(r *Record) bool {
	return (q.IDs == nil || slices.Contains(q.IDs, r.ID) || slices.Contains(q.IDs, r.NoticeID)) &&
		matchAddress(q.From, r.From) && matchAddress(q.To, r.Recipient) &&
		matchWord(q.Identities, r.Identity) && matchWord(q.Reasons, r.Reason) && matchWord(q.Hosts, r.Host) &&
		(q.MessageIDs == nil || slices.Contains(q.MessageIDs, bare(r.MessageID))) &&
		(q.Kinds == nil || slices.Contains(q.Kinds, r.Kind)) &&
		(q.Since.IsZero() || !r.Time.Before(q.Since)) && (q.Until.IsZero() || r.Time.Before(q.Until))
}

// bare is a Message-ID without angle brackets.
func bare(id string) string { return strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">") }

func matchWord(list []string, v string) bool {
	return list == nil || slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, v) })
}

func matchAddress(list []string, p relay.Path) bool {
	return list == nil || slices.ContainsFunc(list, func(s string) bool {
		switch {
		case s == "<>":
			return p.IsNull()
		case s[0] == '@':
			return p.Domain() == s[1:]
		}
		return strings.EqualFold(p.String(), s)
	})
}

// search is a query as files are looked through for it.
type search struct {
	Query
	needs        [][]uint64 // of each list, one hash is in the index of a block that has what q picks
	sign         []byte     // in every line that q picks, once that is in lower case; it saves parsing most
	oldest, last int64      // µs: what q picks is between them
}

func newSearch(q Query) *search {
	s := &search{Query: q, oldest: math.MinInt64, last: math.MaxInt64}
	need := func(kind byte, list []string) {
		if list == nil {
			return
		}
		var hashes []uint64
		for _, w := range list {
			if w == "<>" || w == "" { // no word stands for what is empty
				return
			}
			hashes = append(hashes, hashOf(kind, strings.ToLower(w)))
		}
		s.needs = append(s.needs, hashes)
		if len(list) == 1 && s.sign == nil && kind != 'h' {
			s.sign = signOf(list[0])
		}
	}
	var ids []string
	for _, id := range q.IDs {
		ids = append(ids, id.String())
	}
	need('i', ids)
	need('m', q.MessageIDs)
	need('t', q.To)
	need('f', q.From)
	need('u', q.Identities)
	need('r', q.Reasons)
	need('h', q.Hosts)
	if len(q.IDs) > 0 { // nothing happened to a message before it came; a clock may have been set back a little
		first := slices.MinFunc(q.IDs, func(a, b relay.QueueID) int { return a.Time().Compare(b.Time()) })
		s.oldest = first.Time().Add(-time.Minute).UnixMicro()
	}
	if !q.Since.IsZero() {
		s.oldest = max(s.oldest, q.Since.UnixMicro())
	}
	if !q.Until.IsZero() {
		s.last = q.Until.UnixMicro()
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

// lowered appends text to b, its ASCII letters in lower case.
func lowered(b, text []byte) []byte {
	b = append(b, text...)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
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
		if err := s.readFile(f.path, each); err != nil {
			return err
		}
	}
	return nil
}

// Newest returns the newest records that q picks, at most limit of them, oldest first, and how many
// it picks in all.
func Newest(dir string, q Query, limit int) (list []Record, found int, err error) {
	var ring []Record // the oldest come first: it keeps the last
	err = Read(dir, q, func(r Record) error {
		if found++; len(ring) < limit {
			ring = append(ring, r)
		} else {
			ring[(found-1)%limit] = r
		}
		return nil
	})
	if found > limit {
		ring = slices.Concat(ring[found%limit:], ring[:found%limit])
	}
	return ring, found, err
}

func (s *search) readFile(path string, each func(Record) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // pruned meanwhile
	}
	if err != nil {
		return fmt.Errorf("the history cannot be read: %w", err)
	}
	defer f.Close()
	var low []byte
	for part := range s.stretches(f) {
		err := lines(f, part.from, part.to, func(line []byte, _ int64) error {
			if low = lowered(low[:0], line); !bytes.Contains(low, s.sign) {
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
		if err != nil {
			return err
		}
	}
	return nil
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
	err = Read(s.opt.Dir, Query{IDs: []relay.QueueID{id}}, func(r Record) error {
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
