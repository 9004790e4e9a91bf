package boltstore

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
	"dawk/relay"
)

// Claim gets what an attempt for one Delivery needs. Mail that was just
// accepted comes from memory. The caller closes the content. The error wraps
// relay.ErrNotFound when the Delivery is gone, and relay.ErrCorrupt when the
// record is damaged: then the message was put into quarantine, which was logged and is
// counted, and there is nothing more to be done for it.
//
// When nothing but the content could not be had, there is a Claim beside the
// error, whose Content is what is left of it, possibly nothing; it need not be
// closed. The caller settles such a Delivery: with relay.ErrContentLost, which
// is final, a copy of the damaged record is kept in the bucket corrupt already,
// and its file outlives the message; any other error may pass.
func (q *Store) Claim(id relay.QueueID, job uint16) (*relay.Claim, error) {
	if id.Dir != q.dirID {
		return nil, fmt.Errorf("claim %s/%d: %w", id, job, relay.ErrNotFound)
	}
	if f, d := q.cache.Get(id.Key, job); f != nil {
		if c, err := q.openContent(id.Key, f.Layout, f.Head); err == nil {
			return &relay.Claim{Message: f.Msg, Delivery: d, Content: c}, nil
		}
		// Its file is damaged or missing: the slow path finds out why.
	}
	c, err := q.claimStored(id, job)
	if errors.Is(err, relay.ErrCorrupt) {
		// Damage to the message cannot be repaired; damage to the row of a Delivery can, and then the
		// second read finds it.
		damage := err
		var found bool
		if found, err = q.repair(id.Key, !errors.Is(err, datadir.ErrRow), err.Error()); err == nil {
			if c, err = q.claimStored(id, job); found && errors.Is(err, relay.ErrNotFound) {
				err = damage
			}
		}
	}
	if errors.Is(err, relay.ErrContentLost) {
		if failed := q.keepDamaged(id.Key, err.Error()); failed != nil {
			c, err = nil, failed // it is found again
		}
	}
	if err != nil {
		err = fmt.Errorf("claim %s/%d: %w", id, job, err)
	}
	return c, err
}

func (q *Store) claimStored(id relay.QueueID, job uint16) (*relay.Claim, error) {
	var claim relay.Claim
	var l record.Layout
	var head []byte
	err := q.read(id.Key, func(tx *bolt.Tx) error {
		key := record.DeliveryKey(id.Key, job)
		v := tx.Bucket(datadir.BucketSched).Get(key)
		if v == nil {
			return relay.ErrNotFound
		}
		d, err := record.DecodeDelivery(key, v, q.dirID)
		if err != nil {
			return datadir.ErrRow
		}
		claim.Delivery = d
		claim.Message, l, head, err = loadMsg(tx, id)
		return err
	})
	if claim.Message != nil {
		if bad := datadir.CheckRecipients(&claim); bad != nil {
			return nil, bad
		}
	}
	switch {
	case errors.Is(err, relay.ErrContentLost):
		claim.Content = &content{}
		return &claim, err
	case err != nil:
		return nil, err
	}
	if claim.Content, err = q.openContent(id.Key, l, head); err != nil {
		claim.Content = &content{head: head}
	}
	return &claim, err
}

// loadMsg reads a message and copies the content in its record. With relay.ErrContentLost it
// returns the message as well.
func loadMsg(tx *bolt.Tx, id relay.QueueID) (*relay.Message, record.Layout, []byte, error) {
	key := record.MessageKey(id.Key)
	v := tx.Bucket(datadir.BucketMsg).Get(key)
	if v == nil {
		return nil, record.Layout{}, nil, fmt.Errorf("%w: its record in msg is missing", relay.ErrCorrupt)
	}
	m, l, inline, err := record.DecodeMessage(key, v, id.Dir)
	if err != nil {
		return nil, l, nil, fmt.Errorf("%w: its record in msg", relay.ErrCorrupt)
	}
	if !record.CheckInline(v, inline) {
		return m, l, nil, fmt.Errorf("%w: it has another checksum", relay.ErrContentLost)
	}
	return m, l, append([]byte(nil), inline...), nil
}

// openContent opens the spool file, if there is one, and reads it once: damage must be found before
// half a message is sent. That takes milliseconds, far less than sending it. A missing or changed
// file is damage; any other fault may pass.
func (q *Store) openContent(id uint64, l record.Layout, head []byte) (relay.Content, error) {
	c := &content{head: head}
	if l.File == 0 {
		return c, nil
	}
	f, err := os.Open(q.spoolPath(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: its file %s is missing", relay.ErrContentLost, q.spoolPath(id))
	}
	if err != nil {
		return nil, fmt.Errorf("open the content: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Size() != l.File {
		err = fmt.Errorf("%w: its file %s has %d octets instead of %d", relay.ErrContentLost, f.Name(), info.Size(), l.File)
	}
	if err == nil {
		err = q.hook("content.read")
	}
	if err == nil {
		err = checkFile(f, l.FileCRC)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	c.file, c.size, c.own = f, l.File, true
	return c, nil
}

// checkFile reads f to its end and compares its checksum.
func checkFile(f *os.File, want uint32) error {
	h := crc32.New(record.Castagnoli)
	if _, err := io.Copy(h, f); err != nil {
		return fmt.Errorf("read the content: %w", err)
	}
	if h.Sum32() != want {
		return fmt.Errorf("%w: its file %s has another checksum", relay.ErrContentLost, f.Name())
	}
	return nil
}

// Content opens the content of a queued message; the caller closes it.
func (q *Store) Content(id relay.QueueID) (relay.Content, error) {
	if id.Dir != q.dirID {
		return nil, fmt.Errorf("content of %s: %w", id, relay.ErrNotFound)
	}
	var l record.Layout
	var head []byte
	err := q.read(id.Key, func(tx *bolt.Tx) (err error) {
		if tx.Bucket(datadir.BucketMsg).Get(record.MessageKey(id.Key)) == nil {
			return relay.ErrNotFound
		}
		_, l, head, err = loadMsg(tx, id)
		return err
	})
	if err == nil {
		var c relay.Content
		if c, err = q.openContent(id.Key, l, head); err == nil {
			return c, nil
		}
	}
	return nil, fmt.Errorf("content of %s: %w", id, err)
}
