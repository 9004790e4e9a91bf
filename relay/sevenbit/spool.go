package sevenbit

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"dawk/relay"
)

// maxInMemory is the largest result that is not kept in a file, in octets.
const maxInMemory = 256 << 10

// spool collects a message: in memory, then in a file that has no name any
// more, so that a crash leaves nothing behind.
type spool struct {
	dir  string
	mem  []byte
	file *os.File
	size int64
	last byte
}

func (s *spool) Write(p []byte) (int, error) {
	if s.file == nil && len(s.mem)+len(p) > maxInMemory {
		if err := s.toFile(); err != nil {
			return 0, err
		}
	}
	if len(p) > 0 {
		s.last = p[len(p)-1]
	}
	s.size += int64(len(p))
	if s.file == nil {
		s.mem = append(s.mem, p...)
		return len(p), nil
	}
	n, err := s.file.Write(p)
	return n, keeping(err)
}

func (s *spool) toFile() error {
	f, err := os.CreateTemp(s.dir, ".sevenbit-*")
	if err != nil {
		return keeping(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return keeping(err)
	}
	s.file = f
	_, err = f.Write(s.mem)
	s.mem = nil
	return keeping(err)
}

// keeping says what failed, without the name of a file that is gone.
func keeping(err error) error {
	if err == nil {
		return nil
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err
	}
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("keep the converted message: %w: %w", relay.ErrNoSpace, err)
	}
	return fmt.Errorf("keep the converted message: %w", err)
}

// ReadAt, Size and Close make it relay.Content.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	return bytes.NewReader(s.mem).ReadAt(p, off)
}

func (s *spool) Size() int64 { return s.size }

func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
