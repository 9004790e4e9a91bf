package boltstore

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
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue"
	"dawk/queue/record"
	"dawk/relay"
)

// Verify checks every invariant of the store while it runs, on a snapshot, and
// reads all content once. It changes nothing. The error says that it could not
// be done; what is wrong with the queue is in the Report.
func (q *Store) Verify(ctx context.Context) (queue.Report, error) {
	if !q.upkeep.TryLock() {
		return queue.Report{}, errBusy
	}
	defer q.upkeep.Unlock()
	ctx, cancel := q.untilClosed(ctx)
	defer cancel()
	// What a crash left is no problem while the start is about to remove it.
	select {
	case <-q.swept:
	case <-ctx.Done():
		return queue.Report{}, ctx.Err()
	}
	// Files of messages that end meanwhile must stay as long as the snapshot.
	defer q.pinSpool()()
	if err := q.checkpointed(); err != nil {
		return queue.Report{}, err
	}
	v := &verifier{ctx: ctx, dir: q.opt.Dir, first: q.first, leaving: q.leaving}
	err := q.view(v.run)
	return v.report, err
}

// untilClosed is ctx, ended by Close as well: Close waits for readers.
func (q *Store) untilClosed(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-q.ending:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// verifier goes once through msg, with sched and hist beside it.
type verifier struct {
	ctx   context.Context
	dir   string
	first uint64 // files from here on may belong to messages that are being accepted
	dirID uint32
	// leaving, which may be nil, are files that are kept for us or about to go.
	leaving func(id uint64) bool

	report queue.Report
	tx     *bolt.Tx
}

func (v *verifier) run(tx *bolt.Tx) error {
	v.tx = tx
	if name := missingBucket(tx); name != nil {
		v.report.Problem("the bucket %q is missing", name)
		return nil
	}
	sys := tx.Bucket(bucketSys)
	if schemaOf(tx) > schema {
		return fmt.Errorf("the queue was %w", queue.ErrNewer)
	}
	if d := sys.Get(sysDir); len(d) == 4 {
		v.dirID = binary.BigEndian.Uint32(d)
	}
	c := tx.Bucket(bucketMsg).Cursor()
	var last uint64
	for k, val := c.First(); k != nil; k, val = c.Next() {
		if err := v.ctx.Err(); err != nil {
			return err
		}
		v.message(k, val)
		if len(k) == 8 {
			last = binary.BigEndian.Uint64(k)
		}
	}
	v.strays(bucketSched, "a Delivery")
	v.strays(bucketHist, "an attempt")
	if high := getUint(sys, sysHigh); last > high {
		v.report.Problem("the high-water mark %d is below message %s", high, v.name(last))
	}
	v.digest()
	v.quarantine()
	v.count(sys, sysMessages, v.report.Messages, "messages")
	v.count(sys, sysDeliveries, v.report.Deliveries, "Deliveries")
	v.count(sys, sysCorrupt, int64(len(v.report.Quarantined)), "rows set aside")
	return v.extraFiles()
}

func (v *verifier) name(id uint64) relay.QueueID { return relay.QueueID{Key: id, Dir: v.dirID} }

func (v *verifier) count(sys *bolt.Bucket, key []byte, found int64, what string) {
	if kept := int64(getUint(sys, key)); kept != found {
		v.report.Problem("the store counts %d %s, there are %d", kept, what, found)
	}
}

// message checks one message with all that belongs to it.
func (v *verifier) message(k, val []byte) {
	v.report.Messages++
	if len(k) != 8 {
		v.report.Problem("a key of %d octets in msg", len(k))
		return
	}
	id := v.name(binary.BigEndian.Uint64(k))
	m, l, inline, err := record.DecodeMessage(k, val, v.dirID)
	if err != nil {
		v.report.Problem("%s: its record cannot be read", id)
		v.rowsOf(k, nil, id)
		return
	}
	if !record.CheckInline(val, inline) {
		v.report.Problem("%s: its content has another checksum", id)
	}
	v.report.Octets += m.Size
	if l.File > 0 {
		v.file(id, l)
	}
	v.rowsOf(k, m, id)
}

// rowsOf checks that every recipient is open in exactly one Delivery, or was
// closed by the history.
func (v *verifier) rowsOf(k []byte, m *relay.Message, id relay.QueueID) {
	var open, closed map[int]bool
	if m != nil {
		open, closed = make(map[int]bool, len(m.Recipients)), make(map[int]bool)
	}
	jobs := 0
	eachPrefix(v.tx.Bucket(bucketSched), k, func(k, val []byte) bool {
		jobs++
		v.report.Deliveries++
		d, err := record.DecodeDelivery(k, val, v.dirID)
		switch {
		case err != nil:
			v.report.Problem("%s: a Delivery cannot be read", id)
		case len(d.Open) == 0:
			v.report.Problem("%s/%d: a Delivery has no recipient", id, d.Job)
		case m != nil:
			for _, o := range d.Open {
				if o.Recipient >= len(m.Recipients) || open[o.Recipient] {
					v.report.Problem("%s/%d: recipient %d does not exist or is open twice", id, d.Job, o.Recipient)
				}
				open[o.Recipient] = true
			}
		}
		return true
	})
	if jobs == 0 {
		v.report.Problem("%s: it has no Delivery: nobody will try it", id)
	}
	eachPrefix(v.tx.Bucket(bucketHist), k, func(k, val []byte) bool {
		if len(k) == 10 && binary.BigEndian.Uint16(k[8:]) == record.NoDelivery {
			return true
		}
		v.report.Attempts++
		a, err := record.DecodeAttempt(k, val)
		if err != nil {
			v.report.Problem("%s: an attempt cannot be read", id)
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
			v.report.Problem("%s: recipient %d is open: %v, and done: %v", id, i, open[i], closed[i])
		}
	}
}

// strays are rows whose message is not there. Only the keys are looked at.
func (v *verifier) strays(bucket []byte, what string) {
	msg := v.tx.Bucket(bucketMsg)
	c := v.tx.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if len(k) < 10 || msg.Get(k[:8]) == nil {
			v.report.Problem("%s without a message, key %x", what, k)
			if what == "a Delivery" {
				v.report.Deliveries++
			}
		}
	}
}

// file reads a spool file to its end.
func (v *verifier) file(id relay.QueueID, l record.Layout) {
	path := spoolFile(v.dir, id.Key)
	f, err := os.Open(path)
	if err != nil {
		v.report.Problem("%s: %v", id, err)
		return
	}
	defer f.Close()
	v.report.Files++
	h := crc32.New(record.Castagnoli)
	n, err := io.Copy(h, f)
	switch {
	case err != nil:
		v.report.Problem("%s: %v", id, err)
	case n != l.File:
		v.report.Problem("%s: its file %s has %d octets instead of %d", id, path, n, l.File)
	case h.Sum32() != l.FileCRC:
		v.report.Problem("%s: its file %s has another checksum", id, path)
	}
}

// digest checks what senders are still to be told.
func (v *verifier) digest() {
	c := v.tx.Bucket(bucketDigest).Cursor()
	for k, val := c.First(); k != nil; k, val = c.Next() {
		if _, err := decodeDigest(k, val, v.dirID); err != nil {
			v.report.Problem("%s: a row of digest cannot be read", v.name(keyOf(k)))
		}
	}
}

func (v *verifier) quarantine() {
	c := v.tx.Bucket(bucketCorrupt).Cursor()
	for k, val := c.First(); k != nil; k, val = c.Next() {
		v.report.Quarantined = append(v.report.Quarantined, readQuarantined(k, val, v.dirID))
	}
}

// extraFiles are files in the spool that no record names.
func (v *verifier) extraFiles() error {
	root := filepath.Join(v.dir, spoolName)
	dirs, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a restored backup has none if it needs none
		return fmt.Errorf("read the spool: %w", err)
	}
	born := getUint(v.tx.Bucket(bucketSys), sysBorn)
	for _, dir := range dirs {
		files, err := os.ReadDir(filepath.Join(root, dir.Name()))
		if err != nil {
			v.report.Problem("the spool holds %s, which is not ours: %v", dir.Name(), err)
			continue
		}
		for _, f := range files {
			id, ok := parseSpoolName(dir.Name(), f.Name())
			switch {
			case !ok:
				v.report.Problem("the spool holds %s/%s, which is not ours", dir.Name(), f.Name())
			case id >= v.first || ownsFile(v.tx, id) || v.left(id):
			case id < born:
				v.report.Problem("%s: a file in the spool is older than this queue.db, no message owns it; it is kept", v.name(id))
			default:
				v.report.Problem("%s: a file in the spool without a message; the next start removes it", v.name(id))
			}
		}
	}
	return nil
}

// left says whether a file is about to be removed, or just was.
func (v *verifier) left(id uint64) bool {
	if v.leaving == nil {
		return false
	}
	if v.leaving(id) {
		return true
	}
	_, err := os.Lstat(spoolFile(v.dir, id))
	return errors.Is(err, fs.ErrNotExist)
}

// ownsFile says whether a message, queued or in quarantine, needs the spool file.
func ownsFile(tx *bolt.Tx, id uint64) bool {
	return tx.Bucket(bucketMsg).Get(record.MessageKey(id)) != nil ||
		tx.Bucket(bucketCorrupt).Get(append([]byte{kindMsg}, record.MessageKey(id)...)) != nil
}

// stamp is the time that files in a backup carry.
func stamp() time.Time { return time.Now().Truncate(time.Second) }
