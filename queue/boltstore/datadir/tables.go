package datadir

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/journal"
	"dawk/queue/record"
)

// The buckets; see doc.go.
var (
	BucketMsg     = []byte("msg")
	BucketSched   = []byte("sched")
	BucketHist    = []byte("hist")
	BucketDigest  = []byte("digest")
	bucketCorrupt = []byte("corrupt")
	BucketSys     = []byte("sys")
)

// The keys of sys.
var (
	sysSchema     = []byte("schema")     // u32
	sysJournal    = []byte("journal")    // which records of queue.journal are not in here (package journal)
	sysDir        = []byte("dir")        // u32: the data directory's half of a queue ID
	sysHigh       = []byte("high")       // u64: no ID up to here is ever given again
	SysBorn       = []byte("born")       // u64: the first ID; older spool files were never ours
	sysMessages   = []byte("messages")   // u64: rows of msg
	SysDeliveries = []byte("deliveries") // u64: rows of sched
	sysCorrupt    = []byte("set aside")  // u64: rows of corrupt
	SysOutbox     = []byte("outbox")     // u64: the files of the outbox have the events up to here (package outbox); absent: there were none
	SysClean      = []byte("clean")      // u64: when the queue was closed, µs; absent while it is open
)

// appendFill is how full pages become in buckets whose keys only grow.
const appendFill = 0.95

// The numbers of the tables in the journal's records.
const (
	tableMsg = 1 + iota
	tableSched
	tableHist
	tableCorrupt
	tableDigest
	TableOutbox // no bucket: see Redo
)

// Tables are the buckets of one transaction.
type Tables struct {
	Tx                                     *bolt.Tx
	Msg, Sched, Hist, Digest, Corrupt, Sys *bolt.Bucket
}

func OpenTables(tx *bolt.Tx) Tables {
	t := Tables{Tx: tx, Msg: tx.Bucket(BucketMsg), Sched: tx.Bucket(BucketSched), Hist: tx.Bucket(BucketHist),
		Digest: tx.Bucket(BucketDigest), Corrupt: tx.Bucket(bucketCorrupt), Sys: tx.Bucket(BucketSys)}
	t.Msg.FillPercent, t.Sched.FillPercent, t.Digest.FillPercent = appendFill, appendFill, appendFill
	return t
}

// byNumber is the table that a journal's record names.
func (t Tables) byNumber(n byte) *bolt.Bucket {
	switch n {
	case tableMsg:
		return t.Msg
	case tableSched:
		return t.Sched
	case tableHist:
		return t.Hist
	case tableCorrupt:
		return t.Corrupt
	case tableDigest:
		return t.Digest
	}
	return nil
}

func (t Tables) Number(b *bolt.Bucket) byte {
	switch b {
	case t.Msg:
		return tableMsg
	case t.Sched:
		return tableSched
	case t.Hist:
		return tableHist
	case t.Digest:
		return tableDigest
	}
	return tableCorrupt
}

// Owner appends the message that a row belongs to.
func (t Tables) Owner(ids []uint64, b *bolt.Bucket, k []byte) []uint64 {
	if b == t.Corrupt {
		k = k[1:] // behind the table that the row came from
	}
	if id, ok := idOf(k); ok && (len(ids) == 0 || ids[len(ids)-1] != id) {
		ids = append(ids, id)
	}
	return ids
}

// Book writes the totals, and what of the journal is not in the file. The
// bucket sys is so small that bbolt keeps it in the root page, which changes in
// every commit anyway.
func (t Tables) Book(now journal.Totals, m journal.Mark) {
	for _, p := range [...]struct {
		key   []byte
		value uint64
	}{{sysHigh, now.High}, {sysMessages, now.Messages}, {SysDeliveries, now.Deliveries}, {sysCorrupt, now.Quarantined}} {
		t.SetSys(p.key, binary.BigEndian.AppendUint64(nil, p.value))
	}
	t.SetSys(sysSchema, binary.BigEndian.AppendUint32(nil, schema))
	t.SetSys(sysJournal, m.Encode())
	if t.Sys.Get(SysClean) != nil {
		if err := t.Sys.Delete(SysClean); err != nil {
			panic(SystemError{Err: fmt.Errorf("delete: %w", err)})
		}
	}
}

func (t Tables) SetSys(key, value []byte) {
	if err := t.Sys.Put(key, value); err != nil {
		panic(SystemError{Err: fmt.Errorf("put: %w", err)})
	}
}

// KeysWithPrefix copies the keys, since they may not be kept across a write.
func KeysWithPrefix(b *bolt.Bucket, prefix []byte) (keys [][]byte) {
	EachPrefix(b, prefix, func(k, _ []byte) bool {
		keys = append(keys, append([]byte(nil), k...))
		return true
	})
	return keys
}

func EachPrefix(b *bolt.Bucket, prefix []byte, f func(k, v []byte) bool) {
	c := b.Cursor()
	for k, v := c.Seek(prefix); k != nil && len(k) >= len(prefix) && string(k[:len(prefix)]) == string(prefix); k, v = c.Next() {
		if !f(k, v) {
			return
		}
	}
}

func Uint(b *bolt.Bucket, key []byte) uint64 {
	if v := b.Get(key); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// idOf is the message to which a row belongs.
func idOf(k []byte) (uint64, bool) {
	if len(k) < 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(k), true
}

// Put and delete panic with a SystemError: operations are validated before they write, so only the
// system can fail there, and that concerns the whole transaction.
type SystemError struct{ Err error }

// KeyOf is the ID at the front of a key; 0 when it is too short to have one.
func KeyOf(k []byte) uint64 {
	d := record.Decoder{Rest: k}
	return uint64(d.U32())<<32 | uint64(d.U32())
}

// Catch runs f, which uses a file that may be damaged: bbolt panics there, and a
// page that points outside the file is a fault, which becomes a panic as well.
// Panicked says that bbolt may hold its locks for ever.
func Catch(f func() error) (panicked bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			panicked, err = true, panicError(r)
		}
	}()
	return false, f()
}

func panicError(r any) error {
	switch r := r.(type) {
	case SystemError:
		return r.Err
	case error:
		return fmt.Errorf("the queue file is damaged: %w", r)
	}
	return fmt.Errorf("the queue file is damaged: %v", r)
}
