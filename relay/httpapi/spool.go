package httpapi

import (
	"fmt"
	"io"
	"os"

	"dawk/relay/accept"
)

// Sizes of a spool, in octets.
const (
	spoolStep  = 4 << 10
	spoolMost  = 32 << 10 // in memory; what is larger goes to a file
	spoolCheck = 1 << 20  // between two checks of the disk
)

// spool keeps the parts of one message until its header can be written: in JSON the recipients may
// come after the attachments. The file has no name, so it is gone when the process ends.
type spool struct {
	dir     string
	account *account
	room    func(size int64) error // says whether a message of that size would be accepted now

	buf  []byte // the end of the content, not yet in the file
	file *os.File
	size int64
}

// span is where a part is in a spool.
type span struct{ from, to int64 }

func (s span) empty() bool { return s.from == s.to }

// Write appends p.
func (s *spool) Write(p []byte) (int, error) {
	before := s.size
	for rest := p; len(rest) > 0; {
		if err := s.grow(len(rest)); err != nil {
			return 0, err
		}
		n := min(len(rest), cap(s.buf)-len(s.buf))
		s.buf = append(s.buf, rest[:n]...)
		s.size += int64(n)
		rest = rest[n:]
	}
	if before/spoolCheck != s.size/spoolCheck {
		if err := s.room(s.size); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// grow makes room in the buffer, for at most n octets more.
func (s *spool) grow(n int) error {
	if len(s.buf) < cap(s.buf) {
		return nil
	}
	if cap(s.buf) == spoolMost {
		return s.flush()
	}
	size := min(max(2*cap(s.buf), cap(s.buf)+n, spoolStep), spoolMost)
	if err := s.account.add(size - cap(s.buf)); err != nil {
		return err
	}
	s.buf = append(make([]byte, 0, size), s.buf...)
	return nil
}

// flush writes the buffer to the file.
func (s *spool) flush() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, ".http-*"); err != nil {
			return fmt.Errorf("keep the parts of a message: %w", err)
		}
		if err := os.Remove(s.file.Name()); err != nil {
			return fmt.Errorf("keep the parts of a message: %w", err)
		}
	}
	if _, err := s.file.Write(s.buf); err != nil {
		return fmt.Errorf("keep the parts of a message: %w", err)
	}
	s.buf = s.buf[:0]
	return nil
}

// copyTo writes a part to w.
func (s *spool) copyTo(w io.Writer, part span) error {
	inFile := s.size - int64(len(s.buf))
	if end := min(part.to, inFile); part.from < end {
		if _, err := io.Copy(w, io.NewSectionReader(s.file, part.from, end-part.from)); err != nil {
			return err
		}
		part.from = end
	}
	if part.from == part.to {
		return nil
	}
	_, err := w.Write(s.buf[part.from-inFile : part.to-inFile])
	return err
}

// close ends the file.
func (s *spool) close() {
	if s.file != nil {
		s.file.Close()
	}
}

// bounded is the room function of a spool, with the limit of the user added (octets; 0: none).
func bounded(room func(int64) error, most int64) func(int64) error {
	return func(size int64) error {
		if most > 0 && size > most {
			return accept.Refuse(accept.ReasonSize, 552, "5.3.4", "the message is larger than the limit of %d octets for this login", most)
		}
		return room(size)
	}
}
