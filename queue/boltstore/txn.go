package boltstore

import (
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/journal"
	"dawk/queue/outbox"
	"dawk/queue/recent"
	"dawk/relay"
)

// txn is one group, in the write transaction that is open, and what is to
// happen once it is durable.
type txn struct {
	datadir.Tables
	q                                 *Store
	dirty                             bool
	messages, deliveries, quarantined int64 // changes of the counts
	telling                           int64 // change of the sum of space.Telling
	grows                             int   // by how many octets messages are more than before, less rows that were listed

	rec     *journal.Record // the group's changes, for the journal; nil: it is committed at once
	touched []uint64        // the messages whose rows changed

	fresh   []*recent.Message
	entries []relay.Entry
	settled []jobRef
	gone    []uint64 // messages that left the store
	unlinks []uint64 // of these, the ones with a spool file

	events []outbox.Row
	lost   int // events that there is no room for
}

type jobRef struct {
	id  uint64
	job uint16
}

// put passes key and value to bbolt, which refers to them until the checkpoint.
func (t *txn) put(b *bolt.Bucket, k, v []byte) {
	t.changed(b, k, v, false)
	if err := b.Put(k, v); err != nil {
		panic(datadir.SystemError{Err: fmt.Errorf("put: %w", err)})
	}
}

func (t *txn) delete(b *bolt.Bucket, k []byte) {
	t.changed(b, k, nil, true)
	if err := b.Delete(k); err != nil {
		panic(datadir.SystemError{Err: fmt.Errorf("delete: %w", err)})
	}
}

// changed notes a change for the journal and for those who read.
func (t *txn) changed(b *bolt.Bucket, k, v []byte, removed bool) {
	t.dirty = true
	t.q.w.file.Changed(b == t.Msg, k, len(v), removed)
	if t.rec != nil {
		switch {
		case !t.rec.Fits(len(k) + len(v)):
			t.rec = nil
		case removed:
			t.rec.Remove(t.Number(b), k)
		default:
			t.rec.Put(t.Number(b), k, v)
		}
	}
	t.touched = t.Owner(t.touched, b, k)
}

// tell puts events into the outbox. On a full disk there is no room for them: they must not use up
// the room for ending mail.
func (t *txn) tell(events []relay.Event) {
	w, before := t.q.w, len(t.events)
	now := t.q.space.State()
	room := w.stuckUntil.IsZero() && (w.fits == 0 || now.Refusal == nil) && !now.Bare
	var lost int
	t.events, lost = t.q.outbox.Rows(t.events, events, room)
	t.lost += lost
	for _, r := range t.events[before:] {
		t.dirty = true
		switch {
		case t.rec == nil:
		case !t.rec.Fits(len(r.Value) + 8):
			t.rec = nil
		default:
			t.rec.Put(datadir.TableOutbox, r.Key(), r.Value)
		}
	}
}

// deletePrefix removes all rows of b whose keys begin with prefix.
func (t *txn) deletePrefix(b *bolt.Bucket, prefix []byte) {
	for _, k := range datadir.KeysWithPrefix(b, prefix) {
		t.delete(b, k)
	}
}

// totals are the counts and the high-water mark with the group done.
func (t *txn) totals() journal.Totals {
	c := &t.q.counts
	return journal.Totals{High: t.q.ids.Last(), Messages: uint64(c.messages.Load() + t.messages),
		Deliveries: uint64(c.deliveries.Load() + t.deliveries), Quarantined: uint64(c.quarantined.Load() + t.quarantined)}
}

// committed does what waits for durability, except the answers.
func (t *txn) committed() {
	q := t.q
	q.counts.messages.Add(t.messages)
	q.counts.deliveries.Add(t.deliveries)
	if q.counts.telling.Add(t.telling) < 0 || q.counts.messages.Load() == 0 {
		q.counts.telling.Store(0) // it began as an estimate
	}
	q.counts.quarantined.Add(t.quarantined)
	now := time.Now()
	for _, f := range t.fresh {
		q.cache.Add(f, now)
	}
	for _, s := range t.settled {
		q.cache.Settled(s.id, s.job)
	}
	for _, id := range t.gone {
		q.cache.Forget(id)
		q.space.Gone(id)
	}
	q.spoolGone(t.unlinks)
}
