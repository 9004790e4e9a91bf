// Package kept is what acts of an administrator leave behind, so that they can be
// undone: for each act the list of what it was done to and, where that has gone from the
// queue, a bundle of it. Mail is kept for a day, lists for a month. It also knows under
// which new IDs mail came back. Store.mu guards the list of moves; Run is its one
// goroutine. Begin reading at Store.Begin.
package kept

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/admin/bundle"
	"dawk/relay/durable"
)

// How long things are kept.
const (
	KeepMail = 24 * time.Hour
	keepList = 31 * 24 * time.Hour
)

const (
	mailSuffix = ".tar"
	listSuffix = ".jsonl"
	movesName  = "moved" // with listSuffix
)

// Store is the folder.
type Store struct {
	dir, hostname string

	mu sync.Mutex
}

// Open makes the folder.
func Open(dir, hostname string) (*Store, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("what administrators may want back: %w", err)
	}
	return &Store{dir: dir, hostname: hostname}, nil
}

// Done is one thing that an act was done to.
type Done struct {
	ID      relay.QueueID `json:"id"`
	Job     uint16        `json:"job"`
	Pending bool          `json:"pending,omitempty"` // it was to be done when an attempt ended
}

// Act is an act that is under way. Its methods are for one goroutine each: Add and Sync
// for one, Note for another, Close after both.
type Act struct {
	list *os.File
	out  *bufio.Writer
	json *json.Encoder
	mail *os.File // nil: none is kept
	tar  *bundle.Writer
}

// Begin is for an act whose mail stays in the queue, unless withMail.
func (s *Store) Begin(act string, withMail bool, now time.Time) (a *Act, err error) {
	a = &Act{}
	if a.list, err = os.OpenFile(s.path(act, listSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, fmt.Errorf("what act %s is done to: %w", act, err)
	}
	a.out = bufio.NewWriter(a.list)
	a.json = json.NewEncoder(a.out)
	if err := a.json.Encode(s.Header(act, now)); err != nil {
		return nil, err
	}
	if !withMail {
		return a, nil
	}
	if a.mail, err = os.OpenFile(s.path(act, mailSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		a.tar, err = bundle.NewWriter(a.mail, s.Header(act, now))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("keep the mail of act %s: %w", act, err), a.list.Close(), os.Remove(a.list.Name()))
	}
	return a, nil
}

// Header is that of a bundle of an act.
func (s *Store) Header(act string, now time.Time) bundle.Header {
	return bundle.Header{Act: act, Name: s.hostname + "-" + act + "-" + now.UTC().Format("20060102T150405.000000"), At: now.UTC(), From: s.hostname}
}

// Add keeps a message.
func (a *Act) Add(m bundle.Message, content relay.Content) error { return a.tar.Add(m, content) }

// Sync waits until what was added is on stable storage.
func (a *Act) Sync() error { return errors.Join(a.tar.Flush(), a.mail.Sync()) }

// Note says that the act was done to something.
func (a *Act) Note(d Done) error { return a.json.Encode(d) }

// Close completes it.
func (a *Act) Close() error {
	err := errors.Join(a.out.Flush(), a.list.Sync(), a.list.Close())
	if a.mail != nil {
		err = errors.Join(err, a.tar.Close(), a.mail.Sync(), a.mail.Close())
	}
	return err
}

// path is that of a file of an act, whose number an administrator has written.
func (s *Store) path(act, suffix string) string {
	if strings.ContainsAny(act, "/.") {
		act = "none"
	}
	return filepath.Join(s.dir, act+suffix)
}

// Has says whether an act can be undone: its list is there, and its mail where it had any.
func (s *Store) Has(act string, withMail bool) bool {
	suffix := listSuffix
	if withMail {
		suffix = mailSuffix
	}
	_, err := os.Stat(s.path(act, suffix))
	return err == nil
}

// Wrote says whether an act wrote the bundle of that name.
func (s *Store) Wrote(act, name string) bool {
	found := false
	_ = lines(s.path(act, listSuffix), func(b []byte) {
		var h bundle.Header
		found = found || json.Unmarshal(b, &h) == nil && h.Name == name && name != ""
	})
	return found
}

// List is what an act was done to.
func (s *Store) List(act string) (all []Done, err error) {
	err = lines(s.path(act, listSuffix), func(b []byte) {
		var d Done
		if json.Unmarshal(b, &d) == nil && !d.ID.IsZero() {
			all = append(all, d)
		}
	})
	return all, err
}

// Mail reads the mail of an act.
func (s *Store) Mail(act string, head func(bundle.Header) error, each func(bundle.Message, io.Reader) error) error {
	f, err := os.Open(s.path(act, mailSuffix))
	if err != nil {
		return fmt.Errorf("the mail of act %s: %w", act, err)
	}
	defer f.Close()
	return bundle.Read(bufio.NewReader(f), head, each)
}

// Forget drops what an act left behind.
func (s *Store) Forget(act string) error {
	err := os.Remove(s.path(act, mailSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.Remove(s.path(act, listSuffix)))
}

// move is a message that came back under another ID.
type move struct {
	Bundle string        `json:"bundle"`
	Old    relay.QueueID `json:"old"`
	New    relay.QueueID `json:"new"`
}

// Moved notes that a message of a bundle came back under another ID.
func (s *Store) Moved(name string, old, now relay.QueueID) error {
	b, err := json.Marshal(move{name, old, now})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := os.OpenFile(s.path(movesName, listSuffix), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	return errors.Join(err, f.Sync(), f.Close())
}

func (s *Store) moves(each func(move)) error {
	return lines(s.path(movesName, listSuffix), func(b []byte) {
		var m move
		if json.Unmarshal(b, &m) == nil {
			each(m)
		}
	})
}

// Came are the messages of a bundle that have come back.
func (s *Store) Came(name string) (map[relay.QueueID]bool, error) {
	all := map[relay.QueueID]bool{}
	err := s.moves(func(m move) {
		if m.Bundle == name {
			all[m.Old] = true
		}
	})
	return all, err
}

// Now are the IDs under which a message came back; none: it did not.
func (s *Store) Now(old relay.QueueID) (all []relay.QueueID) {
	if s == nil {
		return nil
	}
	_ = s.moves(func(m move) { // a help only: without it the message is not found
		if m.Old == old {
			all = append(all, m.New)
		}
	})
	return all
}

func lines(path string, each func([]byte)) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		each(sc.Bytes())
	}
	return sc.Err()
}

// Run forgets what is old, and the oldest mail when room says that new mail is refused
// for want of it, until ctx ends.
func (s *Store) Run(ctx context.Context, room func() error, log *slog.Logger) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if err := s.Prune(time.Now(), errors.Is(room(), relay.ErrNoSpace)); err != nil {
			log.Warn("deleted mail that is kept for undo cannot be cleared away", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Prune forgets what is older than it is kept and, where room is short, the oldest mail.
func (s *Store) Prune(now time.Time, short bool) error {
	all, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	type file struct {
		name    string
		changed time.Time
	}
	var mail []file
	for _, e := range all {
		info, err := e.Info()
		if err != nil || strings.HasPrefix(e.Name(), movesName) {
			continue
		}
		keep := keepList
		if strings.HasSuffix(e.Name(), mailSuffix) {
			keep = KeepMail
		}
		if now.Sub(info.ModTime()) > keep {
			err = os.Remove(filepath.Join(s.dir, e.Name()))
		} else if keep == KeepMail {
			mail = append(mail, file{e.Name(), info.ModTime()})
		}
		if err != nil {
			return err
		}
	}
	if !short || len(mail) == 0 {
		return nil
	}
	oldest := slices.MinFunc(mail, func(a, b file) int { return a.changed.Compare(b.changed) })
	return os.Remove(filepath.Join(s.dir, oldest.name))
}
