package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"

	"dawk/queue/journal"
	"dawk/queue/record"
	"dawk/relay"
	"dawk/relay/durable"
)

// headroom is kept free before a draft's content: the trace field, a signature, and the record's
// header and metadata are written there without moving the content.
const headroom = 2 << 10

// flushAt is how much content a draft collects between writes to its file.
const flushAt = 256 << 10

// draft collects content in memory up to the inline limit, then in a file.
type draft struct {
	q  *Store
	id relay.QueueID

	buf   []byte // content kept here is buf[at:]; in front of it is room
	at    int
	lent  []byte // buf as it was taken from scratch, where content is collected that is not small
	shown bool   // Content was called
	file  *os.File
	tail  []byte // octets for the file, not yet written
	size  int64  // of the file, tail included
	crc   uint32 // of the file, tail excluded

	err   error // the first failure: sticky
	ended bool
}

// NewDraft begins a message. The error wraps relay.ErrNoSpace or relay.ErrClosed.
func (q *Store) NewDraft() (relay.Draft, error) {
	if err := q.closedError(); err != nil {
		return nil, err
	}
	if err := q.Room(); err != nil {
		return nil, err
	}
	return &draft{q: q, id: q.NextID(), buf: make([]byte, headroom, 8<<10), at: headroom}, nil
}

// NextID reserves a queue ID. It is never given again.
func (q *Store) NextID() relay.QueueID {
	return relay.QueueID{Key: q.ids.Next(), Dir: q.dirID}
}

func (d *draft) ID() relay.QueueID { return d.id }

// Size is in octets, what was prepended included.
func (d *draft) Size() int64 { return int64(len(d.buf)-d.at) + d.size }

// Write appends to the content. Its error wraps relay.ErrNoSpace where the
// disk is full.
func (d *draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.ended {
		return 0, fmt.Errorf("write to a draft that has ended: %w", os.ErrClosed)
	}
	if d.file == nil && len(d.buf)-d.at+len(p) <= d.q.opt.InlineLimit {
		if cap(d.buf)-len(d.buf) < len(p) {
			d.extend(len(p))
		}
		d.buf = append(d.buf, p...)
		return len(p), nil
	}
	if d.file == nil {
		if d.err = d.spill(); d.err != nil {
			return 0, d.err
		}
	}
	// In pieces, so that one large Write does not become one large copy.
	for n := 0; n < len(p); {
		piece := p[n:min(len(p), n+flushAt)]
		d.tail = append(d.tail, piece...)
		d.size += int64(len(piece))
		if len(d.tail) >= flushAt {
			if d.err = d.flush(); d.err != nil {
				return n, d.err
			}
		}
		n += len(piece)
	}
	return len(p), nil
}

// extend makes room for n more octets, in a buffer that is used again: a slice that grows would
// take twice the memory of what it holds at the end.
func (d *draft) extend(n int) {
	lent := append(d.q.scratch.take(max(len(d.buf)+n, len(d.buf)*2)), d.buf...)
	d.giveBack()
	d.buf, d.lent = lent, lent
}

// giveBack ends the loan of buf. Octets that Content gave out stay where they are.
func (d *draft) giveBack() {
	if !d.shown {
		d.q.scratch.give(d.lent)
	}
	d.lent = nil
}

// own ends the loan: the content is in memory of its own, with room for front octets before it
// where there is as much.
func (d *draft) own(front int) {
	if d.lent == nil {
		return
	}
	front = min(front, d.at)
	d.buf, d.at = bytes.Clone(d.buf[d.at-front:]), front
	d.q.scratch.give(d.lent)
	d.lent = nil
}

// spill moves the content to a file. What is prepended later stays in memory
// and in the record.
func (d *draft) spill() error {
	if err := d.q.space.State().NoFiles; err != nil {
		return err
	}
	f, err := d.q.createSpool(d.id.Key)
	if errors.Is(err, durable.ErrUnsynced) {
		d.q.distrust(err)
		return fmt.Errorf("%w: %w", relay.ErrClosed, err)
	}
	if err != nil {
		return d.q.spoolError("create", err)
	}
	d.file = f
	d.tail = append(d.q.scratch.take(flushAt+64<<10), d.buf[d.at:]...)
	d.size = int64(len(d.tail))
	d.giveBack()
	d.buf, d.at = make([]byte, headroom), headroom
	return d.q.hook("draft.created")
}

// scratch are buffers that serve one draft after the other, for its content or for what is between
// it and its file. The smallest has leastScratch octets, and each has twice as many as the one before.
type scratch [5]sync.Pool // of *[]byte

const leastScratch = 20 << 10

// take gives an empty buffer of octets at least.
func (s *scratch) take(octets int) []byte {
	size := leastScratch
	for k := range s {
		if size >= octets {
			if b, ok := s[k].Get().(*[]byte); ok {
				return (*b)[:0]
			}
			break
		}
		size *= 2
	}
	return make([]byte, 0, max(size, octets))
}

// give takes one back.
func (s *scratch) give(b []byte) {
	for k := range s {
		if cap(b) == leastScratch<<k {
			s[k].Put(&b)
		}
	}
}

func (d *draft) flush() error {
	if len(d.tail) == 0 {
		return nil
	}
	if err := d.q.hook("draft.write"); err != nil {
		return d.q.spoolError("write", err)
	}
	if _, err := d.file.Write(d.tail); err != nil {
		return d.q.spoolError("write", err)
	}
	d.crc = crc32.Update(d.crc, record.Castagnoli, d.tail)
	d.tail = d.tail[:0]
	return nil
}

// Prepend puts header in front of everything so far.
func (d *draft) Prepend(header []byte) {
	if len(header) > d.at {
		d.grow(len(header))
	}
	d.at -= len(header)
	copy(d.buf[d.at:], header)
}

// grow makes room for n octets and as much as usual in front of the content.
// Octets that Content gave out stay where they are.
func (d *draft) grow(n int) {
	kept := d.buf[d.at:]
	buf := make([]byte, headroom+n+len(kept))
	copy(buf[headroom+n:], kept)
	d.buf, d.at = buf, headroom+n
}

// Content is what is there so far.
func (d *draft) Content() relay.Content {
	d.shown = true
	c := &content{head: d.buf[d.at:len(d.buf):len(d.buf)]}
	if d.file != nil {
		if d.err == nil {
			d.err = d.flush()
		}
		c.file, c.size = d.file, d.size-int64(len(d.tail))
	}
	return c
}

// Discard throws the draft and its file away.
func (d *draft) Discard() {
	if d.ended {
		return
	}
	d.ended = true
	d.q.scratch.give(d.tail)
	d.q.scratch.give(d.lent)
	d.buf, d.tail, d.lent = nil, nil, nil
	if d.file != nil {
		d.file.Close()
		d.q.unlink(d.id.Key)
	}
}

// seal ends the collection: the file, if there is one, is on stable storage
// but for its name. It runs in the session, in parallel with others.
func (d *draft) seal() error {
	if d.err != nil {
		return d.err
	}
	if d.file == nil {
		return nil
	}
	if err := d.flush(); err != nil {
		return err
	}
	err := d.q.hook("draft.sync")
	if err == nil {
		err = journal.Datasync(d.file)
	}
	if err != nil {
		return d.q.syncError(err)
	}
	return d.q.hook("draft.synced")
}
