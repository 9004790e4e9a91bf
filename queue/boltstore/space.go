package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	bolterrors "go.etcd.io/bbolt/errors"
	"golang.org/x/sys/unix"

	"dawk/queue"
	"dawk/queue/journal"
	"dawk/relay"
)

const (
	spaceEvery     = time.Second
	defaultReserve = 64 << 20
	boltStep       = 16 << 20 // by which bbolt grows its file
	settleMargin   = 112 << 20
)

// space knows how much room there is: for records, and for spool files.
type space struct {
	q       *Store
	mu      sync.Mutex // held by those who change state
	state   atomic.Pointer[spaceState]
	full    atomic.Bool // a write found no room since the last look
	reserve atomic.Bool // the reserve file exists in full
	stop    chan struct{}
	stopped chan struct{}
}

// spaceState is what the last look found.
type spaceState struct {
	disk     int64 // free on the file system, octets
	room     int64 // for records: disk plus bbolt's free pages, less an eighth of them
	limit    int64 // room below which new mail is refused
	refusal  error // for all mail; nil: there is room
	noFiles  error // for bodies in files
	fileSize int64 // of the bbolt file
	free     int64 // of its pages, in octets
}

func newSpace(q *Store) *space {
	s := &space{q: q, stop: make(chan struct{}), stopped: make(chan struct{})}
	s.state.Store(&spaceState{})
	return s
}

// run looks every second until close.
func (s *space) run() {
	defer close(s.stopped)
	tick := time.NewTicker(spaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.look()
			s.keepReserve()
		}
	}
}

func (s *space) close() {
	close(s.stop)
	<-s.stopped
}

// look measures. Full stays full until there is half as much again as the
// limit, so that acceptance does not flap.
func (s *space) look() {
	var st unix.Statfs_t
	if err := unix.Statfs(s.q.opt.Dir, &st); err != nil {
		s.q.log.Warn("cannot see how much disk is free", "dir", s.q.opt.Dir, "error", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.state.Load()
	now := &spaceState{disk: int64(st.Bavail) * st.Bsize}
	now.fileSize, now.free = s.q.fileUse()
	now.limit = s.limit(int64(st.Blocks) * st.Bsize)
	spare := now.free - now.free/8
	owed := s.q.w.j.Length() // to the bbolt file
	now.room = now.disk + spare - owed
	wasFull := s.full.Swap(false)
	if wasFull {
		now.refusal, now.noFiles = old.refusal, old.noFiles // a write failed since: it said why
	} else if now.room < enough(now.limit, old.refusal) {
		now.refusal = fmt.Errorf("%w: %s has room for %s, new mail needs %s", relay.ErrNoSpace, s.q.opt.Dir, queue.SizeText(now.room), queue.SizeText(now.limit))
	}
	if now.noFiles == nil && now.disk < enough(now.limit, old.noFiles) {
		now.noFiles = fmt.Errorf("%w: %s has %s free, large mail needs %s", relay.ErrNoSpace, s.q.opt.Dir, queue.SizeText(now.disk), queue.SizeText(now.limit))
	}
	if maxSize := s.q.opt.MaxSize; maxSize > 0 {
		slack := maxSizeSlack(maxSize)
		left := maxSize - slack - now.fileSize + spare - owed
		if left <= 0 || old.refusal != nil && left < slack/2 {
			now.refusal = fmt.Errorf("%w: the queue file has reached its max_size of %s", relay.ErrNoSpace, queue.SizeText(maxSize))
		}
		now.room = min(now.room, max(left, 0))
	}
	s.state.Store(now)
	switch {
	case now.refusal != nil && old.refusal == nil:
		s.q.log.Error("new mail is refused until there is room; delivery goes on", "reason", now.refusal)
	case now.refusal == nil && old.refusal != nil:
		s.q.log.Info("there is room again: new mail is accepted", "room", queue.SizeText(now.room))
	}
}

// enough is the limit, half as much again while we refuse.
func enough(limit int64, refusing error) int64 {
	if refusing != nil {
		return limit + limit/2
	}
	return limit
}

// maxSizeSlack is the part of a MaxSize that new mail may not use: bbolt stops
// one step before the limit, and settling needs pages too.
func maxSizeSlack(maxSize int64) int64 { return boltStep + min(settleMargin, maxSize/8) }

// limit is max(min_free, 2 × max_message_size), on a file system of total octets.
func (s *space) limit(total int64) int64 {
	least := s.q.opt.MinFree
	if least == 0 {
		least = min(1<<30, total/10)
	}
	return max(least, 2*s.q.opt.MaxMessageSize)
}

// setFull stops acceptance at once, until the next look.
func (s *space) setFull(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full.Store(true)
	old := *s.state.Load()
	refusal := fmt.Errorf("%w: %w", relay.ErrNoSpace, err)
	if old.refusal == nil {
		s.q.log.Error("the disk is full: new mail is refused until there is room; delivery goes on", "error", err)
	}
	old.refusal, old.noFiles = refusal, refusal
	s.state.Store(&old)
}

func (s *space) roomForFiles() error { return s.state.Load().noFiles }

// Room is nil, or says why new mail is refused; the error wraps
// relay.ErrNoSpace, as of the last second, or relay.ErrClosed when the disk is
// not trusted any more.
func (q *Store) Room() error {
	if why := q.failed.Load(); why != nil {
		return fmt.Errorf("%w: %w", relay.ErrClosed, *why)
	}
	return q.space.state.Load().refusal
}

func (s *space) reservePath() string { return filepath.Join(s.q.opt.Dir, "reserve") }

// keepReserve writes the reserve file, for real, when it is missing and there
// is room. On a full disk its space lets settlements go on, since bbolt needs
// free pages even to delete.
func (s *space) keepReserve() {
	want, st := s.reserveSize(), s.state.Load()
	if want < 0 || s.findReserve() || st.refusal != nil {
		return
	}
	if st.disk < st.limit+2*want { // else it would come and go
		return
	}
	if err := s.writeReserve(want); err != nil {
		os.Remove(s.reservePath())
		if !errors.Is(err, context.Canceled) {
			s.q.log.Warn("cannot write the reserve file", "path", s.reservePath(), "error", err)
		}
		return
	}
	s.reserve.Store(true)
}

// reserveSize is how large the reserve is to be, in octets; negative: there is none.
func (s *space) reserveSize() int64 {
	want := s.q.opt.Reserve
	if want == 0 {
		want = defaultReserve
		var fs unix.Statfs_t
		if unix.Statfs(s.q.opt.Dir, &fs) == nil {
			want = min(want, int64(fs.Blocks)*fs.Bsize/16)
		}
	}
	return want
}

// findReserve says whether the reserve is there: ours, or an earlier run's, which
// a start on a full disk needs at once.
func (s *space) findReserve() bool {
	if s.reserve.Load() {
		return true
	}
	want := s.reserveSize()
	if want < 0 {
		return false
	}
	info, err := os.Stat(s.reservePath())
	if err != nil || info.Size() < want {
		return false
	}
	s.reserve.Store(true)
	return true
}

func (s *space) writeReserve(want int64) error {
	f, err := os.OpenFile(s.reservePath(), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	zeros := make([]byte, 1<<20)
	for want > 0 {
		select {
		case <-s.stop:
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

// dropReserve gives the reserve to a settlement that found the disk full. It
// says whether that freed anything.
func (s *space) dropReserve() bool {
	if !s.reserve.CompareAndSwap(true, false) {
		return false
	}
	if err := os.Remove(s.reservePath()); err != nil {
		return false
	}
	s.q.log.Warn("the disk is full: the reserve file was given up so that settling goes on")
	return true
}

// isFull says whether a failed transaction met a full disk and was rolled
// back: a write or a truncate without room. A sync without room is not that:
// its outcome is unknown.
func isFull(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return true
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return (pe.Op == "write" || pe.Op == "truncate") && isFullErrno(err)
	}
	// bbolt's grow hides the errno of its truncate behind %s.
	text := err.Error()
	if !strings.Contains(text, "file resize error: ") {
		return false
	}
	for _, e := range fullErrnos {
		if strings.HasSuffix(text, e.Error()) {
			return true
		}
	}
	return false
}

var fullErrnos = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

func isFullErrno(err error) bool {
	for _, e := range fullErrnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// spoolError is a failure to make or write a spool file: nothing depends on it
// yet, so only this draft is lost.
func (q *Store) spoolError(doing string, err error) error {
	if isFullErrno(err) {
		q.space.setFull(err)
		return fmt.Errorf("%w: %s the spool file: %w", relay.ErrNoSpace, doing, err)
	}
	return fmt.Errorf("%s the spool file: %w", doing, err)
}

// syncError is a failure to sync a spool file. Without room the draft is
// thrown away; anything else means that the disk cannot be trusted.
func (q *Store) syncError(err error) error {
	if isFullErrno(err) {
		return q.spoolError("sync", err)
	}
	q.distrust(err)
	return fmt.Errorf("%w: %w", relay.ErrClosed, err)
}
