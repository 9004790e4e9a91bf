package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// errSettlement is a settlement that contradicts itself or its Delivery: a
// mistake of the caller. Nothing of it is done.
var errSettlement = errors.New("not a valid settlement")

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
	notices, err := q.prepareNotices(&s)
	if err == nil {
		err = errors.Join(checkSettlement(&s), q.checkRows(&s))
	}
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

// prepareNotices builds the records of the notices. They are always kept in
// the bbolt file, whatever their size: so they need no sync of their own.
func (q *Store) prepareNotices(s *relay.Settlement) ([]*incoming, error) {
	var all []*incoming
	for i := range s.Notices {
		n := &s.Notices[i]
		if n.Message.ID.Dir != q.dirID || n.Message.ID.Key == 0 {
			return nil, fmt.Errorf("%w: a notice has no ID of this queue", errSettlement)
		}
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

// checkSettlement is what can be said without the Delivery.
func checkSettlement(s *relay.Settlement) error {
	seen := make(map[int]bool)
	mark := func(r int) error {
		if seen[r] || r < 0 {
			return fmt.Errorf("%w: recipient %d is named twice or does not exist", errSettlement, r)
		}
		seen[r] = true
		return nil
	}
	for _, o := range s.Outcomes {
		if o.Action == "" {
			return fmt.Errorf("%w: recipient %d has no action", errSettlement, o.Recipient)
		}
		if err := mark(o.Recipient); err != nil {
			return err
		}
	}
	clear(seen)
	for _, p := range s.Split {
		if p.Destination == "" || len(p.Recipients) == 0 {
			return fmt.Errorf("%w: a split is empty", errSettlement)
		}
		for _, r := range p.Recipients {
			if err := mark(r); err != nil {
				return err
			}
		}
	}
	if s.Next.Attempts < 0 {
		return fmt.Errorf("%w: a negative number of attempts", errSettlement)
	}
	return nil
}

// settle applies s. Everything is read and checked before the first write.
func (t *txn) settle(s *relay.Settlement, notices []*incoming) error {
	if s.ID == (relay.QueueID{}) { // it settles no Delivery
		for _, n := range notices {
			t.insert(n)
		}
		t.digestRows(s)
		return nil
	}
	key := record.DeliveryKey(s.ID.Key, s.Job)
	v := t.Sched.Get(key)
	if v == nil || s.ID.Dir != t.q.dirID {
		return relay.ErrNotFound
	}
	d, err := record.DecodeDelivery(key, v, t.q.dirID)
	if err != nil {
		// What was decided must not be lost with the row that it changes.
		t.repair(s.ID.Key, false, datadir.ErrRow.Error())
		if d, err = record.DecodeDelivery(key, t.Sched.Get(key), t.q.dirID); err != nil {
			return datadir.ErrRow
		}
	}
	split, err := t.advance(d, s)
	if err != nil {
		return err
	}
	for _, p := range split {
		t.insertJob(p)
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
	t.settled = append(t.settled, jobRef{s.ID.Key, s.Job})
	return nil
}

// advance changes d as s says, and makes the Deliveries that part from it.
func (t *txn) advance(d *relay.Delivery, s *relay.Settlement) ([]*relay.Delivery, error) {
	at := make(map[int]int, len(d.Open)) // recipient → place in d.Open
	for i, o := range d.Open {
		at[o.Recipient] = i
	}
	leave := make(map[int]bool)
	for _, o := range s.Outcomes {
		i, ok := at[o.Recipient]
		if !ok {
			return nil, fmt.Errorf("%w: recipient %d is not open", errSettlement, o.Recipient)
		}
		d.Open[i].Last = o.Reply
		leave[o.Recipient] = o.Action.Final()
	}
	next := s.Next
	next.Due, next.HeldAt = record.Stored(next.Due), record.Stored(next.HeldAt)
	d.Set(next)
	var parted []*relay.Delivery
	job := 0
	for _, p := range s.Split {
		n := &relay.Delivery{Entry: d.Entry}
		n.Set(next)
		n.Destination = p.Destination
		for _, r := range p.Recipients {
			i, ok := at[r]
			if !ok || leave[r] {
				return nil, fmt.Errorf("%w: recipient %d of a split is not open", errSettlement, r)
			}
			leave[r] = true
			n.Open = append(n.Open, d.Open[i])
		}
		if len(parted) == 0 {
			job = t.nextJob(d.ID.Key)
		} else {
			job++
		}
		if job >= record.NoDelivery {
			return nil, fmt.Errorf("%w: the message has too many Deliveries", errSettlement)
		}
		n.Job = uint16(job)
		parted = append(parted, n)
	}
	open := d.Open[:0]
	for _, o := range d.Open {
		if !leave[o.Recipient] {
			open = append(open, o)
		}
	}
	d.Open = open
	if len(parted) > 0 {
		t.put(t.Hist, record.DeliveryKey(d.ID.Key, record.NoDelivery), binary.BigEndian.AppendUint16(nil, uint16(job+1)))
	}
	return parted, nil
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
	// Whatever ended a recipient is in the history, an act of the operator too
	// (its N is 0): a damaged row of sched can be rebuilt from it.
	var a relay.Attempt
	if s.Attempt != nil {
		a = *s.Attempt
	}
	a.Outcomes = mergeOutcomes(a.Outcomes, s.Outcomes)
	if s.Attempt == nil && len(a.Outcomes) == 0 {
		return
	}
	if t.q.space.State().Bare && !slices.ContainsFunc(a.Outcomes, func(o relay.Outcome) bool { return o.Action.Final() }) {
		return // an attempt that ended nothing must not use up what ending it will need
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

// mergeOutcomes is what an attempt found, made to agree with what was decided:
// a recipient is final in the history exactly when it was closed.
func mergeOutcomes(found, decided []relay.Outcome) []relay.Outcome {
	open := make(map[int]relay.Outcome, len(decided)) // final, and not yet in the result
	for _, o := range decided {
		if o.Action.Final() {
			open[o.Recipient] = o
		}
	}
	all := make([]relay.Outcome, 0, len(found)+len(open))
	for _, o := range found {
		if o.Action.Final() {
			if _, ok := open[o.Recipient]; !ok {
				o.Action = relay.ActionDelayed
			}
			delete(open, o.Recipient)
		}
		all = append(all, o)
	}
	for _, o := range decided {
		if _, ok := open[o.Recipient]; ok {
			all = append(all, o)
		}
	}
	return all
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
	t.deletePrefix(t.Hist, key)
	t.gone = append(t.gone, id)
}
