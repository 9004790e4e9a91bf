package boltstore

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/record"
	"dawk/relay"
)

// repair deals with a message that has an unreadable record. When its envelope
// is sound, the Deliveries that cannot be read are rebuilt from it and from its
// history; what was unreadable is kept in corrupt. When it is not, or whole
// says so, everything of it moves to corrupt. Nothing is ever deleted. found is
// false when the message has ended meanwhile.
func (q *Store) repair(id uint64, whole bool, reason string) (found bool, err error) {
	err = q.now(id, func(t *txn) error { found = t.repair(id, whole, reason); return nil })
	if err != nil {
		q.log.Error("a damaged message could not be put into quarantine", "id", q.name(id), "reason", reason, "error", err)
		return false, err
	}
	if found {
		q.log.Error("a damaged message was found; `dawk queue verify` says more", "id", q.name(id), "reason", reason)
	}
	return found, nil
}

// keepDamaged copies the record of a message whose content is lost to corrupt,
// once, before the message ends with a notice to its sender.
func (q *Store) keepDamaged(id uint64, reason string) error {
	kept := false
	err := q.now(id, func(t *txn) error {
		if v := t.Msg.Get(record.MessageKey(id)); v != nil && !t.isQuarantined(id) {
			t.quarantineValue(datadir.KindMsg, record.MessageKey(id), v, reason)
			kept = true
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep what is left of a damaged message: %w", err)
	}
	if kept {
		q.log.Error("the content of a message is lost; what is left of it is kept, `dawk queue verify` tells more",
			"id", q.name(id), "reason", reason)
	}
	return nil
}

// now has the writer run f, and waits for it.
func (q *Store) now(id uint64, f func(*txn) error) error {
	done := make(chan error, 1)
	err := q.hand(context.Background(), &op{id: id, done: func(err error) { done <- err }, apply: f})
	if err != nil {
		return err
	}
	return <-done
}

func (q *Store) name(id uint64) relay.QueueID { return relay.QueueID{Key: id, Dir: q.dirID} }

func (t *txn) repair(id uint64, whole bool, reason string) (found bool) {
	key := record.MessageKey(id)
	v := t.Msg.Get(key)
	m, _, _, err := record.DecodeMessage(key, v, t.q.dirID)
	if !whole && err == nil && t.rebuild(m, reason) {
		return true
	}
	for kind, b := range map[byte]*bolt.Bucket{datadir.KindMsg: t.Msg, datadir.KindSched: t.Sched, datadir.KindHist: t.Hist} {
		for _, k := range datadir.KeysWithPrefix(b, key) {
			t.quarantine(kind, b, k, reason)
			found = true
		}
	}
	t.gone = append(t.gone, id)
	return found
}

// quarantine moves one row to corrupt.
func (t *txn) quarantine(kind byte, b *bolt.Bucket, k []byte, reason string) {
	v := b.Get(k)
	t.quarantineValue(kind, k, v, reason)
	switch kind {
	case datadir.KindMsg:
		t.messages--
		t.telling -= space.Telling(len(v), record.Recipients(v))
	case datadir.KindSched:
		t.deliveries--
	}
	t.delete(b, k)
}

// quarantineValue keeps the reason, a zero octet, and v as it was.
func (t *txn) quarantineValue(kind byte, k, v []byte, reason string) {
	key := append([]byte{kind}, k...)
	if t.Corrupt.Get(key) == nil {
		t.quarantined++
	}
	t.put(t.Corrupt, key, append(append([]byte(reason), 0), v...))
}

// isQuarantined says whether the record of a message was put into quarantine.
func (t *txn) isQuarantined(id uint64) bool {
	return t.Corrupt.Get(append([]byte{datadir.KindMsg}, record.MessageKey(id)...)) != nil
}

// rebuild replaces the unreadable Deliveries of m by one with every recipient that is neither open
// in a readable one nor closed in the history. false: no recipient is left, or no row is
// unreadable.
func (t *txn) rebuild(m *relay.Message, reason string) bool {
	p := datadir.PlacesOf(m, t.Sched, t.Hist)
	if len(p.Bad) == 0 || len(p.Open) == 0 {
		return false
	}
	for _, k := range p.Bad {
		t.quarantine(datadir.KindSched, t.Sched, k, reason)
	}
	_, job, _ := record.SplitKey(p.Bad[0])
	t.put(t.Sched, p.Bad[0], record.EncodeDelivery(p.Bad[0], t.remade(m, p.Open, job, p.Attempts[job])))
	t.deliveries++
	return true
}

// remade is a Delivery of m in the place of one that was damaged. Recipients with several
// destinations are split at its first attempt.
func (t *txn) remade(m *relay.Message, open []relay.Open, job uint16, attempts int) *relay.Delivery {
	d := &relay.Delivery{Entry: relay.Entry{ID: m.ID, Job: job, Identity: m.Identity, Peer: m.Peer(), Arrival: m.Arrival, Due: record.Stored(time.Now()), Attempts: attempts}}
	d.Open = open
	d.Destination = t.q.opt.Destination(m, m.Recipients[open[0].Recipient].Path)
	d.Rule = "rebuilt after its record was found damaged"
	return d
}
