package datadir

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/boltstore/boltfile"
	"dawk/queue/journal"
	"dawk/queue/record"
	"dawk/relay"
)

// Verifier goes once through msg, with sched and hist beside it.
type Verifier struct {
	Ctx   context.Context
	Dir   string
	First uint64 // files from here on may belong to messages that are being accepted
	dirID uint32
	// leaving, which may be nil, are files that are kept for us or about to go.
	Leaving  func(id uint64) bool
	Progress queue.Progress

	Report queue.Report
	tx     *bolt.Tx
}

// progressEvery is after how many messages Progress is told: some milliseconds.
const progressEvery = 1000

func (v *Verifier) Run(tx *bolt.Tx) error {
	v.tx = tx
	if name := missingBucket(tx); name != nil {
		v.Report.Problem("the bucket %q is missing", name)
		return nil
	}
	sys := tx.Bucket(BucketSys)
	if schemaOf(tx) > schema {
		return fmt.Errorf("the queue was %w", queue.ErrNewer)
	}
	if d := sys.Get(sysDir); len(d) == 4 {
		v.dirID = binary.BigEndian.Uint32(d)
	}
	c := tx.Bucket(BucketMsg).Cursor()
	var last uint64
	for k, val := c.First(); k != nil; k, val = c.Next() {
		if err := v.Ctx.Err(); err != nil {
			return err
		}
		if v.Progress != nil && v.Report.Messages%progressEvery == 0 {
			v.Progress(v.Report.Messages, int64(Uint(sys, sysMessages)))
		}
		v.message(k, val)
		if len(k) == 8 {
			last = binary.BigEndian.Uint64(k)
		}
	}
	v.strays(BucketSched, "a Delivery")
	v.strays(BucketHist, "an attempt")
	if high := Uint(sys, sysHigh); last > high {
		v.Report.Problem("the high-water mark %d is below message %s", high, v.name(last))
	}
	v.digest()
	v.quarantine()
	v.count(sys, sysMessages, v.Report.Messages, "messages")
	v.count(sys, SysDeliveries, v.Report.Deliveries, "Deliveries")
	v.count(sys, sysCorrupt, int64(len(v.Report.Quarantined)), "rows set aside")
	return v.extraFiles()
}

func (v *Verifier) name(id uint64) relay.QueueID { return relay.QueueID{Key: id, Dir: v.dirID} }

func (v *Verifier) count(sys *bolt.Bucket, key []byte, found int64, what string) {
	if kept := int64(Uint(sys, key)); kept != found {
		v.Report.Problem("the store counts %d %s, there are %d", kept, what, found)
	}
}

// message checks one message with all that belongs to it.
func (v *Verifier) message(k, val []byte) {
	v.Report.Messages++
	if len(k) != 8 {
		v.Report.Problem("a key of %d octets in msg", len(k))
		return
	}
	id := v.name(binary.BigEndian.Uint64(k))
	m, l, inline, err := record.DecodeMessage(k, val, v.dirID)
	if err != nil {
		v.Report.Problem("%s: its record cannot be read", id)
		v.rowsOf(k, nil, id)
		return
	}
	if !record.CheckInline(val, inline) {
		v.Report.Problem("%s: its content has another checksum", id)
	}
	v.Report.Octets += m.Size
	if l.File > 0 {
		v.file(id, l)
	}
	v.rowsOf(k, m, id)
}

// rowsOf checks that every recipient is open in exactly one Delivery, or was
// closed by the history.
func (v *Verifier) rowsOf(k []byte, m *relay.Message, id relay.QueueID) {
	var open, closed map[int]bool
	if m != nil {
		open, closed = make(map[int]bool, len(m.Recipients)), make(map[int]bool)
	}
	jobs := 0
	EachPrefix(v.tx.Bucket(BucketSched), k, func(k, val []byte) bool {
		jobs++
		v.Report.Deliveries++
		d, err := record.DecodeDelivery(k, val, v.dirID)
		switch {
		case err != nil:
			v.Report.Problem("%s: a Delivery cannot be read", id)
		case len(d.Open) == 0:
			v.Report.Problem("%s/%d: a Delivery has no recipient", id, d.Job)
		case m != nil:
			for _, o := range d.Open {
				if o.Recipient >= len(m.Recipients) || open[o.Recipient] {
					v.Report.Problem("%s/%d: recipient %d does not exist or is open twice", id, d.Job, o.Recipient)
				}
				open[o.Recipient] = true
			}
		}
		return true
	})
	if jobs == 0 {
		v.Report.Problem("%s: it has no Delivery: nobody will try it", id)
	}
	EachPrefix(v.tx.Bucket(BucketHist), k, func(k, val []byte) bool {
		if len(k) == 10 && binary.BigEndian.Uint16(k[8:]) == record.NoDelivery {
			return true
		}
		v.Report.Attempts++
		a, err := record.DecodeAttempt(k, val)
		if err != nil {
			v.Report.Problem("%s: an attempt cannot be read", id)
			return true
		}
		for _, o := range a.Outcomes {
			if m != nil && o.Action.Final() {
				closed[o.Recipient] = true
			}
		}
		return true
	})
	if m == nil {
		return
	}
	for i := range m.Recipients {
		if open[i] == closed[i] {
			v.Report.Problem("%s: recipient %d is open: %v, and done: %v", id, i, open[i], closed[i])
		}
	}
}

// strays are rows whose message is not there. Only the keys are looked at.
func (v *Verifier) strays(bucket []byte, what string) {
	msg := v.tx.Bucket(BucketMsg)
	c := v.tx.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) < 10 || msg.Get(k[:8]) == nil {
			v.Report.Problem("%s without a message, key %x", what, k)
			if what == "a Delivery" {
				v.Report.Deliveries++
			}
		}
	}
}

// file reads a spool file to its end.
func (v *Verifier) file(id relay.QueueID, l record.Layout) {
	path := SpoolFile(v.Dir, id.Key)
	f, err := os.Open(path)
	if err != nil {
		v.Report.Problem("%s: %v", id, err)
		return
	}
	defer f.Close()
	v.Report.Files++
	h := crc32.New(record.Castagnoli)
	n, err := io.Copy(h, f)
	switch {
	case err != nil:
		v.Report.Problem("%s: %v", id, err)
	case n != l.File:
		v.Report.Problem("%s: its file %s has %d octets instead of %d", id, path, n, l.File)
	case h.Sum32() != l.FileCRC:
		v.Report.Problem("%s: its file %s has another checksum", id, path)
	}
}

// digest checks what senders are still to be told.
func (v *Verifier) digest() {
	c := v.tx.Bucket(BucketDigest).Cursor()
	for k, val := c.First(); k != nil; k, val = c.Next() {
		if _, err := record.DecodeDigest(k, val, v.dirID); err != nil {
			v.Report.Problem("%s: a row of digest cannot be read", v.name(KeyOf(k)))
		}
	}
}

func (v *Verifier) quarantine() {
	c := v.tx.Bucket(bucketCorrupt).Cursor()
	for k, val := c.First(); k != nil; k, val = c.Next() {
		v.Report.Quarantined = append(v.Report.Quarantined, DecodeQuarantined(k, val, v.dirID))
	}
}

// extraFiles are files in the spool that no record names.
func (v *Verifier) extraFiles() error {
	root := filepath.Join(v.Dir, SpoolName)
	dirs, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a restored backup has none if it needs none
		return fmt.Errorf("read the spool: %w", err)
	}
	born := Uint(v.tx.Bucket(BucketSys), SysBorn)
	for _, dir := range dirs {
		files, err := os.ReadDir(filepath.Join(root, dir.Name()))
		if err != nil {
			v.Report.Problem("the spool holds %s, which is not ours: %v", dir.Name(), err)
			continue
		}
		for _, f := range files {
			id, ok := ParseSpoolName(dir.Name(), f.Name())
			switch {
			case !ok:
				v.Report.Problem("the spool holds %s/%s, which is not ours", dir.Name(), f.Name())
			case id >= v.First || OwnsFile(v.tx, id) || v.left(id):
			case id < born:
				v.Report.Problem("%s: a file in the spool is older than this queue.db, no message owns it; it is kept", v.name(id))
			default:
				v.Report.Problem("%s: a file in the spool without a message; the next start removes it", v.name(id))
			}
		}
	}
	return nil
}

// left says whether a file is about to be removed or has just been removed.
func (v *Verifier) left(id uint64) bool {
	if v.Leaving == nil {
		return false
	}
	if v.Leaving(id) {
		return true
	}
	_, err := os.Lstat(SpoolFile(v.Dir, id))
	return errors.Is(err, fs.ErrNotExist)
}

// Verify checks the queue of a directory that no running dawk uses, including every page of the
// file. It changes nothing.
func Verify(ctx context.Context, dir string, progress queue.Progress) (report queue.Report, err error) {
	path := filepath.Join(dir, FileName)
	if _, err := os.Stat(path); err != nil && wasUsed(dir) == "" {
		return report, fmt.Errorf("there is no queue in %s: %w", dir, err)
	}
	lock, err := Lock(dir)
	if err != nil {
		return report, err
	}
	defer lock.Close()
	meta, ok, err := boltfile.ReadMeta(filepath.Join(dir, FileName), wasUsed(dir))
	if err == nil && ok {
		boltfile.Prewarm(path)
		err = boltfile.Check(path, meta, ctx.Done())
	}
	if errors.Is(err, queue.ErrDamaged) {
		report.Problem("%v", err)
		return report, nil
	}
	if err != nil || !ok {
		return report, err
	}
	if _, err := os.Stat(filepath.Join(dir, suspectName)); err == nil {
		report.Problem("the disk failed under it: the next start will write it anew")
	}
	db, err := openBolt(path, 0)
	if err != nil {
		return report, err
	}
	defer db.Close()
	report.Problems = append(report.Problems, boltProblems(db, queue.MaxProblems)...)
	v := &Verifier{Ctx: ctx, Dir: dir, Report: report, First: ^uint64(0), Progress: progress}
	_, err = Catch(func() error {
		// The content of the journal is verified with the rest, in a transaction that is never committed.
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if empty(tx) && wasUsed(dir) == "" {
			v.Report.Note("a first start was interrupted before there was any mail; the next one makes the queue")
			return nil
		}
		if missingBucket(tx) == nil {
			if err := v.catchUp(tx); err != nil {
				return err
			}
		}
		return v.Run(tx)
	})
	return v.Report, err
}

// empty says whether a file has no buckets at all.
func empty(tx *bolt.Tx) bool {
	return tx.ForEach(func([]byte, *bolt.Bucket) error { return errNotEmpty }) == nil
}

var errNotEmpty = errors.New("there is a bucket")

// catchUp does what a start does with the journal.
func (v *Verifier) catchUp(tx *bolt.Tx) error {
	if schemaOf(tx) > schema {
		return nil // run says so
	}
	if _, err := MakeBuckets(tx); err != nil {
		return err
	}
	t, j := OpenTables(tx), journal.New(v.Dir, nil)
	defer j.Close()
	now, err := CatchUp(j, t, os.O_RDONLY, nil)
	if errors.Is(err, queue.ErrDamaged) {
		v.Report.Problem("%v", err)
		return nil
	}
	if err == nil {
		t.Book(now, j.Mark())
		if torn := j.Torn(); torn != "" {
			v.Report.Note("%s", torn)
		}
	}
	return err
}
