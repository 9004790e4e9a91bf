package boltstore

import (
	"io"
	"os"
)

// content is the octets of a message: first the part in memory, then the file.
type content struct {
	head []byte
	file *os.File // nil: none
	size int64    // of the file
	own  bool     // Close closes the file
}

// Size is in octets.
func (c *content) Size() int64 { return int64(len(c.head)) + c.size }

// ReadAt is io.ReaderAt; it may be called by several goroutines.
func (c *content) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, os.ErrInvalid
	}
	if off < int64(len(c.head)) {
		n = copy(p, c.head[off:])
	}
	if n == len(p) {
		return n, nil
	}
	at := off + int64(n) - int64(len(c.head))
	if c.file == nil || at >= c.size {
		return n, io.EOF
	}
	rest := p[n:]
	short := int64(len(rest)) > c.size-at
	if short {
		rest = rest[:c.size-at]
	}
	m, err := c.file.ReadAt(rest, at)
	if err == io.EOF && m == len(rest) {
		err = nil
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF // the file was cut after it was opened
	}
	if n += m; err == nil && short {
		err = io.EOF
	}
	return n, err
}

// Memory is all of it, which must not be changed; nil where some is in a file.
func (c *content) Memory() []byte {
	if c.file != nil {
		return nil
	}
	return c.head
}

// Close releases the file.
func (c *content) Close() error {
	if c.own && c.file != nil {
		return c.file.Close()
	}
	return nil
}
