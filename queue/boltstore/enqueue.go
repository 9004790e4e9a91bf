package boltstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"

	"dawk/queue/boltstore/recent"
	"dawk/queue/record"
	"dawk/relay"
)

// incoming is a message on its way into the store, ready to be written:
// nothing about it can be wrong any more.
type incoming struct {
	msg    *relay.Message
	value  []byte // of msg
	head   []byte // the content kept in value
	layout record.Layout
	jobs   []*relay.Delivery
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
		// The file is the record's now, or may be: then the next start finds out.
		d.ended = true
		q.giveTail(d.tail)
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
	in.layout = record.Layout{Inline: int64(len(d.buf) - d.at), File: d.size, FileCRC: d.crc, Deliveries: len(in.jobs)}
	meta := record.EncodeMeta(in.msg, in.layout)
	crc := crc32.Checksum(d.buf[d.at:], record.Castagnoli)
	front := record.HeaderSize + len(meta)
	if front > d.at {
		d.grow(front)
	}
	in.value = d.buf[d.at-front:]
	record.PutHeader(in.value, record.MessageKey(d.id.Key), meta, in.layout, crc)
	copy(in.value[record.HeaderSize:], meta)
	in.head = in.value[front:]
	return in, nil
}

// split groups the recipients by what Destination says of them.
func (q *Store) split(msg *relay.Message) (*incoming, error) {
	if n := len(msg.Recipients); n == 0 || n > record.MaxRecipients {
		return nil, fmt.Errorf("a message needs 1 to %d recipients, this has %d", record.MaxRecipients, n)
	}
	m := *msg
	m.Arrival, m.NotBefore = record.Stored(m.Arrival), record.Stored(m.NotBefore)
	hold := m.Hold
	m.Hold = "" // the Deliveries keep it
	in := &incoming{msg: &m}
	due := m.Arrival
	if m.NotBefore.After(due) {
		due = m.NotBefore
	}
	var byName map[string]*relay.Delivery
	for i := range m.Recipients {
		dest := q.opt.Destination(&m, m.Recipients[i].Path)
		var job *relay.Delivery
		if len(in.jobs) > 0 {
			if in.jobs[0].Destination == dest {
				job = in.jobs[0]
			} else if byName != nil {
				job = byName[dest]
			}
		}
		if job == nil {
			job = &relay.Delivery{Entry: relay.Entry{ID: m.ID, Job: uint16(len(in.jobs)), Destination: dest,
				Identity: m.Identity, Peer: m.Peer(), Arrival: m.Arrival, Due: due}}
			if hold != "" {
				job.Held, job.HeldAt, job.Rule = true, m.Arrival, hold
			}
			if len(in.jobs) > 0 {
				if byName == nil {
					byName = make(map[string]*relay.Delivery)
				}
				byName[dest] = job
			}
			in.jobs = append(in.jobs, job)
		}
		job.Open = append(job.Open, relay.Open{Recipient: i})
	}
	return in, nil
}

// insert writes a message and its Deliveries.
func (t *txn) insert(in *incoming) {
	id := in.msg.ID.Key
	t.put(t.Msg, record.MessageKey(id), in.value)
	t.grows += len(in.value)
	t.messages++
	jobs := make(map[uint16]*relay.Delivery, len(in.jobs))
	for _, d := range in.jobs {
		t.insertJob(d)
		jobs[d.Job] = d
	}
	t.fresh = append(t.fresh, &recent.Message{Msg: in.msg, Head: in.head, Layout: in.layout, Jobs: jobs})
}

func (t *txn) insertJob(d *relay.Delivery) {
	key := record.DeliveryKey(d.ID.Key, d.Job)
	t.put(t.Sched, key, record.EncodeDelivery(key, d))
	t.deliveries++
	t.entries = append(t.entries, d.Entry)
}
