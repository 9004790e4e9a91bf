package boltstore

import (
	"encoding/binary"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/change"
	"dawk/queue/record"
	"dawk/relay"
)

// Settle does what one attempt, or the operator, decided: outcomes, the next
// due time, the history, splits, notices and, with the last Delivery, the end
// of the message. All of it happens in one commit or nothing of it.
//
// Settle does not block; it waits up to 10 ms for a commit to ride with, and
// until then what s refers to belongs to the queue. done, which may be nil, is called once, from the writer, and must not block. Its
// error wraps relay.ErrNotFound when the Delivery is gone, relay.ErrCorrupt
// when its record cannot be read, relay.ErrClosed when the outcome is unknown.
// On a full disk the settlement waits until there is room; done is called then.
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
	err := change.Check(&s, q.dirID)
	if err != nil {
		answer(err)
		return
	}
	notices, err := q.prepareNotices(&s)
	if err != nil {
		answer(err)
		return
	}
	size := 0
	for _, n := range notices {
		size += len(n.value)
	}
	for _, r := range s.Rows {
		size += len(r.Data)
	}
	frees := 0
	if size == 0 && len(s.Outcomes) > 0 && s.Outcomes[0].Action.Final() {
		frees = 1
	}
	q.settleLater(&op{id: s.ID.Key, job: s.Job, bytes: size, frees: frees, done: answer,
		apply: func(t *txn) error { return t.settle(&s, notices) }})
}

// settleLater hands a lazy operation to the writer.
func (q *Store) settleLater(o *op) {
	q.gate.RLock()
	defer q.gate.RUnlock()
	if err := q.closedError(); err != nil {
		o.done(err)
		return
	}
	q.w.later(o)
}

// prepareNotices builds the records of the notices. They are always kept in the bbolt file,
// whatever their size, so they need no sync of their own.
func (q *Store) prepareNotices(s *relay.Settlement) ([]*incoming, error) {
	var all []*incoming
	for i := range s.Notices {
		n := &s.Notices[i]
		n.Message.Size = int64(len(n.Content))
		in, err := q.split(&n.Message)
		if err != nil {
			return nil, fmt.Errorf("notice %s: %w", n.Message.ID, err)
		}
		in.layout = record.Layout{Inline: int64(len(n.Content)), Deliveries: len(in.jobs)}
		in.value = record.EncodeMessage(in.msg, in.layout, n.Content)
		in.head = in.value[len(in.value)-len(n.Content):]
		all = append(all, in)
	}
	return all, nil
}

// settle applies s. Everything is read and checked before the first write.
func (t *txn) settle(s *relay.Settlement, notices []*incoming) error {
	if s.ID == (relay.QueueID{}) { // it settles no Delivery
		for _, n := range notices {
			t.insert(n)
		}
		t.digestRows(s)
		t.tell(s.Events)
		return nil
	}
	key := record.DeliveryKey(s.ID.Key, s.Job)
	v := t.Sched.Get(key)
	if v == nil || s.ID.Dir != t.q.dirID {
		return relay.ErrNotFound
	}
	d, err := record.DecodeDelivery(key, v, t.q.dirID)
	if err != nil {
		// The decision must not be lost with the row that it changes.
		t.repair(s.ID.Key, false, datadir.ErrRow.Error())
		if d, err = record.DecodeDelivery(key, t.Sched.Get(key), t.q.dirID); err != nil {
			return datadir.ErrRow
		}
	}
	split, err := change.Advance(d, s, func() int { return t.nextJob(s.ID.Key) })
	if err != nil {
		return err
	}
	for _, p := range split {
		t.insertJob(p)
	}
	if n := len(split); n > 0 {
		t.put(t.Hist, record.DeliveryKey(s.ID.Key, record.NoDelivery), binary.BigEndian.AppendUint16(nil, split[n-1].Job+1))
	}
	last := false
	if len(d.Open) > 0 {
		t.put(t.Sched, key, record.EncodeDelivery(key, d))
	} else {
		t.delete(t.Sched, key)
		t.deliveries--
		last = len(split) == 0 && !hasPrefix(t.Sched, record.MessageKey(s.ID.Key))
	}
	if last {
		t.remove(s.ID.Key)
	} else {
		t.record(s)
	}
	for _, n := range notices {
		t.insert(n)
	}
	t.digestRows(s)
	t.tell(s.Events)
	t.settled = append(t.settled, jobRef{s.ID.Key, s.Job})
	return nil
}

// nextJob is the lowest number that no Delivery of the message ever had.
func (t *txn) nextJob(id uint64) int {
	if v := t.Hist.Get(record.DeliveryKey(id, record.NoDelivery)); len(v) == 2 {
		return int(binary.BigEndian.Uint16(v))
	}
	n := 0
	if _, l, _, err := record.DecodeMessage(record.MessageKey(id), t.Msg.Get(record.MessageKey(id)), t.q.dirID); err == nil {
		n = l.Deliveries
	}
	for _, k := range datadir.KeysWithPrefix(t.Sched, record.MessageKey(id)) {
		if _, job, ok := record.SplitKey(k); ok {
			n = max(n, int(job)+1)
		}
	}
	return n
}

func hasPrefix(b *bolt.Bucket, prefix []byte) (found bool) {
	datadir.EachPrefix(b, prefix, func(_, _ []byte) bool { found = true; return false })
	return found
}

// record appends to the history of a message that stays.
func (t *txn) record(s *relay.Settlement) {
	a, ok := change.History(s)
	if !ok {
		return
	}
	if t.q.space.State().Bare && !slices.ContainsFunc(a.Outcomes, func(o relay.Outcome) bool { return o.Action.Final() }) {
		return // an attempt that ended nothing must not use up the room for ending the message
	}
	var n uint32
	prefix := record.DeliveryKey(s.ID.Key, s.Job)
	datadir.EachPrefix(t.Hist, prefix, func(k, _ []byte) bool {
		if len(k) == 14 && binary.BigEndian.Uint32(k[10:]) != ^uint32(0) {
			n = binary.BigEndian.Uint32(k[10:]) + 1
		}
		return true
	})
	key := record.AttemptKey(s.ID.Key, s.Job, n)
	t.put(t.Hist, key, record.EncodeAttempt(key, &a))
}

// remove deletes a message with everything that belongs to it.
func (t *txn) remove(id uint64) {
	key := record.MessageKey(id)
	v := t.Msg.Get(key)
	t.grows -= len(v)
	if len(v) > 1 && v[1]&record.InFile != 0 && !t.isQuarantined(id) {
		t.unlinks = append(t.unlinks, id)
	}
	t.delete(t.Msg, key)
	t.messages--
	t.telling -= space.Telling(len(v), record.Recipients(v))
	t.deletePrefix(t.Hist, key)
	t.gone = append(t.gone, id)
}
