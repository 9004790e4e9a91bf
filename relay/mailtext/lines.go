// Package mailtext turns what programs write into mail that is correct on the
// wire: line ends, header fields, lists of addresses. What comes out of it
// holds no line end that its caller did not ask for, so nothing that a person
// or a program wrote into a value can become a header field of its own.
package mailtext

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// Faults that a Lines finds; test with errors.Is.
var (
	ErrBareCR = errors.New("the message has a CR that ends no line")
	ErrNUL    = errors.New("the message has a NUL octet")
)

// MaxLine is the longest line without its CRLF (RFC 5322 §2.1.1), in octets.
const MaxLine = 998

// Lines passes text on with strict CRLF line ends (RFC 5321 §2.3.8). A line
// that ends in LF alone is always mended: that is how programs write. Long lines
// stay long: they are folded by whoever knows where the header ends. Lines holds back
// nothing of the text except CRs whose meaning is not known yet.
type Lines struct {
	w    *bufio.Writer
	mend bool

	crs int // CRs held back
	col int // octets of the line so far, without them
	err error
	out int64
}

// NewLines writes to dst. With mend, nothing is refused: CRs before a line end
// belong to it, others become spaces, so that none can begin a header field,
// and NULs are left out.
func NewLines(dst io.Writer, mend bool) *Lines {
	return &Lines{w: bufio.NewWriterSize(dst, 16<<10), mend: mend}
}

// Written is how many octets dst has got, once Close has returned nil.
func (l *Lines) Written() int64 { return l.out }

// Write takes any piece of the text.
func (l *Lines) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && l.err == nil {
		n := bytes.IndexAny(p, "\r\n\x00")
		if n < 0 {
			n = len(p)
		}
		l.text(p[:n])
		if n < len(p) {
			l.special(p[n])
			n++
		}
		p = p[n:]
	}
	if l.err != nil {
		return 0, l.err
	}
	return total, nil
}

// text passes on a part of a line.
func (l *Lines) text(p []byte) {
	if len(p) == 0 {
		return
	}
	if l.crs > 0 && !l.mend {
		l.fault(ErrBareCR)
	}
	for ; l.crs > 0; l.crs-- {
		l.put([]byte{' '})
		l.col++
	}
	l.col += len(p)
	l.put(p)
}

func (l *Lines) special(c byte) {
	switch {
	case c == '\r':
		l.crs++
	case c == '\n':
		if l.crs > 1 && !l.mend {
			l.fault(ErrBareCR)
		}
		l.put([]byte("\r\n"))
		l.crs, l.col = 0, 0
	case !l.mend:
		l.fault(ErrNUL)
	}
}

// Close ends the last line, if the text did not, and passes everything on.
func (l *Lines) Close() error {
	if l.col > 0 || l.crs > 0 {
		l.special('\n')
	}
	if l.err == nil {
		l.err = l.w.Flush()
	}
	return l.err
}

func (l *Lines) fault(err error) {
	if l.err == nil {
		l.err = err
	}
}

func (l *Lines) put(p []byte) {
	if l.err != nil {
		return
	}
	_, l.err = l.w.Write(p)
	l.out += int64(len(p))
}

// BreakAt is where to break a line so that at most room octets stay, and no
// UTF-8 sequence is torn.
func BreakAt(line []byte, room int) int {
	for n := room; n > 0 && n > room-4; n-- {
		if line[n]&0xc0 != 0x80 {
			return n
		}
	}
	return room // it is not UTF-8, or has no room for a whole character
}

// AtLineStart is the place of the first line of b that begins with prefix and follows a
// line feed; -1: there is none. It searches for the prefix, not for each line, since
// encoded attachments rarely contain the prefix.
func AtLineStart(b []byte, prefix string) int {
	for at := 0; ; at++ {
		i := bytes.IndexByte(b[at:], prefix[0])
		if i < 0 {
			return -1
		}
		at += i
		if at > 0 && b[at-1] == '\n' && len(b)-at >= len(prefix) && string(b[at:at+len(prefix)]) == prefix {
			return at
		}
		for at+1 < len(b) && b[at+1] == prefix[0] { // a ruled line
			at++
		}
	}
}
