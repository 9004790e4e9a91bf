// Package space knows how much room there is for new mail: for records in the
// bbolt file and its journal, and for content in files of its own. model.go says
// what follows from a look at the disk, and is pure; Watcher looks every second,
// and keeps the reserve file.
//
// Its one goroutine is [Watcher.Run]. A mutex orders the changes of the state,
// which is read without a lock.
package space

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/journal"
	"dawk/relay"
)

const (
	lookEvery      = time.Second
	defaultReserve = 64 << 20
)

// Watcher looks at the disk of one data directory.
type Watcher struct {
	dir    string
	limits Limits
	want   int64 // size of the reserve; 0: the default, negative: there is none
	// use is the size of the bbolt file, of its free pages, and what the journal
	// has and the file lacks.
	use func() (size, free, owed int64)
	log *slog.Logger

	mu      sync.Mutex // held by those who change state
	state   atomic.Pointer[State]
	full    atomic.Bool // a write found no room since the last look
	reserve atomic.Bool // the reserve file exists in full
	stop    chan struct{}
	stopped chan struct{}
}

// New makes a watcher that has not looked yet. Run must be called.
func New(dir string, limits Limits, reserve int64, use func() (size, free, owed int64), log *slog.Logger) *Watcher {
	w := &Watcher{dir: dir, limits: limits, want: reserve, use: use, log: log, stop: make(chan struct{}), stopped: make(chan struct{})}
	w.state.Store(&State{})
	return w
}

// Run looks every second until Close.
func (w *Watcher) Run() {
	defer close(w.stopped)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.stop:
			return
		case <-tick.C:
			w.Look()
			w.KeepReserve()
		}
	}
}

// Close ends Run, and waits for it.
func (w *Watcher) Close() {
	close(w.stop)
	<-w.stopped
}

// State is what the last look found.
func (w *Watcher) State() *State { return w.state.Load() }

// Look measures.
func (w *Watcher) Look() {
	var st unix.Statfs_t
	if err := unix.Statfs(w.dir, &st); err != nil {
		w.log.Warn("cannot see how much disk is free", "dir", w.dir, "error", err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	old := w.state.Load()
	m := Measured{Total: int64(st.Blocks) * st.Bsize, Disk: int64(st.Bavail) * st.Bsize}
	m.FileSize, m.Free, m.Owed = w.use()
	m.Full = w.full.Swap(false)
	now := w.limits.After(*old, m, w.dir)
	w.state.Store(&now)
	switch {
	case now.Refusal != nil && old.Refusal == nil:
		w.log.Error("new mail is refused until there is room; delivery goes on", "reason", now.Refusal)
	case now.Refusal == nil && old.Refusal != nil:
		w.log.Info("there is room again: new mail is accepted", "room", queue.SizeText(now.Room))
	}
}

// SetFull stops acceptance at once, until the next look.
func (w *Watcher) SetFull(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.full.Store(true)
	old := *w.state.Load()
	refusal := fmt.Errorf("%w: %w", relay.ErrNoSpace, err)
	if old.Refusal == nil {
		w.log.Error("the disk is full: new mail is refused until there is room; delivery goes on", "error", err)
	}
	old.Refusal, old.NoFiles = refusal, refusal
	w.state.Store(&old)
}

func (w *Watcher) reservePath() string { return filepath.Join(w.dir, "reserve") }

// KeepReserve writes the reserve file, for real, when it is missing and there
// is room. On a full disk its space lets settlements go on, since bbolt needs
// free pages even to delete.
func (w *Watcher) KeepReserve() {
	want, st := w.reserveSize(), w.State()
	if want < 0 || w.FindReserve() || st.Refusal != nil {
		return
	}
	if st.Disk < st.Limit+2*want { // else it would come and go
		return
	}
	if err := w.writeReserve(want); err != nil {
		os.Remove(w.reservePath())
		if !errors.Is(err, context.Canceled) {
			w.log.Warn("cannot write the reserve file", "path", w.reservePath(), "error", err)
		}
		return
	}
	w.reserve.Store(true)
}

// reserveSize is how large the reserve is to be, in octets; negative: there is none.
func (w *Watcher) reserveSize() int64 {
	want := w.want
	if want == 0 {
		want = defaultReserve
		var fs unix.Statfs_t
		if unix.Statfs(w.dir, &fs) == nil {
			want = min(want, int64(fs.Blocks)*fs.Bsize/16)
		}
	}
	return want
}

// FindReserve says whether the reserve is there: ours, or an earlier run's, which
// a start on a full disk needs at once.
func (w *Watcher) FindReserve() bool {
	if w.reserve.Load() {
		return true
	}
	want := w.reserveSize()
	if want < 0 {
		return false
	}
	info, err := os.Stat(w.reservePath())
	if err != nil || info.Size() < want {
		return false
	}
	w.reserve.Store(true)
	return true
}

func (w *Watcher) writeReserve(want int64) error {
	f, err := os.OpenFile(w.reservePath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for want > 0 {
		select {
		case <-w.stop:
			return context.Canceled
		default:
		}
		n := min(want, int64(len(zeros)))
		if _, err := f.Write(zeros[:n]); err != nil {
			return err
		}
		want -= n
	}
	return journal.Datasync(f)
}

// DropReserve gives the reserve to a settlement that found the disk full. It
// says whether that freed anything.
func (w *Watcher) DropReserve() bool {
	if !w.reserve.CompareAndSwap(true, false) {
		return false
	}
	if err := os.Remove(w.reservePath()); err != nil {
		return false
	}
	w.log.Warn("the disk is full: the reserve file was given up so that settling goes on")
	return true
}
