package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Faults in content. They are found while a message is taken off the wire and
// reported once, after its end; the session goes on.
var (
	ErrBareNewline = errors.New("bare CR or LF in the message")
	ErrNUL         = errors.New("NUL in the message")
	ErrLongLine    = errors.New("a line of the message is longer than 998 octets")
)

// ErrTransfer is the end of a message that never came whole: the connection
// has ended, and what was written is not a message. The others say why.
var (
	ErrTransfer = errors.New("the message was cut off")
	ErrStalled  = fmt.Errorf("%w: it stopped moving", ErrTransfer)
	ErrEndless  = fmt.Errorf("%w: it was far above the limit", ErrTransfer)
	ErrReset    = fmt.Errorf("%w: the client broke the connection", ErrTransfer)
	ErrLineEnds = fmt.Errorf("%w: its lines do not end as the commands did", ErrTransfer)
)

const (
	maxTextLine = 998 // octets without CRLF (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1)

	// A client that speaks CRLF and ends its message by LF.LF waits for an
	// answer. It gets one after lfDotTime, unless more than maxLFDot octets (a
	// pipelined QUIT) came behind that end: then it was content.
	lfDotTime  = 5 * time.Second
	maxLFDot   = 16
	bodyBuffer = 64 << 10

	// Content past the limit is still read, within bounds, so that the client
	// hears why.
	excessFactor = 2
	excessBytes  = 16 << 20
)

// A body that crawls at less than minRate octets a second, counted after
// rateGrace data timeouts, does not count as moving.
const (
	minRate   = 64
	rateGrace = 10
)

var bodyBuffers = sync.Pool{New: func() any { b := make([]byte, bodyBuffer); return &b }}

// bodyState is the reader of one message.
type bodyState struct {
	lf      bool  // lines end in LF and hold no CR: see Config.AnyLineEnd
	started bool  // 354 was promised
	ended   bool  // CRLF.CRLF was seen, or with lf LF.LF
	cr      bool  // with lf: a CR was seen
	lfDot   int   // octets since the client ended a message by LF.LF, which ends none; 0: it did not
	bareLF  bool  // ended the line before; at first DATA's own line end did (RFC 5321 §4.1.1.4)
	partial bool  // the line began in an earlier buffer
	col     int   // octets of the current line so far
	n       int64 // octets read from the wire
	written int64
	err     error // first fault, or error of the writer
}

// WriteTo asks the client for its message (354) and writes the content to dst,
// dots unstuffed and every line ended by CRLF. It may be called once for each
// DATA command, and returns after CRLF.CRLF: with nil, with a fault, or with
// the first error of dst. Only an error that wraps [ErrTransfer] means that the
// end was never seen, and that the connection is gone.
func (g *Conn) WriteTo(dst io.Writer) (int64, error) {
	if g.err != nil || g.verb != verbData || g.body.started {
		return 0, fmt.Errorf("%w: no message is due", ErrTransfer)
	}
	g.body.started, g.body.lf = true, g.ends == endsLF
	g.out = append(g.out, "354 end the message with <CR><LF>.<CR><LF>\r\n"...)
	g.trace(false, "354 end the message with <CR><LF>.<CR><LF>")
	g.takeBuffer()
	began := time.Now()
	for {
		g.body.take(g, dst)
		switch {
		case g.body.cr:
			_ = g.fail("", reply(554, "5.6.11", "the lines ended in LF so far, and the message has a CR, closing the connection"))
			return g.body.written, ErrLineEnds
		case g.body.ended:
			return g.body.written, g.body.err
		}
		if err := g.fillBody(began); err != nil {
			return g.body.written, err
		}
	}
}

// takeBuffer swaps the small read buffer for a large one.
func (g *Conn) takeBuffer() {
	if len(g.in) >= bodyBuffer {
		return
	}
	big := *bodyBuffers.Get().(*[]byte)
	g.w = copy(big, g.in[g.r:g.w])
	g.r, g.in = 0, big
}

// releaseBuffer gives the large one back, when it is empty.
func (g *Conn) releaseBuffer() {
	if len(g.in) == bodyBuffer {
		big := g.in
		bodyBuffers.Put(&big)
	}
	g.in, g.r, g.w = g.small, 0, 0
}

func (g *Conn) fillBody(began time.Time) error {
	b := &g.body
	slow := time.Since(began) > rateGrace*g.cfg.DataTimeout && float64(b.n) < minRate*time.Since(began).Seconds()
	if g.cfg.MaxSize > 0 && b.n > excessFactor*g.cfg.MaxSize+excessBytes {
		_ = g.fail("", tooBig(g.cfg.MaxSize))
		return ErrEndless
	}
	had := g.w - g.r
	err := error(nil)
	if !slow {
		timeout := g.cfg.DataTimeout
		if b.lfDot > 0 {
			timeout = min(timeout, lfDotTime)
		}
		deadline := time.Now().Add(timeout)
		err = g.fill(deadline)
		if err != nil && isTimeout(err) && time.Now().Before(deadline) {
			return nil // a Shutdown that meant the command before: try again
		}
	}
	switch {
	case b.lfDot > 0 && err != nil && isTimeout(err):
		_ = g.fail("", reply(554, "5.6.11", "the end of the message must be <CR><LF>.<CR><LF>, not a dot between bare LFs (RFC 5321 section 2.3.8), closing the connection"))
		return ErrLineEnds
	case slow || err != nil && isTimeout(err):
		_ = g.fail("", reply(421, "4.4.2", fmt.Sprintf("the message stopped moving for %v, closing the connection", g.cfg.DataTimeout)))
		return ErrStalled
	case err != nil:
		g.end(net.ErrClosed)
		if errors.Is(err, syscall.ECONNRESET) {
			return ErrReset
		}
		return fmt.Errorf("%w: %w", ErrTransfer, err)
	}
	b.n += int64(g.w - g.r - had)
	return nil
}

// take uses up what the buffer holds of the message: all whole lines, and the
// part of a line only when it fills the buffer.
func (b *bodyState) take(g *Conn, dst io.Writer) {
	buf := g.in[g.r:g.w]
	span, n := 0, 0                      // buf[span:n] is to be written as it is
	clean := bytes.IndexByte(buf, 0) < 0 // all of it
	for {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			break
		}
		line := buf[n : n+i+1]
		if b.isEnd(line) {
			b.put(dst, buf[span:n])
			b.ended = true
			g.r += n + len(line)
			return
		}
		n += i + 1
		// The common line needs nothing: it ends in CRLF, holds no other CR, is
		// not too long and has no dot in front.
		if i > 0 && bytes.IndexByte(line, '\r') == i-1 && i <= maxTextLine+1 && line[0] != '.' && !b.partial && !b.lf && (clean || bytes.IndexByte(line, 0) < 0) {
			b.bareLF, b.lfDot = false, 0
			continue
		}
		b.put(dst, buf[span:n-i-1])
		b.mend(g, dst, line)
		if span = n; b.cr {
			return
		}
	}
	b.put(dst, buf[span:n])
	g.r += n
	if rest := g.in[g.r:g.w]; len(rest) == len(g.in) {
		// No line end in a whole buffer. A CR at its very end may belong to one.
		if rest[len(rest)-1] == '\r' {
			rest = rest[:len(rest)-1]
		}
		b.mend(g, dst, rest)
		g.r += len(rest)
	}
}

// isEnd says whether a line is the one that ends the message.
func (b *bodyState) isEnd(line []byte) bool {
	end := ".\r\n"
	if b.lf {
		end = ".\n"
	}
	return !b.bareLF && !b.partial && string(line) == end
}

// mend does what the policy says about a line, or a part of one, that is not
// plain. It may change line.
func (b *bodyState) mend(g *Conn, dst io.Writer, line []byte) {
	text, whole := bytes.CutSuffix(line, []byte("\n"))
	bare := false
	if b.lf {
		b.cr = b.cr || bytes.IndexByte(text, '\r') >= 0
	} else if whole && bytes.HasSuffix(text, []byte("\r")) {
		text = text[:len(text)-1]
	} else if whole {
		bare = true
	}
	b.countLFDot(line, bare && !b.partial && string(text) == ".")
	if !b.partial && len(text) > 0 && text[0] == '.' {
		// RFC 5321 §4.5.2. Behind a bare LF only a doubled dot is certain to be
		// stuffing: that client's lines are not SMTP's.
		if !b.bareLF || len(text) > 1 && text[1] == '.' {
			text = text[1:]
		}
	}
	if bytes.IndexByte(text, 0) >= 0 {
		b.fault(ErrNUL)
	}
	if bare || bytes.IndexByte(text, '\r') >= 0 {
		if !g.cfg.Normalize {
			b.fault(ErrBareNewline)
		}
		text = spaceCRs(text, whole)
	}
	b.write(&g.cfg, dst, text)
	b.partial = !whole
	if whole {
		b.put(dst, []byte("\r\n"))
		b.bareLF, b.col = bare, 0
	}
}

// countLFDot counts the octets behind an end of the wrong kind.
func (b *bodyState) countLFDot(line []byte, isDot bool) {
	switch {
	case isDot:
		b.lfDot = 1
	case b.lfDot > 0:
		if b.lfDot += len(line); b.lfDot > maxLFDot {
			b.lfDot = 0
		}
	}
}

// spaceCRs mends stray CRs: those before a line end belong to it (CR CR LF is
// what some devices write), the others become spaces. A line end made of a CR
// could become a header field that the sender never wrote.
func spaceCRs(text []byte, whole bool) []byte {
	if whole {
		text = bytes.TrimRight(text, "\r")
	}
	for i, c := range text {
		if c == '\r' {
			text[i] = ' '
		}
	}
	return text
}

// write puts text on the current line. One that is too long passes where it is
// to be folded: package accept does that, which knows the field it belongs to.
func (b *bodyState) write(cfg *Config, dst io.Writer, text []byte) {
	if b.col += len(text); b.col > maxTextLine && !cfg.Fold {
		b.fault(ErrLongLine)
		return
	}
	b.put(dst, text)
}

func (b *bodyState) fault(err error) {
	if b.err == nil {
		b.err = err
	}
}

func (b *bodyState) put(dst io.Writer, p []byte) {
	if b.err != nil || len(p) == 0 {
		return
	}
	var n int
	n, b.err = dst.Write(p)
	b.written += int64(n)
}
