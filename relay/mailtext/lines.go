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
	ErrBareCR   = errors.New("the message has a CR that ends no line")
	ErrNUL      = errors.New("the message has a NUL octet")
	ErrLongLine = errors.New("the message has a line of more than 998 octets (RFC 5322 section 2.1.1)")
)

// maxLine is the longest line without its CRLF (RFC 5322 §2.1.1), in octets.
const maxLine = 998

// Lines passes text on with strict CRLF line ends (RFC 5321 §2.3.8). A line
// that ends in LF alone is always mended: that is how programs write.
type Lines struct {
	w    *bufio.Writer
	mend bool

	line []byte // the line so far, without its end
	err  error
	out  int64
}

// NewLines writes to dst. With mend, nothing is refused: CRs before a line end
// belong to it, others become spaces, so that none can begin a header field;
// NULs are left out, and long lines are broken, with a space after the break.
func NewLines(dst io.Writer, mend bool) *Lines {
	return &Lines{w: bufio.NewWriterSize(dst, 16<<10), mend: mend}
}

// Written is how many octets dst has got, once Close has returned nil.
func (l *Lines) Written() int64 { return l.out }

// Write takes any piece of the text.
func (l *Lines) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && l.err == nil {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			l.line = append(l.line, p...)
			l.limit()
			break
		}
		l.line = append(l.line, p[:i]...)
		p = p[i+1:]
		l.end()
	}
	if l.err != nil {
		return 0, l.err
	}
	return total, nil
}

// Close ends the last line, if the text did not, and passes everything on.
func (l *Lines) Close() error {
	if l.err == nil && len(l.line) > 0 {
		l.end()
	}
	if l.err == nil {
		l.err = l.w.Flush()
	}
	return l.err
}

// limit keeps the memory for a line that never ends within bounds.
func (l *Lines) limit() {
	for len(l.line) > 8<<10 && l.err == nil {
		if !l.mend {
			l.err = ErrLongLine
			return
		}
		rest := bytes.Clone(l.line[maxLine-1:])
		l.line = l.line[:maxLine-1]
		l.end()
		l.line = append([]byte(" "), rest...)
	}
}

// end passes the line on.
func (l *Lines) end() {
	line := l.line
	l.line = l.line[:0]
	if l.mend {
		line = bytes.TrimRight(line, "\r")
		if bytes.IndexByte(line, 0) >= 0 {
			line = bytes.ReplaceAll(line, []byte{0}, nil)
		}
		for i, c := range line {
			if c == '\r' {
				line[i] = ' '
			}
		}
		for room := maxLine; len(line) > room; room = maxLine - 1 { // the space counts
			n := BreakAt(line, room)
			l.put(line[:n], "\r\n ")
			line = line[n:]
		}
		l.put(line, "\r\n")
		return
	}
	line = bytes.TrimSuffix(line, []byte("\r"))
	switch {
	case bytes.IndexByte(line, '\r') >= 0:
		l.err = ErrBareCR
	case bytes.IndexByte(line, 0) >= 0:
		l.err = ErrNUL
	case len(line) > maxLine:
		l.err = ErrLongLine
	}
	l.put(line, "\r\n")
}

func (l *Lines) put(line []byte, end string) {
	if l.err != nil {
		return
	}
	_, _ = l.w.Write(line)
	_, l.err = l.w.WriteString(end) // the first error stays
	l.out += int64(len(line) + len(end))
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
