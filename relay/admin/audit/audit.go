// Package audit keeps who did what to the relay: one line of JSON for each act of an
// administrator, in files of a month, for a year. Log.mu guards the file that is open;
// there are no goroutines. Begin reading at Log.Append.
package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dawk/relay/durable"
	"dawk/relay/filter"
)

// Record is one act.
type Record struct {
	Time   time.Time `json:"time"`
	Who    string    `json:"who"` // the name of an operator, or "uid:0"
	Verb   string    `json:"verb"`
	Filter string    `json:"filter"` // what it was done to; "": all
	Count  int       `json:"count"`  // deliveries, or recipients where the verb picks these; 0 where it is for no mail
	Act    string    `json:"act"`    // a number, which `dawk queue undo` takes; "": it is no act on mail
}

// Keep is how long a record is kept at least.
const Keep = 366 * 24 * time.Hour

// month names a file.
const month = "2006-01"

// Log is the folder of records.
type Log struct {
	dir string

	mu   sync.Mutex
	last uint64 // number of the last act
}

// Open makes the folder, forgets what is older than Keep, and finds the number of the
// last act.
func Open(dir string, now time.Time) (*Log, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the audit log: %w", err)
	}
	files, err := files(dir)
	if err != nil {
		return nil, err
	}
	l := &Log{dir: dir}
	for len(files) > 0 {
		begin, err := time.Parse(month, strings.TrimSuffix(filepath.Base(files[0]), ".jsonl"))
		if err != nil || now.Sub(begin.AddDate(0, 1, 0)) < Keep {
			break
		}
		if err := os.Remove(files[0]); err != nil {
			return nil, fmt.Errorf("the audit log: %w", err)
		}
		files = files[1:]
	}
	for _, f := range slices.Backward(files) {
		if err := readFile(f, func(r Record) {
			if n, err := strconv.ParseUint(r.Act, 10, 64); err == nil {
				l.last = max(l.last, n)
			}
		}); err != nil {
			return nil, err
		}
		if l.last > 0 {
			break
		}
	}
	return l, nil
}

// Next is the number of a new act.
func (l *Log) Next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	return strconv.FormatUint(l.last, 10)
}

// Skip sees to it that Next gives a higher number than act; false: it does already.
func (l *Log) Skip(act string) bool {
	n, err := strconv.ParseUint(act, 10, 64)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil || n <= l.last {
		return false
	}
	l.last = n
	return true
}

// Append writes r and waits until it is on stable storage.
func (l *Log) Append(r Record) error { return Append(l.dir, r) }

// Append is for a command that does something beside the relay, which may run. The file
// belongs to whom the folder belongs to.
func Append(dir string, r Record) error {
	r.Time = r.Time.UTC().Truncate(time.Millisecond)
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := filepath.Join(dir, r.Time.Format(month)+".jsonl")
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close(), durable.Own(name)); err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}
	return nil
}

func files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted; unlike a pattern it tells of a directory that may not be read
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the audit log: %w", err)
	}
	var all []string
	for _, e := range entries {
		if named, _ := filepath.Match("????-??.jsonl", e.Name()); named {
			all = append(all, filepath.Join(dir, e.Name()))
		}
	}
	return all, nil
}

// readFile leaves out lines that cannot be read: a crash may have cut one.
func readFile(name string, each func(Record)) error {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}
	s := bufio.NewScanner(bytes.NewReader(data))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var r Record
		if json.Unmarshal(s.Bytes(), &r) == nil && !r.Time.IsZero() {
			each(r)
		}
	}
	return nil
}

// Read are the records that q picks, oldest first.
func (l *Log) Read(q Query) ([]Record, error) { return Read(l.dir, q) }

// Read are the records in dir that q picks, oldest first. It needs no Log that is open.
func Read(dir string, q Query) ([]Record, error) {
	names, err := files(dir)
	if err != nil {
		return nil, err
	}
	all := []Record{}
	for _, name := range names {
		if err := readFile(name, func(r Record) {
			if q.Match(&r) {
				all = append(all, r)
			}
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Query picks records; the zero value picks all.
type Query = filter.Of[*Record]

// Terms are what a query may say.
var Terms = filter.Grammar[*Record]{
	Fields: slices.Concat([]filter.Field[*Record]{
		filter.Text("who", "who=anna", "the name of an operator, or uid:0 for a process of this machine", filter.One(func(r *Record) string { return r.Who })),
		filter.Text("verb", "verb=delete,bounce", "what was done", filter.One(func(r *Record) string { return r.Verb })),
		filter.Text("act", "act=17", "the number of an act", filter.One(func(r *Record) string { return r.Act })),
		filter.Text("filter", "filter~example.com", "a part of the filter that picked the mail", filter.One(func(r *Record) string { return r.Filter })),
	}, filter.Times("it was done", func(r *Record) time.Time { return r.Time })),
}
