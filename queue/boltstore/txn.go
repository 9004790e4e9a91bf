package boltstore

import (
	"encoding/binary"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/journal"
	"dawk/relay"
)

// The buckets; see doc.go.
var (
	bucketMsg     = []byte("msg")
	bucketSched   = []byte("sched")
	bucketHist    = []byte("hist")
	bucketDigest  = []byte("digest")
	bucketCorrupt = []byte("corrupt")
	bucketSys     = []byte("sys")
)

// The keys of sys.
var (
	sysSchema     = []byte("schema")     // u32
	sysJournal    = []byte("journal")    // which records of queue.journal are not in here: journal.go
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

// The numbers of the tables in the journal's records.
const (
	tableMsg = 1 + iota
	tableSched
	tableHist
	tableCorrupt
	tableDigest
)

// tables are the buckets of one transaction.
type tables struct {
	tx                                     *bolt.Tx
	msg, sched, hist, digest, corrupt, sys *bolt.Bucket
}

func openTables(tx *bolt.Tx) tables {
	t := tables{tx: tx, msg: tx.Bucket(bucketMsg), sched: tx.Bucket(bucketSched), hist: tx.Bucket(bucketHist),
		digest: tx.Bucket(bucketDigest), corrupt: tx.Bucket(bucketCorrupt), sys: tx.Bucket(bucketSys)}
	t.msg.FillPercent, t.sched.FillPercent = appendFill, appendFill
	return t
}

// byNumber is the table that a journal's record names.
func (t tables) byNumber(n byte) *bolt.Bucket {
	switch n {
	case tableMsg:
		return t.msg
	case tableSched:
		return t.sched
	case tableHist:
		return t.hist
	case tableCorrupt:
		return t.corrupt
	case tableDigest:
		return t.digest
	}
	return nil
}

func (t tables) numberOf(b *bolt.Bucket) byte {
	switch b {
	case t.msg:
		return tableMsg
	case t.sched:
		return tableSched
	case t.hist:
		return tableHist
	case t.digest:
		return tableDigest
	}
	return tableCorrupt
}

// txn is one group, in the write transaction that is open, and what is to
// happen once it is durable.
type txn struct {
	tables
	q                                 *Store
	dirty                             bool
	messages, deliveries, quarantined int64 // changes of the counts

	rec     *journal.Record // the group's changes, for the journal; nil: it is committed at once
	touched []uint64        // the messages whose rows changed

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

// put hands key and value to bbolt, which refers to them until the checkpoint.
func (t *txn) put(b *bolt.Bucket, k, v []byte) {
	t.changed(b, k, v, false)
	if err := b.Put(k, v); err != nil {
		panic(systemError{fmt.Errorf("put: %w", err)})
	}
}

func (t *txn) delete(b *bolt.Bucket, k []byte) {
	t.changed(b, k, nil, true)
	if err := b.Delete(k); err != nil {
		panic(systemError{fmt.Errorf("delete: %w", err)})
	}
}

// changed notes a change for the journal and for those who read.
func (t *txn) changed(b *bolt.Bucket, k, v []byte, removed bool) {
	t.dirty = true
	if t.rec != nil {
		switch {
		case !t.rec.Fits(len(k) + len(v)):
			t.rec = nil
		case removed:
			t.rec.Remove(t.numberOf(b), k)
		default:
			t.rec.Put(t.numberOf(b), k, v)
		}
	}
	t.touched = t.owner(t.touched, b, k)
}

// owner appends the message that a row belongs to.
func (t tables) owner(ids []uint64, b *bolt.Bucket, k []byte) []uint64 {
	if b == t.corrupt {
		k = k[1:] // behind the table that the row came from
	}
	if id, ok := idOf(k); ok && (len(ids) == 0 || ids[len(ids)-1] != id) {
		ids = append(ids, id)
	}
	return ids
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

// totals are the counts and the high-water mark with the group done.
func (t *txn) totals() journal.Totals {
	c := &t.q.counts
	return journal.Totals{High: t.q.ids.Last(), Messages: uint64(c.messages.Load() + t.messages),
		Deliveries: uint64(c.deliveries.Load() + t.deliveries), Quarantined: uint64(c.quarantined.Load() + t.quarantined)}
}

// book writes the totals, and what of the journal is not in the file. The
// bucket sys is so small that bbolt keeps it in the root page, which changes in
// every commit anyway.
func (t tables) book(now journal.Totals, m journal.Mark) {
	for _, p := range [...]struct {
		key   []byte
		value uint64
	}{{sysHigh, now.High}, {sysMessages, now.Messages}, {sysDeliveries, now.Deliveries}, {sysCorrupt, now.Quarantined}} {
		t.setSys(p.key, binary.BigEndian.AppendUint64(nil, p.value))
	}
	t.setSys(sysSchema, binary.BigEndian.AppendUint32(nil, schema))
	t.setSys(sysJournal, m.Encode())
	if t.sys.Get(sysClean) != nil {
		if err := t.sys.Delete(sysClean); err != nil {
			panic(systemError{fmt.Errorf("delete: %w", err)})
		}
	}
}

func (t tables) setSys(key, value []byte) {
	if err := t.sys.Put(key, value); err != nil {
		panic(systemError{fmt.Errorf("put: %w", err)})
	}
}

func getUint(b *bolt.Bucket, key []byte) uint64 {
	if v := b.Get(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// idOf is the message that a row belongs to.
func idOf(k []byte) (uint64, bool) {
	if len(k) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(k), true
}

// committed does what waits for durability, but for the answers.
func (t *txn) committed() {
	q := t.q
	q.counts.messages.Add(t.messages)
	q.counts.deliveries.Add(t.deliveries)
	q.counts.quarantined.Add(t.quarantined)
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
