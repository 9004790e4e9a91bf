// Package kept is what acts of an administrator leave behind, so that they can be
// undone: for each act the list of what it was done to and, where that has gone from the
// queue, a bundle of it. Mail is kept for a day, lists for a month. It also knows, for
// three months, under which new IDs mail came back. Store.mu guards the list of moves; Run is its one
// goroutine. Begin reading at Store.Begin.
package kept

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

	keepMoves = 90 * 24 * time.Hour // since the last message of the bundle came
)

const (
	mailSuffix = ".tar"
	listSuffix = ".jsonl"
	movesName  = "moved" // begins the names of lists of moves
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

	Route      string `json:"route,omitempty"`      // of reroute: where it was sent
	Was        string `json:"was,omitempty"`        // and the route that had been chosen before
	Recipients []int  `json:"recipients,omitempty"` // that it was done to
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

// Head begins the list of an act: what is known of it without the audit log.
type Head struct {
	bundle.Header
	Who    string `json:"who"`
	Verb   string `json:"verb"`
	Filter string `json:"filter"`
}

// whole ends the list of an act that came to its end.
type whole struct {
	Whole bool `json:"whole"`
}

// Begin is for an act whose mail stays in the queue, unless withMail.
func (s *Store) Begin(act, who, verb, filter string, withMail bool, now time.Time) (a *Act, err error) {
	a = &Act{}
	if a.list, err = os.OpenFile(s.path(act, listSuffix), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return nil, fmt.Errorf("what act %s is done to: %w", act, err)
	}
	a.out = bufio.NewWriter(a.list)
	a.json = json.NewEncoder(a.out)
	err = errors.Join(a.json.Encode(Head{s.Header(act, now), who, verb, filter}), a.out.Flush(), a.list.Sync(), durable.SyncDir(s.dir))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("what act %s is done to: %w", act, err), a.list.Close(), os.Remove(a.list.Name()))
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
	err := errors.Join(a.json.Encode(whole{true}), a.out.Flush(), a.list.Sync(), a.list.Close())
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

// Head is the beginning of an act's list; the error is fs.ErrNotExist where there is none.
func (s *Store) Head(act string) (h Head, err error) {
	f, err := os.Open(s.path(act, listSuffix))
	if err != nil {
		return h, err
	}
	defer f.Close()
	if err = json.NewDecoder(f).Decode(&h); err == nil && h.Act != act {
		err = fs.ErrNotExist
	}
	return h, err
}

// Acts are the numbers of the acts that left something behind, the last first.
func (s *Store) Acts() (all []string, err error) {
	files, err := os.ReadDir(s.dir)
	for _, f := range files {
		if act, ok := strings.CutSuffix(f.Name(), listSuffix); ok && !strings.HasPrefix(act, movesName) {
			all = append(all, act)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(b, a)) })
	return all, err
}

// List is what an act was done to; ended is false where the relay ended in the middle of
// it: then it was done to more, perhaps.
func (s *Store) List(act string) (all []Done, ended bool, err error) {
	err = lines(s.path(act, listSuffix), func(b []byte) {
		var d struct {
			Done
			whole
		}
		if json.Unmarshal(b, &d) != nil {
			return // cut
		}
		ended = ended || d.Whole
		if !d.ID.IsZero() {
			all = append(all, d.Done)
		}
	})
	return all, ended, err
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
