package queue

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/relay"
)

// The buckets; see doc.go.
var (
	bucketMsg     = []byte("msg")
	bucketSched   = []byte("sched")
	bucketHist    = []byte("hist")
	bucketCorrupt = []byte("corrupt")
	bucketSys     = []byte("sys")
)

// The keys of sys.
var (
	sysSchema     = []byte("schema")     // u32
	sysDir        = []byte("dir")        // u32: the data directory's half of a queue ID
	sysHigh       = []byte("high")       // u64: no ID up to here is ever given again
	sysBorn       = []byte("born")       // u64: the first ID; older spool files were never ours
	sysMessages   = []byte("messages")   // u64: rows of msg
	sysDeliveries = []byte("deliveries") // u64: rows of sched
	sysCorrupt    = []byte("set aside")  // u64: rows of corrupt
	sysClean      = []byte("clean")      // u64: when the queue was closed, µs; absent while it is open
)

// appendFill is how full a page gets where keys only grow.
const appendFill = 0.95

// txn is one write transaction and what is to happen once it is durable.
type txn struct {
	q                              *Queue
	tx                             *bolt.Tx
	msg, sched, hist, corrupt, sys *bolt.Bucket
	dirty                          bool
	messages, deliveries, setAside int64 // changes of the counts

	fresh   []*fresh
	entries []relay.Entry
	settled []jobRef
	gone    []uint64 // messages that left the store
	unlinks []uint64 // of these, the ones with a spool file
}

type jobRef struct {
	id  uint64
	job uint16
}

// systemError is panicked by put and delete: operations are validated before
// they write, so that only the system can fail there, and that concerns the
// whole transaction.
type systemError struct{ err error }

func newTxn(q *Queue, tx *bolt.Tx) *txn {
	t := &txn{q: q, tx: tx}
	t.msg = tx.Bucket(bucketMsg)
	t.sched = tx.Bucket(bucketSched)
	t.hist = tx.Bucket(bucketHist)
	t.corrupt = tx.Bucket(bucketCorrupt)
	t.sys = tx.Bucket(bucketSys)
	t.msg.FillPercent, t.sched.FillPercent = appendFill, appendFill
	return t
}

// put hands key and value to bbolt, which refers to them until the commit.
func (t *txn) put(b *bolt.Bucket, k, v []byte) {
	t.dirty = true
	if err := b.Put(k, v); err != nil {
		panic(systemError{fmt.Errorf("put: %w", err)})
	}
}

func (t *txn) delete(b *bolt.Bucket, k []byte) {
	t.dirty = true
	if err := b.Delete(k); err != nil {
		panic(systemError{fmt.Errorf("delete: %w", err)})
	}
}

// deletePrefix removes all rows of b whose keys begin with prefix.
func (t *txn) deletePrefix(b *bolt.Bucket, prefix []byte) {
	for _, k := range keysWithPrefix(b, prefix) {
		t.delete(b, k)
	}
}

// keysWithPrefix copies the keys, since they may not be kept across a write.
func keysWithPrefix(b *bolt.Bucket, prefix []byte) (keys [][]byte) {
	eachPrefix(b, prefix, func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return true
	})
	return keys
}

func eachPrefix(b *bolt.Bucket, prefix []byte, f func(k, v []byte) bool) {
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix); k, v = c.Next() {
		if !f(k, v) {
			return
		}
	}
}

// book writes the counts and the high-water mark. The bucket sys is so small
// that bbolt keeps it in the root page, which changes in every commit anyway.
func (t *txn) book() {
	c := &t.q.counts
	t.putUint(sysHigh, t.q.ids.last.Load())
	t.putCount(sysMessages, c.messages.Load(), t.messages)
	t.putCount(sysDeliveries, c.deliveries.Load(), t.deliveries)
	t.putCount(sysCorrupt, c.setAside.Load(), t.setAside)
	if t.sys.Get(sysClean) != nil {
		t.delete(t.sys, sysClean)
	}
}

func (t *txn) putCount(key []byte, now, change int64) {
	if change != 0 {
		t.putUint(key, uint64(now+change))
	}
}

func (t *txn) putUint(key []byte, v uint64) {
	t.put(t.sys, key, binary.BigEndian.AppendUint64(nil, v))
}

func getUint(b *bolt.Bucket, key []byte) uint64 {
	if v := b.Get(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// committed does what waits for durability, but for the answers.
func (t *txn) committed() {
	q := t.q
	q.counts.messages.Add(t.messages)
	q.counts.deliveries.Add(t.deliveries)
	q.counts.setAside.Add(t.setAside)
	now := time.Now()
	for _, f := range t.fresh {
		q.cache.add(f, now)
	}
	for _, s := range t.settled {
		q.cache.settled(s.id, s.job)
	}
	for _, id := range t.gone {
		q.cache.forget(id)
	}
	q.spoolGone(t.unlinks)
}
