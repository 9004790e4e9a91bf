package boltstore

import (
	"context"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/record"
	"dawk/relay"
)

// Where a row of corrupt came from: the first octet of its key.
const (
	kindMsg    = 'm'
	kindSched  = 's'
	kindHist   = 'h'
	kindDigest = 'd'
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
		q.log.Error("a damaged message was found; `dawk queue verify` tells more", "id", q.name(id), "reason", reason)
	}
	return found, nil
}

// keepDamaged copies the record of a message whose content is lost to corrupt,
// once, before the message ends with a notice to its sender.
func (q *Store) keepDamaged(id uint64, reason string) error {
	kept := false
	err := q.now(id, func(t *txn) error {
		if v := t.msg.Get(record.MessageKey(id)); v != nil && !t.isQuarantined(id) {
			t.quarantineValue(kindMsg, record.MessageKey(id), v, reason)
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

// now has f done by the writer, and waits for it.
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
	v := t.msg.Get(key)
	m, _, _, err := record.DecodeMessage(key, v, t.q.dirID)
	if !whole && err == nil && t.rebuild(m, reason) {
		return true
	}
	for kind, b := range map[byte]*bolt.Bucket{kindMsg: t.msg, kindSched: t.sched, kindHist: t.hist} {
		for _, k := range keysWithPrefix(b, key) {
			t.quarantine(kind, b, k, reason)
			found = true
		}
	}
	t.gone = append(t.gone, id)
	return found
}

// quarantine moves one row to corrupt.
func (t *txn) quarantine(kind byte, b *bolt.Bucket, k []byte, reason string) {
	t.quarantineValue(kind, k, b.Get(k), reason)
	t.delete(b, k)
	switch kind {
	case kindMsg:
		t.messages--
	case kindSched:
		t.deliveries--
	}
}

// quarantineValue keeps the reason, a zero octet, and v as it was.
func (t *txn) quarantineValue(kind byte, k, v []byte, reason string) {
	key := append([]byte{kind}, k...)
	if t.corrupt.Get(key) == nil {
		t.quarantined++
	}
	t.put(t.corrupt, key, append(append([]byte(reason), 0), v...))
}

// isQuarantined says whether the record of a message was put into quarantine.
func (t *txn) isQuarantined(id uint64) bool {
	return t.corrupt.Get(append([]byte{kindMsg}, record.MessageKey(id)...)) != nil
}

// places is where the recipients of a message are.
type places struct {
	open     []relay.Open   // those in no readable Delivery, and not closed in the history
	attempts map[uint16]int // of each Delivery, as the history has them
	bad      [][]byte       // keys of Deliveries that cannot be read
}

func placesOf(m *relay.Message, sched, hist *bolt.Bucket) (p places) {
	prefix := record.MessageKey(m.ID.Key)
	taken := make(map[int]bool)
	p.attempts = make(map[uint16]int)
	eachPrefix(hist, prefix, func(k, v []byte) bool {
		a, err := record.DecodeAttempt(k, v)
		if err != nil {
			return true
		}
		_, job, _ := record.SplitKey(k)
		p.attempts[job] = max(p.attempts[job], a.N)
		for _, o := range a.Outcomes {
			taken[o.Recipient] = taken[o.Recipient] || o.Action.Final()
		}
		return true
	})
	eachPrefix(sched, prefix, func(k, v []byte) bool {
		d, err := record.DecodeDelivery(k, v, m.ID.Dir)
		if err == nil {
			err = checkRecipients(&relay.Claim{Message: m, Delivery: d})
		}
		if err != nil {
			p.bad = append(p.bad, append([]byte(nil), k...))
			return true
		}
		for _, o := range d.Open {
			taken[o.Recipient] = true
		}
		return true
	})
	for i := range m.Recipients {
		if !taken[i] {
			p.open = append(p.open, relay.Open{Recipient: i})
		}
	}
	return p
}

// rebuild replaces the unreadable Deliveries of m by one with every recipient
// that is neither open in a readable one nor closed in the history. false: no
// recipient is left over, or none of the rows is unreadable.
func (t *txn) rebuild(m *relay.Message, reason string) bool {
	p := placesOf(m, t.sched, t.hist)
	if len(p.bad) == 0 || len(p.open) == 0 {
		return false
	}
	for _, k := range p.bad {
		t.quarantine(kindSched, t.sched, k, reason)
	}
	_, job, _ := record.SplitKey(p.bad[0])
	t.put(t.sched, p.bad[0], record.EncodeDelivery(p.bad[0], t.remade(m, p.open, job, p.attempts[job])))
	t.deliveries++
	return true
}

// remade is a Delivery of m in the place of one that was damaged. Recipients
// with several destinations part at its first attempt.
func (t *txn) remade(m *relay.Message, open []relay.Open, job uint16, attempts int) *relay.Delivery {
	d := &relay.Delivery{Entry: relay.Entry{ID: m.ID, Job: job, Identity: m.Identity, Arrival: m.Arrival, Due: record.Stored(time.Now()), Attempts: attempts}}
	d.Open = open
	d.Destination = t.q.opt.Destination(m, m.Recipients[open[0].Recipient].Path)
	d.Rule = "rebuilt after its record was found damaged"
	return d
}

func readQuarantined(k, v []byte, dir uint32) queue.Quarantined {
	var s queue.Quarantined
	if len(k) >= 9 {
		d := record.Decoder{Rest: k[1:9]}
		s.ID = relay.QueueID{Key: uint64(d.U32())<<32 | uint64(d.U32()), Dir: dir}
		s.Kind = map[byte]string{kindMsg: "message", kindSched: "delivery", kindHist: "attempt", kindDigest: "notice"}[k[0]]
	}
	s.Octets = len(v)
	for i, c := range v {
		if c == 0 {
			s.Reason, s.Octets = string(v[:i]), len(v)-i-1
			break
		}
	}
	return s
}
