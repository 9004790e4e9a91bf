package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"dawk/relay"
)

// errContent is content that must not go out as it is: a bare CR or LF would
// end a line, perhaps the message, at one receiver and not at another (RFC
// 5321 §2.3.8). Acceptance let none through, so the stored content is damaged.
var errContent = errors.New("the stored content has a line that does not end in CRLF")

// errRead is content that could not be read: the disk's fault.
var errRead = errors.New("the stored content cannot be read")

// Content is written in blocks: one deadline each.
const bodyBlock = 16 << 10

var bodyBuffers = sync.Pool{New: func() any { return new([2][]byte) }}

// writeBody sends content dot-stuffed with the final dot (RFC 5321 §4.5.2),
// calling send with blocks of it, and leave before the last one. Nothing of a block is sent before it was
// checked, and the final dot only after everything was; an error means that
// the receiver saw no end of the message.
func writeBody(content relay.Content, send func([]byte) error, leave func() error) error {
	bufs := bodyBuffers.Get().(*[2][]byte)
	defer bodyBuffers.Put(bufs)
	if bufs[0] == nil {
		bufs[0], bufs[1] = make([]byte, bodyBlock), make([]byte, 0, bodyBlock+bodyBlock/8)
	}
	in, size := bufs[0], content.Size()
	var st stuffer
	out := bufs[1][:0]
	for off := int64(0); off < size; {
		n, err := content.ReadAt(in[:min(int64(len(in)), size-off)], off)
		if n == 0 {
			return fmt.Errorf("%w at octet %d of %d: %w", errRead, off, size, cmpErr(err))
		}
		off += int64(n)
		if out, err = st.stuff(out, in[:n]); err != nil {
			return err
		}
		if off < size {
			if err := send(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	if size > 0 && !st.lineStart() {
		return fmt.Errorf("%w: the last one", errContent)
	}
	out = append(out, ".\r\n"...)
	bufs[1] = out[:0]
	if err := leave(); err != nil {
		return err
	}
	return send(out)
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// stuffer doubles dots at line starts and insists on CRLF, across blocks.
type stuffer struct {
	inLine bool // octets of an unfinished line went before
	cr     bool // the last of them was a CR
}

func (s *stuffer) lineStart() bool { return !s.inLine }

// stuff appends b to out.
func (s *stuffer) stuff(out, b []byte) ([]byte, error) {
	for len(b) > 0 {
		if !s.inLine && b[0] == '.' {
			out = append(out, '.')
		}
		i := bytes.IndexByte(b, '\n')
		line := b
		if i >= 0 {
			line = b[:i+1]
		}
		if !s.ok(line, i >= 0) {
			return out, fmt.Errorf("%w: %.80q", errContent, line)
		}
		out = append(out, line...)
		s.inLine = i < 0
		s.cr = line[len(line)-1] == '\r'
		b = b[len(line):]
	}
	return out, nil
}

// ok says whether a piece of a line, perhaps with its end, holds CR and LF
// only as CRLF.
func (s *stuffer) ok(piece []byte, whole bool) bool {
	if s.cr { // it may only go on with LF
		return len(piece) == 1 && whole
	}
	cr := bytes.IndexByte(piece, '\r')
	if whole {
		return cr == len(piece)-2 && cr >= 0
	}
	return cr < 0 || cr == len(piece)-1
}

// emptyBody ends a DATA that nobody asked for: some servers answer 354 though
// they accepted no recipient (RFC 2920 §3.1).
func (t *Transaction) emptyBody() {
	if t.c.Peer.LMTP { // it answers for no recipient, and nothing follows (RFC 2033 §4.2)
		t.c.Dead = true
		return
	}
	if t.c.write([]byte(".\r\n")) == nil {
		t.c.Read(t.c.Limits.FinalDot) //nolint:errcheck // marks the connection; the reply concerns nobody
	}
}
