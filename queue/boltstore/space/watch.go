// Package space finds out how much room there is for new mail: for records in the bbolt file and
// its journal, and for content in files of its own. model.go decides what follows from a look at
// the disk, need.go how much room the file must keep for the settlement of accepted mail; both are
// pure. Watcher looks every second.
//
// Its one goroutine is [Watcher.Run]. A mutex orders the changes of the state,
// which is read without a lock.
package space

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/relay"
)

const lookEvery = time.Second

// Watcher looks at the disk of one data directory.
type Watcher struct {
	dir    string
	limits Limits
	use    func() Use
	spare  func() bool
	log    *slog.Logger

	mu      sync.Mutex // held by those who change state
	state   atomic.Pointer[State]
	shares  shares
	stop    chan struct{}
	stopped chan struct{}
}

// New makes a watcher that has not looked yet. Run must be called. Spare removes from a
// disk that is nearly full what mail goes before, and says whether there was any.
func New(dir string, limits Limits, use func() Use, spare func() bool, log *slog.Logger) *Watcher {
	w := &Watcher{dir: dir, limits: limits, use: use, spare: spare, log: log, stop: make(chan struct{}), stopped: make(chan struct{})}
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
	w.mu.Lock()
	defer w.mu.Unlock()
	m, err := w.measure()
	if err == nil && m.Disk < enough(w.limits.Needed(m.Total), relay.ErrNoSpace) && w.spare() {
		m, err = w.measure()
	}
	if err != nil {
		w.log.Warn("cannot see how much disk is free", "dir", w.dir, "error", err)
		return
	}
	old := w.state.Load()
	now := w.limits.After(*old, m, w.dir)
	w.state.Store(&now)
	switch {
	case now.Refusal != nil && old.Refusal == nil:
		w.log.Error("new mail is refused until there is room; delivery goes on", "reason", now.Refusal)
	case now.Refusal == nil && old.Refusal != nil:
		w.log.Info("there is room again: new mail is accepted", "room", queue.SizeText(now.Room))
	}
}

func (w *Watcher) measure() (Measured, error) {
	var st unix.Statfs_t
	err := unix.Statfs(w.dir, &st)
	return Measured{Total: int64(st.Blocks) * st.Bsize, Disk: int64(st.Bavail) * st.Bsize, Use: w.use()}, err
}

// SetFull stops acceptance at once: a write for the file found no room.
func (w *Watcher) SetFull(err error) {
	w.full("new mail", err, func(s *State) (*error, *failure, int64) { return &s.Refusal, &s.records, s.Room })
}

// SetNoFiles does the same for content in files of its own.
func (w *Watcher) SetNoFiles(err error) {
	w.full("large mail", err, func(s *State) (*error, *failure, int64) { return &s.NoFiles, &s.files, s.Disk })
}

func (w *Watcher) full(what string, err error, of func(*State) (refusal *error, last *failure, room int64)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := *w.state.Load()
	refusal, last, room := of(&now)
	if *refusal == nil {
		why := "the disk is full: " + what + " is refused until there is room; delivery goes on"
		if errors.Is(err, syscall.EROFS) {
			why = "the file system of the queue is read-only: " + what + " is refused until it can be written to; what becomes of deliveries is kept in memory"
		}
		w.log.Error(why, "error", err)
	}
	*refusal = fmt.Errorf("%w: %w", relay.ErrNoSpace, err)
	*last = last.again(room)
	w.state.Store(&now)
}
