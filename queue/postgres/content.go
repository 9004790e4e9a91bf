package postgres

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"dawk/relay"
)

// content is the octets of a message, in memory or, where there are many, in a file of
// this machine that has no name.
type content struct {
	io.ReaderAt
	size int64
	file *os.File // closed with it; nil: none
}

func inMemory(b []byte) *content { return &content{ReaderAt: bytes.NewReader(b), size: int64(len(b))} }

func (c *content) Size() int64 { return c.size }

func (c *content) Close() error {
	if c.file != nil {
		return c.file.Close()
	}
	return nil
}

// nameless is a new file in dir that goes when it is closed.
func nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "draft-")
	if err == nil {
		err = os.Remove(f.Name())
	}
	if err != nil {
		return nil, noSpace(fmt.Errorf("a file for a large message: %w", err))
	}
	return f, nil
}

// noSpace tells what a full disk of this machine is.
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", relay.ErrNoSpace, err)
	}
	return err
}

// draft collects content in memory up to the inline limit, then in a file. The file is
// never synced: the promise is the database's.
type draft struct {
	q    *Store
	id   relay.QueueID
	head []byte // what was put in front
	buf  []byte // what follows
	file *os.File
	size int64 // of the file

	err   error // the first failure: sticky
	ended bool
}

// NewDraft begins a message. The error wraps relay.ErrNoSpace or relay.ErrClosed, or says
// what the database lacks.
func (q *Store) NewDraft() (relay.Draft, error) {
	if err := q.closedError(); err != nil {
		return nil, err
	}
	if err := q.Room(); err != nil {
		return nil, err
	}
	id := q.NextID()
	if id.IsZero() {
		return nil, errNoPart
	}
	return &draft{q: q, id: id}, nil
}

func (d *draft) ID() relay.QueueID { return d.id }

// Size is in octets, what was prepended included.
func (d *draft) Size() int64 { return int64(len(d.head)+len(d.buf)) + d.size }

// Write appends to the content.
func (d *draft) Write(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if d.ended {
		return 0, fmt.Errorf("write to a draft that has ended: %w", os.ErrClosed)
	}
	d.buf = append(d.buf, p...)
	if len(d.buf) > d.q.opt.InlineLimit {
		if d.err = d.flush(); d.err != nil {
			return 0, d.err
		}
	}
	return len(p), nil
}

func (d *draft) flush() (err error) {
	if d.file == nil {
		if d.file, err = nameless(d.q.opt.Dir); err != nil {
			return err
		}
	}
	n, err := d.file.Write(d.buf)
	d.size += int64(n)
	d.buf = d.buf[:0]
	return noSpace(err)
}

// Prepend puts header in front of everything so far.
func (d *draft) Prepend(header []byte) {
	d.head = append(bytes.Clone(header), d.head...)
}

// Content is what is there so far.
func (d *draft) Content() relay.Content {
	if d.file == nil {
		return inMemory(append(d.head[:len(d.head):len(d.head)], d.buf...))
	}
	if d.err == nil && len(d.buf) > 0 {
		d.err = d.flush()
	}
	return &relay.Spliced{Head: d.head, Body: &content{ReaderAt: d.file, size: d.size}}
}

// Discard throws the draft away.
func (d *draft) Discard() {
	if d.ended {
		return
	}
	d.ended = true
	d.head, d.buf = nil, nil
	if d.file != nil {
		d.file.Close()
	}
}
