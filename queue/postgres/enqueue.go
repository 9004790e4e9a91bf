package postgres

import (
	"context"
	"errors"
	"fmt"

	"dawk/queue/change"
	"dawk/relay"
)

// Enqueue returns nil once the message is on the primary and, unless Options allow
// less, on a synchronous standby. It ends the draft and sets msg.Size. An error that
// wraps relay.ErrNoSpace means that nothing was stored. One that wraps relay.ErrClosed
// means that this is not known: the client, who was told 451, sends it again; what was
// stored is taken out as soon as the database answers, or delivered after a restart.
func (q *Store) Enqueue(ctx context.Context, rd relay.Draft, msg *relay.Message) (err error) {
	d, ok := rd.(*draft)
	if !ok || d.q != q || d.ended {
		return errors.New("enqueue: not an open draft of this queue")
	}
	if msg.ID != d.id {
		return fmt.Errorf("enqueue %s: the draft has ID %s", msg.ID, d.id)
	}
	defer func() {
		d.Discard()
		if err != nil {
			err = fmt.Errorf("enqueue %s: %w", msg.ID, err)
		}
	}()
	c := d.Content()
	if d.err != nil {
		return d.err
	}
	msg.Size = c.Size()
	in, err := q.incoming(msg, c)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	o := &op{in: in, bytes: len(in.head) + int(c.Size()), done: func(err error) { done <- err }}
	if err := q.hand(ctx, o); err != nil {
		return err
	}
	return <-done
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

// Settle does what one attempt, or the operator, decided: see relay.Settlement. It does
// not block; done, which may be nil, is called once. While the database cannot be
// reached, or has no room, the settlement waits.
func (q *Store) Settle(s relay.Settlement, done func(error)) {
	answer := func(err error) {
		if done == nil {
			return
		}
		if err != nil {
			err = fmt.Errorf("settle %s/%d: %w", s.ID, s.Job, err)
		}
		done(err)
	}
	o := &op{s: &s, done: answer}
	err := change.Check(&s, q.dirID)
	for i := range s.Notices {
		if err != nil {
			break
		}
		n := &s.Notices[i]
		n.Message.Size = int64(len(n.Content))
		var in *incoming
		if in, err = q.incoming(&n.Message, inMemory(n.Content)); err == nil {
			o.notices = append(o.notices, in)
			o.bytes += len(n.Content)
		}
	}
	if err != nil {
		answer(err)
		return
	}
	q.gate.RLock()
	defer q.gate.RUnlock()
	if err := q.closedError(); err != nil {
		answer(err)
		return
	}
	q.w.later(o)
}
