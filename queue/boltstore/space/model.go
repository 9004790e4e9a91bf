package space

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	bolterrors "go.etcd.io/bbolt/errors"

	"dawk/queue"
	"dawk/relay"
)

const (
	boltStep     = 16 << 20 // by which bbolt grows its file
	settleMargin = 112 << 20
)

// Limits are what the operator set. Sizes are in octets.
type Limits struct {
	MinFree        int64 // room below which new mail is refused; 0: the lesser of 1 GiB and a tenth of the file system
	MaxMessageSize int64 // new mail also needs twice this much room
	MaxSize        int64 // hard limit of the bbolt file; 0: none
}

// Measured is what one look saw.
type Measured struct {
	Total, Disk    int64 // size of the file system, and what of it is free
	FileSize, Free int64 // of the bbolt file, and of its pages that hold nothing
	Owed           int64 // what the journal has and the file lacks
	Full           bool  // a write found no room since the last look
}

// State is what follows from a look.
type State struct {
	Measured
	Room    int64 // for records: disk plus bbolt's free pages, less an eighth of them
	Limit   int64 // room below which new mail is refused
	Refusal error // for all mail; nil: there is room
	NoFiles error // for bodies in files
}

// After is the state that follows old. Full stays full until there is half as
// much again as the limit, so that acceptance does not flap.
func (l Limits) After(old State, m Measured, dir string) State {
	now := State{Measured: m, Limit: l.Needed(m.Total)}
	spare := m.Free - m.Free/8
	now.Room = m.Disk + spare - m.Owed
	if m.Full {
		now.Refusal, now.NoFiles = old.Refusal, old.NoFiles // who met it said why
	} else if now.Room < enough(now.Limit, old.Refusal) {
		now.Refusal = fmt.Errorf("%w: %s has room for %s, new mail needs %s", relay.ErrNoSpace, dir, queue.SizeText(now.Room), queue.SizeText(now.Limit))
	}
	if now.NoFiles == nil && m.Disk < enough(now.Limit, old.NoFiles) {
		now.NoFiles = fmt.Errorf("%w: %s has %s free, large mail needs %s", relay.ErrNoSpace, dir, queue.SizeText(m.Disk), queue.SizeText(now.Limit))
	}
	if l.MaxSize > 0 {
		slack := maxSizeSlack(l.MaxSize)
		left := l.MaxSize - slack - m.FileSize + spare - m.Owed
		if left <= 0 || old.Refusal != nil && left < slack/2 {
			now.Refusal = fmt.Errorf("%w: the queue file has reached its max_size of %s", relay.ErrNoSpace, queue.SizeText(l.MaxSize))
		}
		now.Room = min(now.Room, max(left, 0))
	}
	return now
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

// Needed is how much room new mail needs on a file system of total octets:
// MinFree, and never less than two messages.
func (l Limits) Needed(total int64) int64 {
	least := l.MinFree
	if least == 0 {
		least = min(1<<30, total/10)
	}
	return max(least, 2*l.MaxMessageSize)
}

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

var fullErrnos = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG}

// NoRoom says whether a system call failed for want of space.
func NoRoom(err error) bool {
	for _, e := range fullErrnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
