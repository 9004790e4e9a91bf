package boltstore

import (
	"fmt"
	"iter"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// checkRows is what can be said of a settlement's rows without the store.
func (q *Store) checkRows(s *relay.Settlement) error {
	for _, r := range s.Rows {
		if r.ID.Dir != q.dirID || r.ID.Key == 0 {
			return fmt.Errorf("%w: a row of digest has no ID of this queue", errSettlement)
		}
	}
	if s.ID == (relay.QueueID{}) && (s.Attempt != nil || len(s.Outcomes)+len(s.Split) > 0) {
		return fmt.Errorf("%w: it settles a Delivery and does not say which", errSettlement)
	}
	return nil
}

// digestRows keeps the rows of s and removes those that it lists.
func (t *txn) digestRows(s *relay.Settlement) {
	for i := range s.Rows {
		key := record.MessageKey(s.Rows[i].ID.Key)
		t.put(t.Digest, key, datadir.EncodeDigest(key, &s.Rows[i]))
	}
	for _, id := range s.Listed {
		key := record.MessageKey(id.Key)
		if row := t.Digest.Get(key); id.Dir == t.q.dirID && row != nil {
			t.grows -= len(row)
			t.delete(t.Digest, key)
		}
	}
}

// DigestRows streams the rows that no list has told of yet, oldest first, for
// the start. A row that cannot be read goes into quarantine and logged on the way.
func (q *Store) DigestRows() iter.Seq2[relay.DigestRow, error] {
	return func(yield func(relay.DigestRow, error) bool) {
		view, err := q.upToDate()
		for from := []byte{}; err == nil && from != nil; {
			var batch []relay.DigestRow
			var damaged [][]byte
			from, err = scan(view, datadir.BucketDigest, from, itemsAtOnce, func(k, v []byte) {
				if r, err := datadir.DecodeDigest(k, v, q.dirID); err == nil {
					batch = append(batch, r)
				} else {
					damaged = append(damaged, append([]byte(nil), k...))
				}
			})
			for _, k := range damaged {
				q.quarantineRow(k)
			}
			for _, r := range batch {
				if !yield(r, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(relay.DigestRow{}, fmt.Errorf("read what senders are still to be told: %w", err))
		}
	}
}

func (q *Store) quarantineRow(k []byte) {
	err := q.now(datadir.KeyOf(k), func(t *txn) error {
		if t.Digest.Get(k) != nil {
			t.quarantine(datadir.KindDigest, t.Digest, k, "it cannot be read")
		}
		return nil
	})
	if err != nil {
		q.log.Error("a damaged row of digest could not be put into quarantine", "id", q.keyName(k), "error", err)
		return
	}
	q.log.Error("what a sender was still to be told cannot be read; `dawk queue verify` tells more", "id", q.keyName(k))
}
