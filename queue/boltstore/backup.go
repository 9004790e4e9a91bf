package boltstore

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	bolt "go.etcd.io/bbolt"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/record"
)

// Backup writes a consistent copy of the queue to w while it runs: a tar archive with queue.db, the
// spool files that it names, the outbox, and what stands beside them (Options.Beside). Unpacked into an empty data directory, the archive is a queue. The
// messages in it are those that were queued when Backup began; what is delivered afterwards would
// be delivered again from the copy.
//
// A missing spool file gives an error at the end; everything else is in the archive.
func (q *Store) Backup(ctx context.Context, w io.Writer) error {
	if !q.upkeep.TryLock() {
		return errBusy
	}
	defer q.upkeep.Unlock()
	defer q.pinSpool()()
	ctx, cancel := q.untilClosed(ctx)
	defer cancel()
	out := tar.NewWriter(&ctxWriter{ctx, w})
	var missing error
	err := q.viewAlone(func(tx *bolt.Tx) error {
		if err := out.WriteHeader(&tar.Header{Name: datadir.FileName, Size: tx.Size(), Mode: 0o600, ModTime: stamp()}); err != nil {
			return err
		}
		if _, err := tx.WriteTo(out); err != nil {
			return err
		}
		c := tx.Bucket(datadir.BucketMsg).Cursor()
		for k, v := c.First(); k != nil; k, v = c.Next() {
			if len(k) != 8 || len(v) < record.HeaderSize || v[1]&record.InFile == 0 {
				continue
			}
			err := q.backupFile(out, binary.BigEndian.Uint64(k), int64(binary.BigEndian.Uint64(v[16:])))
			if errors.Is(err, errNoFile) {
				missing = errors.Join(missing, err)
			} else if err != nil {
				return err
			}
		}
		return q.outbox.Backup(func(name string, size int64, content io.Reader) error {
			return add(out, name, size, content)
		})
	})
	for i := 0; err == nil && i < len(q.opt.Beside); i++ {
		err = q.backupBeside(out, q.opt.Beside[i])
	}
	if err == nil {
		err = out.Close()
	}
	if err = errors.Join(err, missing); err != nil {
		return fmt.Errorf("back up the queue: %w", err)
	}
	return nil
}

var errNoFile = errors.New("a spool file is missing or has another size")

func (q *Store) backupFile(out *tar.Writer, id uint64, want int64) error {
	f, err := os.Open(q.spoolPath(id))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoFile, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != want {
		return fmt.Errorf("%w: %s", errNoFile, f.Name())
	}
	return add(out, fmt.Sprintf("%s/%s/%016x", datadir.SpoolName, datadir.SpoolDir(id), id), want, f)
}

// add puts the first octets of a file into an archive.
func add(out *tar.Writer, name string, size int64, content io.Reader) error {
	if err := out.WriteHeader(&tar.Header{Name: name, Size: size, Mode: 0o600, ModTime: stamp()}); err != nil {
		return err
	}
	_, err := io.CopyN(out, content, size)
	return err
}

// backupBeside adds a file, or the files of a folder, as long as each is now: they are only
// appended to, or replaced as a whole.
func (q *Store) backupBeside(out *tar.Writer, name string) error {
	return filepath.WalkDir(filepath.Join(q.opt.Dir, name), func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !e.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) { // it has gone meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(q.opt.Dir, path)
		if err != nil {
			return err
		}
		return add(out, filepath.ToSlash(rel), info.Size(), f)
	})
}

// ctxWriter fails once ctx has ended.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *ctxWriter) Write(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// stamp is the time that files in a backup carry.
func stamp() time.Time { return time.Now().Truncate(time.Second) }
