package boltstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"dawk/queue/boltstore/space"
	"dawk/queue/change"
	"dawk/queue/recent"
	"dawk/queue/record"
	"dawk/relay"
)

// incoming is a message on its way into the store, ready to be written:
// nothing about it can be wrong any more.
type incoming struct {
	msg    *relay.Message
	value  []byte // of msg
	head   []byte // the content kept in value, at its end
	crc    uint32 // of head
	layout record.Layout
	jobs   []*relay.Delivery
	events []relay.Event
}

// Enqueue puts a message on stable storage, as one commit with one Delivery
// for each destination, and returns nil only when it is there. It ends the
// draft. msg.ID is the draft's; msg.Size is set. The queue keeps msg's
// recipients: they are not to be changed afterwards.
//
// An error that wraps relay.ErrNoSpace means that nothing was stored. One that
// wraps relay.ErrClosed means that the outcome is not known: the message may
// turn up after a restart, and the client, who was told 451, sends it again.
// ctx ends only the wait for a place in the queue, never an outcome.
func (q *Store) Enqueue(ctx context.Context, rd relay.Draft, msg *relay.Message) (err error) {
	d, ok := rd.(*draft)
	if !ok || d.q != q || d.ended {
		return errors.New("enqueue: not an open draft of this queue")
	}
	if msg.ID != d.id {
		return fmt.Errorf("enqueue %s: the draft has ID %s", msg.ID, d.id)
	}
	defer func() {
		if err != nil {
			q.space.Gone(d.id.Key)
			d.Discard()
			err = fmt.Errorf("enqueue %s: %w", msg.ID, err)
		}
	}()
	if err = q.space.Take(d.id.Key, msg.Identity+" "+msg.Peer(), d.Size()); err != nil {
		return err
	} else if err = d.seal(); err != nil {
		return err
	}
	msg.Size = d.Size()
	in, err := q.prepare(d, msg)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	o := &op{id: msg.ID.Key, bytes: len(in.value), spool: d.file != nil,
		apply: func(t *txn) error { t.insert(in); return nil },
		done:  func(err error) { done <- err },
	}
	if err = q.hand(ctx, o); err != nil {
		return err
	}
	if err = <-done; err == nil || errors.Is(err, relay.ErrClosed) {
		// The file belongs to the record now, or may do so: the next start finds out.
		d.ended = true
		q.scratch.give(d.tail)
		if d.tail = nil; d.file != nil {
			d.file.Close()
		}
	}
	return err
}

// hand gives o to the writer, whose answer must then be awaited.
func (q *Store) hand(ctx context.Context, o *op) error {
	q.gate.RLock()
	defer q.gate.RUnlock()
	if err := q.closedError(); err != nil {
		return err
	}
	select {
	case q.w.in <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// prepare builds the record in place, in front of the draft's content.
func (q *Store) prepare(d *draft, msg *relay.Message) (*incoming, error) {
	in, err := q.split(msg)
	if err != nil {
		return nil, err
	}
	in.layout = record.Layout{Inline: int64(len(d.buf) - d.at), File: d.size, FileCRC: d.crc, Deliveries: len(in.jobs), Recipients: len(msg.Recipients)}
	meta := record.EncodeMeta(in.msg, in.layout)
	front := record.HeaderSize + len(meta)
	d.own(front)
	in.crc = crc32.Checksum(d.buf[d.at:], record.Castagnoli)
	if front > d.at {
		d.grow(front)
	}
	in.value = d.buf[d.at-front:]
	record.PutHeader(in.value, record.MessageKey(d.id.Key), meta, in.layout, in.crc)
	copy(in.value[record.HeaderSize:], meta)
	in.head = in.value[front:]
	return in, nil
}

// split groups the recipients by their Destination.
func (q *Store) split(msg *relay.Message) (*incoming, error) {
	m, jobs, err := change.Accepted(msg, q.opt.Destination)
	if err != nil {
		return nil, err
	}
	return &incoming{msg: m, jobs: jobs, events: msg.Events}, nil
}

// insert writes a message and its Deliveries.
func (t *txn) insert(in *incoming) {
	id := in.msg.ID.Key
	t.put(t.Msg, record.MessageKey(id), in.value)
	if t.rec != nil {
		t.rec.Known(len(in.head), in.crc)
	}
	t.grows += len(in.value)
	t.messages++
	t.telling += space.Telling(len(in.value), record.Recipients(in.value))
	jobs := make(map[uint16]*relay.Delivery, len(in.jobs))
	for _, d := range in.jobs {
		t.insertJob(d)
		jobs[d.Job] = d
	}
	t.tell(in.events)
	t.fresh = append(t.fresh, &recent.Message{Msg: in.msg, Head: in.head, Layout: in.layout, Jobs: jobs})
}

func (t *txn) insertJob(d *relay.Delivery) {
	key := record.DeliveryKey(d.ID.Key, d.Job)
	t.put(t.Sched, key, record.EncodeDelivery(key, d))
	t.deliveries++
	t.entries = append(t.entries, d.Entry)
}
