package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

const (
	waiting    = 8192           // events that may wait to be written; about 5 MiB
	keepRoom   = 64             // events for which memory is kept when none waits
	batch      = 256 << 10      // octets written at once
	segments   = 16             // files that make up Options.MaxBytes
	longest    = 24 * time.Hour // that one file spans
	complain   = time.Minute    // between lines of the log about the same trouble
	pruneEvery = 10 * time.Minute
	suffix     = ".jsonl"
)

// Options of a Store.
type Options struct {
	Dir      string        // made if it is missing, mode 0700
	Keep     time.Duration // older files go. Default 30 days
	MaxBytes int64         // of all files; the oldest go first. Default 256 MiB, and never more than an eighth of the file system
	Log      *slog.Logger  // default: discarded
}

// Store writes the history. It is a relay.Observer; its methods may be called
// from any goroutine.
type Store struct {
	opt   Options
	wake  chan struct{} // an event waits
	flush chan chan struct{}
	done  chan struct{} // closed when Run has ended
	lost  atomic.Uint64

	// A list, since the memory of a channel is allocated even when it is empty.
	mu     sync.Mutex
	events []relay.Event // that wait

	// Of Run.
	create     func(path string) (*os.File, error)
	block      int64         // octets of a block of an index
	spare      []relay.Event // empty: the list that was written last, for reuse
	file       *os.File
	index      *index // of file; nil: it has none, or has no more of it
	marks      marks  // of the lines that are to be written next
	size       int64
	began      time.Time
	pruned     time.Time
	complained time.Time
}

// Open makes the folder. Events wait in memory until Run writes them. Every start begins a new
// file, so a line that a crash cut short is always the last of its file.
func Open(o Options) (*Store, error) {
	if o.Keep == 0 {
		o.Keep = 30 * 24 * time.Hour
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 256 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if err := durable.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the history: %w", err)
	}
	o.MaxBytes = durable.Share(o.Dir, o.MaxBytes) // a small disk is for mail
	s := &Store{opt: o, wake: make(chan struct{}, 1), flush: make(chan chan struct{}), done: make(chan struct{}), create: create, block: blockSize}
	s.prune(time.Now())
	return s, nil
}

// Observe implements relay.Observer. It never waits.
func (s *Store) Observe(e relay.Event) {
	if !slices.Contains(kinds, e.Kind) || e.ID.IsZero() {
		return
	}
	s.mu.Lock()
	n := len(s.events)
	if n < waiting {
		s.events = append(s.events, e)
	}
	s.mu.Unlock()
	switch n {
	case 0:
		select {
		case s.wake <- struct{}{}:
		default:
		}
	case waiting:
		s.lost.Add(1)
	}
}

// take returns all events that wait. It reuses the list that it returned before.
func (s *Store) take() []relay.Event {
	clear(s.spare[:cap(s.spare)]) // events refer to much memory
	s.mu.Lock()
	defer s.mu.Unlock()
	events := s.events
	s.events = s.spare[:0]
	s.spare = nil
	if cap(events) <= keepRoom {
		s.spare = events
	}
	return events
}

// Lost is how many events could not be kept, because they came faster than the disk takes them or
// because the disk failed.
func (s *Store) Lost() uint64 { return s.lost.Load() }

// Flush waits until Run has written, or given up, all that was observed before.
func (s *Store) Flush() {
	c := make(chan struct{})
	select {
	case s.flush <- c:
		<-c
	case <-s.done:
	}
}

// Run writes until ctx ends, then writes what waits and closes the file. What
// is observed afterwards is lost.
func (s *Store) Run(ctx context.Context) error {
	defer close(s.done)
	indexing := make(chan struct{})
	files, _ := listFiles(s.opt.Dir) // those of earlier runs
	go func() {
		defer close(indexing)
		s.complete(ctx, files)
	}()
	defer func() { <-indexing }()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	write := func() {
		if b.Len() > 0 {
			s.append(b.Bytes(), time.Now())
		}
		b.Reset()
		s.marks.reset()
	}
	for open := true; open; {
		var answer chan struct{}
		select {
		case <-s.wake:
		case answer = <-s.flush:
		case <-ctx.Done():
			open = false
		}
		for events := s.take(); len(events) > 0; events = s.take() {
			for _, e := range events {
				for r := range recordsOf(e) {
					if err := enc.Encode(r); err != nil {
						s.trouble("an event cannot be encoded for the history", err, 1)
						continue
					}
					if s.marks.add(&r); b.Len() >= batch {
						write()
					}
				}
			}
			write()
		}
		if answer != nil {
			close(answer)
		}
	}
	return s.end()
}

// complete gives files of earlier runs the index that they lack, all or the end of it.
func (s *Store) complete(ctx context.Context, files []file) {
	for _, f := range files {
		if err := reindex(ctx, f.path, s.block); ctx.Err() != nil {
			return
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.opt.Log.Warn("a file of the history has no index, so that look-ups read all of it", "file", f.path, "error", err)
		}
	}
}

// append writes whole lines to the file, and begins a new file when one is due.
func (s *Store) append(lines []byte, now time.Time) {
	if s.file == nil || s.size > s.opt.MaxBytes/segments || now.Sub(s.began) > longest || now.Before(s.began) {
		if err := s.begin(now); err != nil {
			s.trouble("the history cannot be written", err, bytes.Count(lines, []byte("\n")))
			return
		}
	}
	if now.Sub(s.pruned) > pruneEvery {
		s.prune(now)
	}
	n, err := s.file.Write(lines)
	s.size += int64(n)
	if err != nil {
		// The file may end within a line now: continue in a new one. An empty file is removed, since a
		// full disk may have room for many of them.
		s.trouble("the history cannot be written", err, bytes.Count(lines[n:], []byte("\n")))
		name := s.file.Name()
		s.end() //nolint:errcheck // it is said already
		if s.size == 0 {
			os.Remove(name)
			os.Remove(indexOf(name))
		}
		return
	}
	if s.index == nil {
		return
	}
	if err := s.index.add(&s.marks, s.size); err != nil { // the file is read to its end, then
		s.trouble("the index of the history cannot be written, so that look-ups take longer", err, 0)
		s.index.file.Close()
		s.index = nil
	}
}

// end closes the file.
func (s *Store) end() (err error) {
	if s.index != nil {
		s.index.flush() //nolint:errcheck // the next start completes it
		s.index.file.Close()
	}
	if s.file != nil {
		err = s.file.Close()
	}
	s.file, s.index = nil, nil
	return err
}

func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	if err := durable.Own(path); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// begin opens a new file.
func (s *Store) begin(now time.Time) error {
	if err := s.end(); err != nil {
		s.trouble("a file of the history cannot be closed", err, 0)
	}
	s.prune(now)
	name := now.UnixMicro()
	for { // never an existing one: its last line may be cut
		f, err := s.create(filepath.Join(s.opt.Dir, strconv.FormatInt(name, 10)+suffix))
		if errors.Is(err, fs.ErrExist) {
			name++
			continue
		}
		if err != nil {
			return err
		}
		s.file, s.size, s.began = f, 0, now
		if s.index, err = openIndex(f, s.block); err != nil {
			s.trouble("the history gets no index, so that look-ups take longer", err, 0)
		}
		return nil
	}
}

// prune removes the oldest files: those whose newest line is older than Keep, and those beyond
// MaxBytes.
func (s *Store) prune(now time.Time) {
	s.pruned = now
	files, err := listFiles(s.opt.Dir)
	if err != nil {
		s.trouble("the history cannot be pruned", err, 0)
		return
	}
	room := s.opt.MaxBytes - s.opt.MaxBytes/segments // for the file that is being written
	for _, f := range slices.Backward(files) {
		room -= f.size
		if x, err := os.Stat(indexOf(f.path)); err == nil {
			room -= x.Size()
		}
		if s.file != nil && f.path == s.file.Name() || room >= 0 && now.Sub(f.changed) <= s.opt.Keep {
			continue
		}
		if err := os.Remove(f.path); err != nil {
			s.trouble("an old file of the history cannot be removed", err, 0)
		}
		os.Remove(indexOf(f.path))
	}
}

// trouble logs an error at most once a minute; mail continues in any case.
func (s *Store) trouble(what string, err error, lost int) {
	s.lost.Add(uint64(lost))
	if now := time.Now(); now.Sub(s.complained) >= complain {
		s.complained = now
		s.opt.Log.Warn(what+"; mail is not affected", "error", err, "lost", s.lost.Load())
	}
}

// file is one file of the history.
type file struct {
	path    string
	began   time.Time // no line is older
	changed time.Time // about when the newest line was written
	size    int64
}

// listFiles returns the files of a folder, oldest first.
func listFiles(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var files []file
	for _, e := range entries {
		name, ours := strings.CutSuffix(e.Name(), suffix)
		micro, err := strconv.ParseInt(name, 10, 64)
		if !ours || err != nil {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // pruned meanwhile
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file{filepath.Join(dir, e.Name()), time.UnixMicro(micro), info.ModTime(), info.Size()})
	}
	slices.SortFunc(files, func(a, b file) int { return a.began.Compare(b.began) })
	return files, nil
}
