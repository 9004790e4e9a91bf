package boltstore

import (
	"fmt"
	"iter"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// digestRows keeps the rows of s and removes those that it lists.
func (t *txn) digestRows(s *relay.Settlement) {
	for i := range s.Rows {
		key := record.MessageKey(s.Rows[i].ID.Key)
		t.put(t.Digest, key, record.EncodeDigest(key, &s.Rows[i]))
	}
	for _, id := range s.Listed {
		key := record.MessageKey(id.Key)
		if row := t.Digest.Get(key); id.Dir == t.q.dirID && row != nil {
			t.grows -= len(row)
			t.delete(t.Digest, key)
		}
	}
}

// DigestRows streams the rows that no list has told of yet, oldest first, for the start. A row that
// cannot be read is put into quarantine and logged.
func (q *Store) DigestRows() iter.Seq2[relay.DigestRow, error] {
	return func(yield func(relay.DigestRow, error) bool) {
		view, err := q.upToDate()
		for from := []byte{}; err == nil && from != nil; {
			var batch []relay.DigestRow
			var damaged [][]byte
			from, err = scan(view, datadir.BucketDigest, from, itemsAtOnce, func(k, v []byte) {
				if r, err := record.DecodeDigest(k, v, q.dirID); err == nil {
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
	q.log.Error("a row of what a sender was still to be told cannot be read; `dawk queue verify` says more", "id", q.keyName(k))
}
