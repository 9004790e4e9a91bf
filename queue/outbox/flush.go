package outbox

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dawk/queue/journal"
	"dawk/relay/durable"
)

// Flush writes what is in no file yet, and what is staged, to stable storage, and gives the number
// that the store's commit is to name. Events without room stay in memory, or are lost; mail
// continues. Room false: there is no room at all.
func (l *Log) Flush(room bool) uint64 {
	l.mu.Lock()
	rows := slices.Concat(l.recent[l.waiting:], l.staged)
	l.prune(time.Now(), false)
	l.mu.Unlock()
	l.written, l.begun, l.before = 0, nil, 0
	if len(rows) > 0 && room {
		if err := l.write(rows); err != nil {
			l.trouble(err)
			l.undo()
		} else {
			l.written = len(rows)
		}
	}
	if l.written > 0 {
		return rows[l.written-1].Number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.files); n > 0 {
		return l.files[n-1].last
	}
	return l.last
}

func (l *Log) trouble(err error) {
	l.mu.Lock()
	l.prune(time.Now(), true)
	now := time.Now()
	tell := now.Sub(l.complains) >= complain
	if tell {
		l.complains = now
	}
	l.mu.Unlock()
	if tell {
		l.log.Error("events for webhooks cannot be written: they are kept in memory as long as there is room; mail is not affected", "error", err)
	}
}

// write appends rows to the newest file, or to a new one when one is due.
func (l *Log) write(rows []Row) error {
	l.mu.Lock()
	most := min(largestFile, max(smallestFile, l.limits.MaxBytes/16))
	var cur *file
	if n := len(l.files); n > 0 && l.f != nil {
		cur = l.files[n-1]
	}
	keep := l.limits.Keep
	l.mu.Unlock()
	if cur == nil || cur.size >= most || keep > 0 && time.Since(cur.began) > keep/8 {
		if err := l.begin(rows[0].Number); err != nil {
			return err
		}
	} else {
		l.before = cur.size
	}
	b := make([]byte, 0, 64<<10)
	for _, r := range rows {
		b = appendFrame(b, r)
	}
	if err := l.hook("outbox"); err != nil {
		return err
	}
	if _, err := l.f.WriteAt(b, l.before); err != nil {
		return err
	}
	if err := journal.Datasync(l.f); err != nil {
		return err
	}
	return l.hook("outboxed")
}

// begin makes a new file whose name is durable.
func (l *Log) begin(first uint64) error {
	l.setFile(nil)
	if err := durable.MkdirAll(l.dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(l.dir, fmt.Sprintf("%016x%s", first, suffix))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	l.begun, l.before = &file{path: path, first: first, began: time.Now()}, 0
	l.setFile(f)
	if err = durable.Own(path); err == nil {
		err = durable.SyncDir(l.dir)
	}
	return err
}

// undo takes back what Flush wrote. A file that cannot be cut is no longer written: its surplus is
// beyond the number that the store names.
func (l *Log) undo() {
	if l.begun != nil {
		os.Remove(l.begun.path)
	} else if l.f != nil && l.before > 0 && l.f.Truncate(l.before) == nil {
		return
	}
	l.setFile(nil)
	l.begun = nil
}

// setFile makes f the open file, and closes the one before it.
func (l *Log) setFile(f *os.File) {
	l.mu.Lock()
	old := l.f
	l.f = f
	l.mu.Unlock()
	if old != nil {
		old.Close()
	}
}

// Committed says that the store's commit names what Flush gave: what was staged happened.
func (l *Log) Committed() {
	if len(l.staged) == 0 && l.written == 0 && l.stagedLost == 0 && l.held[1] <= waitingBytes {
		return
	}
	rows := l.written
	l.Publish()
	l.mu.Lock()
	if rows > 0 {
		if l.begun != nil {
			l.files = append(l.files, l.begun)
		}
		cur := l.files[len(l.files)-1]
		for _, r := range l.recent[l.waiting : l.waiting+rows] {
			cur.add(r)
		}
		cur.changed = time.Now()
	}
	for _, r := range l.recent[l.waiting : l.waiting+rows] {
		l.held[0] += len(r.Value)
		l.held[1] -= len(r.Value)
	}
	l.waiting += rows
	lost := l.forget()
	l.mu.Unlock()
	l.written, l.begun = 0, nil
	l.losing(lost, noRoom)
}

// forget drops events that need not be in memory, and returns how many are lost by that.
func (l *Log) forget() (lost int) {
	n := 0
	for ; n < l.waiting && l.held[0] > recentBytes; n++ {
		l.held[0] -= len(l.recent[n].Value)
	}
	l.waiting -= n
	l.recent = slices.Delete(l.recent, 0, n)
	for n = l.waiting; n < len(l.recent) && l.held[1] > waitingBytes; n++ {
		l.held[1] -= len(l.recent[n].Value)
		lost++
	}
	l.recent = slices.Delete(l.recent, l.waiting, n)
	return lost
}

// Drop forgets what was staged: it did not happen.
func (l *Log) Drop() {
	l.staged, l.stagedLost = nil, 0
	if l.written > 0 {
		l.undo()
		l.written = 0
	}
}
