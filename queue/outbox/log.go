// Package outbox keeps events in files until all consumers have got them, and longer, so that they
// can be sent again: the part of a queue.Outbox that is not the store's commit.
//
// The store's writer goes through [Log.Row], then [Log.Stage]; once the group is durable in its
// journal [Log.Publish]; before each commit of the store, after which the journal begins again,
// [Log.Flush], and after it [Log.Committed]. [Log.Drop] takes back what was staged and flushed for
// a commit that failed. So an event is in the journal or in a file, synced, as long as a consumer
// may still need it; and events in a file beyond the number that the store's last commit names
// never happened.
//
// Files are named after their first event. Log.mu guards the list of files, which of them
// is open and what is in memory; the writer alone writes, and says which file is open.
package outbox

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"dawk/queue"
	"dawk/queue/record"
	"dawk/relay"
	"dawk/relay/durable"
)

const (
	// Dir is the folder in the data directory.
	Dir = "outbox"

	recentBytes  = 1 << 20  // of events that are in files too, kept in memory for consumers that keep up
	waitingBytes = 8 << 20  // of events that no file takes: beyond it they are lost
	largestFile  = 16 << 20 // octets, and a sixteenth of the limit
	smallestFile = 64 << 10
	complain     = time.Minute // between lines of the log about the same trouble
	noRoom       = "the disk has no room for them"
	defaultKeep  = 7 * 24 * time.Hour
)

// Row is an event as it is kept.
type Row struct {
	Number uint64
	Value  []byte // see record.AppendEvent
}

// Key is the row's key in the journal.
func (r Row) Key() []byte { return binary.BigEndian.AppendUint64(nil, r.Number) }

// Log is the outbox of one store.
type Log struct {
	dir  string
	id   uint32 // of the data directory
	log  *slog.Logger
	hook func(point string) error
	ids  queue.IDs

	mu        sync.Mutex
	limits    relay.OutboxLimits
	files     []*file // oldest first
	recent    []Row   // the last ones, in order; those from waiting on are in no file
	waiting   int     // index into recent
	held      [2]int  // octets of recent before and from waiting on
	last      uint64  // highest number that is published
	told      uint64
	lost      uint64
	lostAt    time.Time
	watch     func()
	complains time.Time

	// Of the writer.
	staged     []Row
	stagedLost int
	noRoom     bool     // the disk was why the last event was lost, not MaxBytes
	f          *os.File // the newest of files; nil: none is open. Changed under mu, see setFile
	before     int64    // size of f before the last Flush
	begun      *file    // the file that the last Flush began
	written    int      // rows of recent that the last Flush wrote
}

// New is the outbox in a data directory; no file is opened. Hook is for tests.
func New(dataDir string, log *slog.Logger, hook func(point string) error) *Log {
	return &Log{dir: filepath.Join(dataDir, Dir), log: log, hook: hook}
}

// Load reads what is there. High is the number up to which the store's last commit
// has them; rows are those that its journal has besides. Call it once, first.
func (l *Log) Load(id uint32, high uint64, rows []Row) error {
	l.id = id
	files, err := list(l.dir)
	if err != nil {
		return fmt.Errorf("the outbox cannot be read: %w", err)
	}
	for n := len(files); n > 0; n-- {
		f := files[n-1]
		if f.first <= high {
			if err = f.cutAfter(high); err == nil && f.size > 0 {
				break
			}
		} else {
			err = os.Remove(f.path)
		}
		if err != nil {
			return fmt.Errorf("the outbox cannot be read: %w", err)
		}
		files = files[:n-1]
	}
	l.files, l.last = files, high
	if n := len(files); n > 0 {
		l.last = max(high, files[n-1].last)
	}
	for _, r := range rows {
		if r.Number > l.last {
			l.add(r)
		}
	}
	l.ids.Set(l.last)
	return nil
}

func (l *Log) add(r Row) {
	l.recent = append(l.recent, r)
	l.held[1] += len(r.Value)
	l.last = r.Number
}

// SetLimits implements queue.Outbox. Events that are there stay as long as before. A small
// file system is for mail: events get an eighth of it at most.
func (l *Log) SetLimits(limits relay.OutboxLimits) {
	limits.MaxBytes = durable.Share(filepath.Dir(l.dir), limits.MaxBytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limits = limits
	l.prune(time.Now(), false)
}

// Watch implements queue.Outbox.
func (l *Log) Watch(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = f
}

// Last implements queue.Outbox.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Told implements queue.Outbox.
func (l *Log) Told(number uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = number
}

// OutboxStats implements queue.Outbox.
func (l *Log) OutboxStats() queue.OutboxStats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return queue.OutboxStats{Bytes: l.bytes(), Lost: l.lost, LostAt: l.lostAt}
}

func (l *Log) bytes() int64 {
	n := int64(l.held[1])
	for _, f := range l.files {
		n += f.size
	}
	return n
}

// Wants says whether events of kind e are kept at all.
func (l *Log) wants(k relay.EventKind) bool {
	return l.limits.MaxBytes > 0 && slices.Contains(outboxKinds, k)
}

var outboxKinds = relay.OutboxKinds()

// Rows appends the rows of events to rows, and says how many there is no room for. Room
// false: there is room for none.
func (l *Log) Rows(rows []Row, events []relay.Event, room bool) (_ []Row, lost int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.limits.MaxBytes == 0 {
		return rows, 0
	}
	disk, pending := room, 0
	for _, r := range rows {
		pending += frameHead + len(r.Value)
	}
	for i := range events {
		if !l.wants(events[i].Kind) {
			continue
		}
		for room && l.bytes()+int64(pending) >= l.limits.MaxBytes {
			before := len(l.files)
			l.prune(time.Now(), true)
			room = len(l.files) < before
		}
		if !room {
			lost, l.noRoom = lost+1, !disk
			continue
		}
		r := Row{Number: l.ids.Next()}
		r.Value = record.AppendEvent(make([]byte, 0, 256), r.Key(), &events[i])
		rows = append(rows, r)
		pending += frameHead + len(r.Value)
	}
	return rows, lost
}

// Stage gives the log the rows of a group that is about to be made durable.
func (l *Log) Stage(rows []Row, lost int) { l.staged, l.stagedLost = rows, lost }

// Publish says that what was staged is durable in the journal.
func (l *Log) Publish() {
	if len(l.staged) == 0 && l.stagedLost == 0 {
		return
	}
	l.mu.Lock()
	for _, r := range l.staged {
		l.add(r)
	}
	lost, watch, some := l.stagedLost, l.watch, len(l.staged) > 0
	l.mu.Unlock()
	l.staged, l.stagedLost = nil, 0
	why := "the outbox is full of events that are still to be told"
	if l.noRoom {
		why = noRoom
	}
	l.losing(lost, why)
	if some && watch != nil {
		watch()
	}
}

// losing counts lost events, and logs them.
func (l *Log) losing(n int, why string) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	l.lost += uint64(n)
	now, all := time.Now(), l.lost
	l.lostAt = now
	tell := now.Sub(l.complains) >= complain
	if tell {
		l.complains = now
	}
	l.mu.Unlock()
	if tell {
		l.log.Error("events for webhooks are lost; mail is not affected", "reason", why, "lost", all)
	}
}

// prune removes the oldest files of which everybody was told: those that are old, and,
// where room is wanted, one more.
func (l *Log) prune(now time.Time, room bool) {
	keep := l.limits.Keep
	if keep == 0 {
		keep = defaultKeep
	}
	for len(l.files) > 1 || len(l.files) == 1 && l.f == nil {
		f, end := l.files[0], l.last
		if len(l.files) > 1 {
			end = l.files[1].first - 1
		}
		old := now.Sub(f.changed) > keep
		off := l.limits.MaxBytes == 0 // no consumer needs it any more
		if !(old && (off || end <= l.told)) && !(room && end <= l.told) {
			return
		}
		if err := os.Remove(f.path); err != nil && !os.IsNotExist(err) {
			l.log.Warn("an old file of the outbox cannot be removed", "error", err)
			return
		}
		l.files = l.files[1:]
		if !old {
			room = false
		}
	}
}

// GiveWay removes all events of which everybody was told but those of the newest file: the
// disk is nearly full, and mail goes before what could be told again. It says whether
// that made any room.
func (l *Log) GiveWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for before, now := len(l.files), time.Now(); ; {
		left := len(l.files)
		if l.prune(now, true); len(l.files) == left {
			return left < before
		}
	}
}

// Close closes the file.
func (l *Log) Close() error {
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
