package space

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/relay"
)

const settleMargin = 112 << 20 // octets, of a MaxSize

// Limits are what the operator set. Sizes are in octets.
type Limits struct {
	MinFree        int64 // room below which new mail is refused; 0: the lesser of 1 GiB and a tenth of the file system
	MaxMessageSize int64 // new mail also needs twice this much room
	MaxSize        int64 // hard limit of the bbolt file; 0: none
}

// Measured is what one look saw.
type Measured struct {
	Total, Disk int64 // size of the file system, and what of it is free
	Use
}

// Use is what the queue has made of its room. Sizes are in octets.
type Use struct {
	FileSize, Free int64 // of the bbolt file, and of what holds nothing in it
	Holes          int64 // of Free, what the disk has given no blocks for
	Owed           int64 // what the file will take for what the journal has
	Deliveries     int64 // that wait to be settled
	Telling        int64 // octets that rows of lists may take beyond their messages
}

// failure means that a write found no room although a look saw some: the pages are not contiguous,
// or there is a quota.
type failure struct {
	room int64 // that was seen
	wait int   // looks until it is tried again; 0: nothing failed
	last int   // what wait began with
}

// State is what follows from a look.
type State struct {
	Measured
	Room    int64 // for records: disk plus bbolt's free pages, less what is owed and what settling needs
	Limit   int64 // room below which new mail is refused
	Refusal error // for all mail; nil: there is room
	NoFiles error // for bodies in files
	Bare    bool  // all that is left is for settling
	Left    int64 // what new mail may take before it is refused
	Short   bool  // Left is little: see shares

	records, files failure
}

// After is the state that follows old. Full stays full until one and a half times the limit is
// free, so that acceptance does not flap.
func (l Limits) After(old State, m Measured, dir string) State {
	now := State{Measured: m, Limit: l.Needed(m.Total)}
	settle := ToSettle(m.Deliveries, m.Telling)
	now.Room = m.Disk + m.Free - m.Holes - m.Owed - settle
	now.Bare, now.Room = now.Room < 0, max(0, now.Room)
	now.Left, now.Short = max(0, now.Room-now.Limit), now.Room < 2*now.Limit
	if now.Room < enough(now.Limit, old.Refusal) {
		now.Refusal = fmt.Errorf("%w: %s has room for %s, new mail needs %s", relay.ErrNoSpace, dir, queue.SizeText(now.Room), queue.SizeText(now.Limit))
	}
	if m.Disk < enough(now.Limit, old.NoFiles) {
		now.NoFiles = fmt.Errorf("%w: %s has %s free, large mail needs %s", relay.ErrNoSpace, dir, queue.SizeText(m.Disk), queue.SizeText(now.Limit))
	}
	if l.MaxSize > 0 {
		margin := min(settleMargin, l.MaxSize/8)
		left := l.MaxSize - boltfile.Step - m.FileSize + m.Free - m.Owed
		now.Bare = now.Bare || left < settle
		left -= max(margin, settle)
		if left <= 0 || old.Refusal != nil && left < margin/2 {
			now.Refusal = fmt.Errorf("%w: the queue file has reached its max_size of %s", relay.ErrNoSpace, queue.SizeText(l.MaxSize))
		}
		now.Room, now.Left = min(now.Room, max(left, 0)), min(now.Left, max(left, 0))
		now.Short = now.Short || left < l.MaxSize/4
	}
	if now.records = old.records.next(); now.Refusal == nil && old.records.lasts(now.Room, now.Limit) {
		now.Refusal = old.Refusal
	}
	if now.files = old.files.next(); now.NoFiles == nil && old.files.lasts(m.Disk, now.Limit) {
		now.NoFiles = old.NoFiles
	}
	return now
}

// again is the failure that follows f. It waits twice as long when it comes soon.
func (f failure) again(room int64) failure {
	if f.wait > 0 { // the same one, told by several
		return f
	}
	wait := min(max(2*f.last, 5), 20)
	return failure{room: room, wait: wait, last: wait}
}

// lasts says whether nothing has changed since the failure, or it is too recent to know: another
// try each second would only fill the log.
func (f failure) lasts(room, limit int64) bool {
	return f.wait > 0 && (f.wait == f.last || room < f.room+limit/2)
}

// next is the failure a look later. After a quiet minute it is forgotten.
func (f failure) next() failure {
	if f.wait--; f.wait < -60 {
		return failure{}
	}
	return f
}

// enough is the limit, half as much again while we refuse.
func enough(limit int64, refusing error) int64 {
	if refusing != nil {
		return limit + limit/2
	}
	return limit
}

// Needed is how much room new mail needs on a file system of total octets:
// MinFree, and never less than two messages.
func (l Limits) Needed(total int64) int64 {
	least := l.MinFree
	if least == 0 {
		least = min(1<<30, total/10)
	}
	return max(least, 2*l.MaxMessageSize)
}

// Smallest is how large a file system of total octets would have to be at least:
// mail is to be taken before and after it was full, beside the journal and what
// settling needs.
func (l Limits) Smallest(total int64) int64 { return 3*l.Needed(total) + 8<<20 }

// RolledBack says whether a failed transaction met a full disk and was rolled
// back: a write or a truncate without room. A sync without room is not that:
// its outcome is unknown.
func RolledBack(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return true
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return (pe.Op == "write" || pe.Op == "truncate") && NoRoom(err)
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

// fullErrnos are of a write that did nothing, and may do it later. EROFS is one of a
// file system that is read-only until somebody mends it.
var fullErrnos = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS}

// NoRoom says whether a system call failed for want of space, or because nothing can
// be written there.
func NoRoom(err error) bool {
	for _, e := range fullErrnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
