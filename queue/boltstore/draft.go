package boltstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"

	"dawk/queue/journal"
	"dawk/queue/record"
	"dawk/relay"
	"dawk/relay/durable"
)

// headroom is kept free in front of a draft's content: the trace field, a
// signature, and then the record's header and metadata go there without moving
// the content.
const headroom = 2 << 10

// flushAt is how much content a draft collects between writes to its file.
const flushAt = 256 << 10

// draft collects content in memory up to the inline limit, then in a file.
type draft struct {
	q  *Store
	id relay.QueueID

	buf  []byte // content kept here is buf[at:]; in front of it is room
	at   int
	file *os.File
	tail []byte // octets for the file, not yet written
	size int64  // of the file, tail included
	crc  uint32 // of the file, tail excluded

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
		if n := len(d.buf); cap(d.buf)-n < len(p) { // append would add a quarter, and copy large content five times
			d.buf = slices.Grow(d.buf, max(len(p), min(n, headroom+d.q.opt.InlineLimit-n)))
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
	d.tail = append(d.q.takeTail(), d.buf[d.at:]...)
	d.size = int64(len(d.tail))
	d.buf, d.at = make([]byte, headroom), headroom
	return d.q.hook("draft.created")
}

// takeTail gives an empty buffer between a draft and its file.
func (q *Store) takeTail() []byte {
	if t, ok := q.tails.Get().(*[]byte); ok {
		return (*t)[:0]
	}
	return make([]byte, 0, flushAt+64<<10)
}

// giveTail takes it back for the next one.
func (q *Store) giveTail(t []byte) {
	if cap(t) > 0 {
		q.tails.Put(&t)
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
	d.q.giveTail(d.tail)
	d.buf, d.tail = nil, nil
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
