package returnpath

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/durable"
)

// Sent is what is known of a recipient whose mail left with a signed address.
type Sent struct {
	ID        relay.QueueID `json:"id"`
	N         int           `json:"n"` // as Tag.Recipient
	To        relay.Path    `json:"to"`
	From      relay.Path    `json:"from"` // the address that was there before
	Identity  string        `json:"identity,omitempty"`
	MessageID string        `json:"msgid,omitempty"`
	// Lines of their own. Begun: the last number of the outbox before the event was made, plus 1.
	// Used: it was made, and everybody knows it.
	Begun uint64 `json:"begun,omitempty"`
	Used  bool   `json:"used,omitempty"`
}

// ledger keeps Sent, a line of JSON each, in a file for each hour in which messages were
// accepted. A file goes when no address of it is valid any more. A crash costs lines that
// the system had not written yet: such an address is valid, and nothing is known of it.
type ledger struct {
	dir string

	mu   sync.Mutex
	open map[int64]*os.File // by the hour
}

// mostOpen bounds the files that are open.
const mostOpen = 8

func openLedger(dir string) (*ledger, error) {
	if err := durable.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &ledger{dir: dir, open: map[int64]*os.File{}}, nil
}

func hourOf(id relay.QueueID) int64 { return id.Time().Unix() / 3600 }

func (l *ledger) path(hour int64) string {
	return filepath.Join(l.dir, strconv.FormatInt(hour, 10)+".jsonl")
}

// file is the file of an hour. The caller holds l.mu.
func (l *ledger) file(hour int64) (*os.File, error) {
	if f := l.open[hour]; f != nil {
		return f, nil
	}
	if len(l.open) >= mostOpen {
		for h, f := range l.open {
			f.Close()
			delete(l.open, h)
			break
		}
	}
	f, err := os.OpenFile(l.path(hour), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := cutTail(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.open[hour] = f
	return f, nil
}

// cutTail ends a line that a crash cut short.
func cutTail(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = f.Write([]byte("\n"))
	return err
}

// note writes lines; sync: and waits until they are on stable storage.
func (l *ledger) note(sync bool, all ...Sent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range all {
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		f, err := l.file(hourOf(s.ID))
		if err != nil {
			return err
		}
		if _, err := f.Write(append(b, '\n')); err != nil {
			return err
		}
		if !sync {
			continue
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// find is what is known of a tag, with Begun and Used. A zero ID: nothing is.
func (l *ledger) find(t Tag) (found Sent, err error) {
	f, err := os.Open(l.path(hourOf(t.ID)))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return found, err
	}
	defer f.Close()
	begin := []byte(fmt.Sprintf(`{"id":%q,"n":%d,`, t.ID.String(), t.Recipient)) // as Marshal writes it
	in := bufio.NewScanner(f)
	in.Buffer(nil, 64<<10)
	var begun uint64
	used := false
	for in.Scan() {
		var s Sent
		switch {
		case !bytes.HasPrefix(in.Bytes(), begin) || json.Unmarshal(in.Bytes(), &s) != nil:
		case s.Used:
			used = true
		case s.Begun > 0:
			begun = s.Begun
		default:
			found = s
		}
	}
	found.Begun, found.Used = begun, used
	return found, in.Err()
}

// prune removes the files of addresses that were not valid any more at now.
func (l *ledger) prune(now time.Time, valid time.Duration) error {
	all, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	oldest := now.Add(-valid).Unix()/3600 - 1
	for _, e := range all {
		hour, err := strconv.ParseInt(strings.TrimSuffix(e.Name(), ".jsonl"), 10, 64)
		if err != nil || hour >= oldest {
			continue
		}
		l.mu.Lock()
		if f := l.open[hour]; f != nil {
			f.Close()
			delete(l.open, hour)
		}
		err = os.Remove(l.path(hour))
		l.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *ledger) close() (err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h, f := range l.open {
		err = errors.Join(err, f.Close())
		delete(l.open, h)
	}
	return err
}
