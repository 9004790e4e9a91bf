package boltstore

import (
	"context"
	"errors"
	"fmt"
	"iter"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// How many rows one read transaction looks at. It ends before the consumer sees them: a consumer
// that waits for the network must not hold a transaction open.
const (
	entriesAtOnce = 4096
	itemsAtOnce   = 128
)

// Entries streams every Delivery in the store, oldest message first, for the scheduler at start.
// Rows that cannot be read are repaired or put into quarantine, and never stop it. Deliveries that
// are made while it runs may come here and to Watch both.
func (q *Store) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) {
		seen := make(map[string]string)
		text := func(b []byte) string {
			if s, ok := seen[string(b)]; ok {
				return s
			}
			s := string(b)
			seen[s] = s
			return s
		}
		batch := make([]relay.Entry, 0, entriesAtOnce)
		view, err := q.upToDate()
		if err != nil {
			yield(relay.Entry{}, fmt.Errorf("read the queue: %w", err))
			return
		}
		unreadable := false
		for from := []byte(nil); ; {
			batch = batch[:0]
			var damaged []uint64
			next, err := scan(view, datadir.BucketSched, from, entriesAtOnce, func(k, v []byte) {
				e, _, _, err := record.DecodeEntry(k, v, q.dirID, text)
				if err == nil {
					batch = append(batch, e)
				} else if id, _, ok := record.SplitKey(append(k[:len(k):len(k)], make([]byte, 10)...)); ok {
					damaged = append(damaged, id)
				}
			})
			if err != nil {
				yield(relay.Entry{}, fmt.Errorf("read the queue: %w", err))
				return
			}
			unreadable = unreadable || len(damaged) > 0
			for _, e := range append(batch, q.repaired(damaged)...) {
				if !yield(e, nil) {
					return
				}
			}
			if next == nil {
				break
			}
			from = next
		}
		q.lostOnce.Do(func() { q.task(func() { q.lookForLost(unreadable) }) })
	}
}

// repaired repairs messages with damaged rows in sched and gives the
// Deliveries that this brought back.
func (q *Store) repaired(ids []uint64) (back []relay.Entry) {
	for i, id := range ids {
		if i > 0 && ids[i-1] == id {
			continue
		}
		known := q.entriesOf(id)
		if _, err := q.repair(id, false, datadir.ErrRow.Error()); err != nil {
			continue // logged there
		}
		for _, e := range q.entriesOf(id) {
			if !containsEntry(known, e) {
				back = append(back, e)
			}
		}
	}
	return back
}

func containsEntry(all []relay.Entry, e relay.Entry) bool {
	for _, o := range all {
		if o.Job == e.Job {
			return true
		}
	}
	return false
}

func (q *Store) entriesOf(id uint64) (all []relay.Entry) {
	q.read(id, func(tx *bolt.Tx) error {
		datadir.EachPrefix(tx.Bucket(datadir.BucketSched), record.MessageKey(id), func(k, v []byte) bool {
			if e, _, _, err := record.DecodeEntry(k, v, q.dirID, record.Copied); err == nil {
				all = append(all, e)
			}
			return true
		})
		return nil
	})
	return all
}

// scan gives up to limit rows of a bucket, beginning at from, to f in one read transaction. next is
// where to continue; nil at the end.
func scan(view func(func(*bolt.Tx) error) error, bucket, from []byte, limit int, f func(k, v []byte)) (next []byte, err error) {
	err = view(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if limit == 0 {
				next = append([]byte(nil), k...)
				return nil
			}
			limit--
			f(k, v)
		}
		return nil
	})
	return next, err
}

// Item is one message with its Deliveries and its history. The error wraps
// relay.ErrNotFound or relay.ErrCorrupt.
func (q *Store) Item(id relay.QueueID) (*relay.Item, error) {
	var item *relay.Item
	err := q.read(id.Key, func(tx *bolt.Tx) error {
		key := record.MessageKey(id.Key)
		v := tx.Bucket(datadir.BucketMsg).Get(key)
		if v == nil || id.Dir != q.dirID {
			return relay.ErrNotFound
		}
		var err error
		if item, err = q.item(tx, key, v); err != nil {
			return err
		}
		item.Attempts = make(map[uint16][]relay.Attempt)
		datadir.EachPrefix(tx.Bucket(datadir.BucketHist), key, func(k, v []byte) bool {
			_, job, _ := record.SplitKey(k)
			// N is 0 where the operator acted: no attempt.
			if a, err := record.DecodeAttempt(k, v); err == nil && a.N > 0 {
				item.Attempts[job] = append(item.Attempts[job], *a)
			}
			return true
		})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	return item, nil
}

func (q *Store) item(tx *bolt.Tx, k, v []byte) (*relay.Item, error) {
	m, _, _, err := record.DecodeMessage(k, v, q.dirID)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", relay.ErrCorrupt, err)
	}
	item := &relay.Item{Message: *m}
	datadir.EachPrefix(tx.Bucket(datadir.BucketSched), k, func(k, v []byte) bool {
		var d *relay.Delivery
		if d, err = record.DecodeDelivery(k, v, q.dirID); err == nil {
			item.Deliveries = append(item.Deliveries, *d)
		}
		return err == nil
	})
	if err != nil {
		return nil, fmt.Errorf("%w: a Delivery: %w", relay.ErrCorrupt, err)
	}
	return item, nil
}

// Items streams every message after one, oldest first, without its history. A message that cannot be read
// comes as an error that wraps relay.ErrCorrupt and names it; the stream continues after it.
func (q *Store) Items(ctx context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error] {
	type result struct {
		item *relay.Item
		err  error
	}
	return func(yield func(*relay.Item, error) bool) {
		view, err := q.upToDate()
		if err != nil {
			yield(nil, fmt.Errorf("list the queue: %w", err))
			return
		}
		for from := record.MessageKey(after.Key + 1); ; {
			var batch []result
			var next []byte
			err := view(func(tx *bolt.Tx) error {
				c := tx.Bucket(datadir.BucketMsg).Cursor()
				for k, v := c.Seek(from); k != nil; k, v = c.Next() {
					if len(batch) == itemsAtOnce {
						next = append([]byte(nil), k...)
						return nil
					}
					item, err := q.item(tx, k, v)
					if err != nil {
						err = fmt.Errorf("message %s: %w", q.keyName(k), err)
					}
					batch = append(batch, result{item, err})
				}
				return nil
			})
			if err = errors.Join(err, ctx.Err()); err != nil {
				yield(nil, fmt.Errorf("list the queue: %w", err))
				return
			}
			for _, r := range batch {
				if !yield(r.item, r.err) {
					return
				}
			}
			if next == nil {
				return
			}
			from = next
		}
	}
}

func (q *Store) keyName(k []byte) relay.QueueID { return q.name(datadir.KeyOf(k)) }
