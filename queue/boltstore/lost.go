package boltstore

import (
	"encoding/binary"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// A page of sched may be damaged without any sign: it lacks rows, or has one under another key.
// Their message would stay for ever and never be tried.

// lookForLost counts the rows of sched once, in the background. If the count is wrong, or rows
// could not be read, it looks at every message.
func (q *Store) lookForLost(unreadable bool) {
	if q.checkpointed() != nil {
		return // the next start looks again
	}
	var found, kept int64
	err := q.view(func(tx *bolt.Tx) error {
		found, kept = countRows(tx.Bucket(datadir.BucketSched)), int64(datadir.Uint(tx.Bucket(datadir.BucketSys), datadir.SysDeliveries))
		return nil
	})
	if err != nil || found == kept && !unreadable {
		return // an error here is an error for all
	}
	if found != kept {
		q.log.Error("the queue file has fewer deliveries than it counts: checking every message", "counted", kept, "found", found)
	}
	if err := q.adoptAll(); err != nil {
		q.log.Error("cannot look for messages that lost a delivery; `dawk queue verify` lists them", "error", err)
	}
}

func countRows(b *bolt.Bucket) (n int64) {
	c := b.Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		n++
	}
	return n
}

// adoptAll gives a Delivery to every recipient who has none and is not closed
// in the history, and sets the count right.
func (q *Store) adoptAll() error {
	for from := []byte(nil); ; {
		if err := q.closedError(); err != nil {
			return err
		}
		var lost []*relay.Message
		var next []byte
		err := q.view(func(tx *bolt.Tx) error {
			c := tx.Bucket(datadir.BucketMsg).Cursor()
			n := 0
			for k, v := c.Seek(from); k != nil; k, v = c.Next() {
				if n++; n > itemsAtOnce {
					next = append([]byte(nil), k...)
					return nil
				}
				m, _, _, err := record.DecodeMessage(k, v, q.dirID)
				if err != nil {
					continue // it is found when it is claimed
				}
				if p := datadir.PlacesOf(m, tx.Bucket(datadir.BucketSched), tx.Bucket(datadir.BucketHist)); len(p.Bad) == 0 && len(p.Open) > 0 {
					lost = append(lost, m)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, m := range lost {
			if err := q.now(m.ID.Key, func(t *txn) error { t.adopt(m); return nil }); err != nil {
				return err
			}
			q.log.Error("a message had lost a delivery, which was made again", "id", m.ID)
		}
		if next == nil {
			break
		}
		from = next
	}
	return q.now(0, func(t *txn) error {
		t.deliveries = countRows(t.Sched) - t.q.counts.deliveries.Load()
		t.dirty = true
		return nil
	})
}

// adopt makes a Delivery of the recipients of m that have none.
func (t *txn) adopt(m *relay.Message) {
	if t.Msg.Get(record.MessageKey(m.ID.Key)) == nil {
		return
	}
	p := datadir.PlacesOf(m, t.Sched, t.Hist)
	job := t.nextJob(m.ID.Key)
	if len(p.Bad) > 0 || len(p.Open) == 0 || job >= record.NoDelivery {
		return
	}
	most := 0 // attempts of any of its Deliveries: it is not known which one was lost
	for _, n := range p.Attempts {
		most = max(most, n)
	}
	d := t.remade(m, p.Open, uint16(job), most)
	t.put(t.Hist, record.DeliveryKey(m.ID.Key, record.NoDelivery), binary.BigEndian.AppendUint16(nil, uint16(job+1)))
	t.insertJob(d)
}
