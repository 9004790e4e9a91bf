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

// ErrTransfer means that a message did not arrive completely: the connection has ended, and what
// was written is not a message. The other errors say why.
var (
	ErrTransfer = errors.New("the message was cut off")
	ErrStalled  = fmt.Errorf("%w: it stopped moving", ErrTransfer)
	ErrEndless  = fmt.Errorf("%w: it was far above the limit", ErrTransfer)
	ErrReset    = fmt.Errorf("%w: the client broke the connection", ErrTransfer)
	ErrLineEnds = fmt.Errorf("%w: its lines do not end as the commands did", ErrTransfer)
)

const (
	maxTextLine = 998 // octets without CRLF (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1)

	// A client that speaks CRLF and ends its message by LF.LF waits for an answer. It gets one after
	// lfDotTime, unless more than maxLFDot octets (more than a pipelined QUIT) came after that end:
	// then the end was content.
	lfDotTime = 5 * time.Second
	maxLFDot  = 16
	// A message begins with the smaller of these buffers. One that fills it gets the larger one: with
	// a hundred clients these buffers are a large part of the memory.
	firstBuffer = 16 << 10
	bodyBuffer  = 64 << 10

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

var firstBuffers, bodyBuffers = buffers(firstBuffer), buffers(bodyBuffer)

func buffers(octets int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, octets); return &b }}
}

// bodyState is the reader of one message.
type bodyState struct {
	lf      bool  // lines end in LF and hold no CR: see Config.AnyLineEnd
	started bool  // 354 was promised
	ended   bool  // CRLF.CRLF was seen, or with lf LF.LF
	cr      bool  // with lf: a CR was seen
	lfDot   int   // octets since an LF.LF, which does not end a message; 0: there was none
	bareLF  bool  // the previous line was ended so; at first by DATA's own line end (RFC 5321 §4.1.1.4)
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
	if len(g.in) < firstBuffer {
		g.swapBuffer(*firstBuffers.Get().(*[]byte))
	}
	began := time.Now()
	for {
		if len(g.in) == firstBuffer && g.w == len(g.in) {
			g.swapBuffer(*bodyBuffers.Get().(*[]byte))
		}
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

// swapBuffer changes to a larger read buffer.
func (g *Conn) swapBuffer(larger []byte) {
	old, n := g.in, copy(larger, g.in[g.r:g.w])
	g.r, g.w, g.in = 0, n, larger
	giveBuffer(old)
}

// releaseBuffer gives it back, when it is empty.
func (g *Conn) releaseBuffer() {
	giveBuffer(g.in)
	g.in, g.r, g.w = g.small, 0, 0
}

// giveBuffer returns a buffer to the pool for the next message, unless it belongs to the
// connection.
func giveBuffer(b []byte) {
	switch len(b) {
	case firstBuffer:
		firstBuffers.Put(&b)
	case bodyBuffer:
		bodyBuffers.Put(&b)
	}
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
			return nil // from a Shutdown during the previous command: try again
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

// take consumes the part of the message in the buffer: all whole lines, and an incomplete line only
// when it fills the buffer.
func (b *bodyState) take(g *Conn, dst io.Writer) {
	if b.takeUsual(g, dst); !b.ended {
		b.takeAny(g, dst)
	}
}

// takeAny looks at each line, and mends the unusual ones.
func (b *bodyState) takeAny(g *Conn, dst io.Writer) {
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
		// A usual line needs no change: it ends in CRLF, holds no other CR, is not too long and does not
		// begin with a dot.
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

// takeUsual consumes the whole lines of the buffer if nothing about them is unusual: they end in
// CRLF, none is too long, few begin with a dot, and no octet of them is NUL or a CR that ends no
// line. Then they are passed on at once, without the dots that stuffing added.
func (b *bodyState) takeUsual(g *Conn, dst io.Writer) {
	if b.lf || b.partial || b.lfDot > 0 || b.bareLF {
		return
	}
	buf := g.in[g.r:g.w]
	n, lines, ended := 0, 0, false
	var places [512]int32
	dots := places[:0]
	for !ended && len(dots) < len(places) {
		i := bytes.IndexByte(buf[n:], '\n')
		if i < 0 {
			break
		}
		if i == 0 || i > maxTextLine+1 || buf[n+i-1] != '\r' {
			return
		}
		if buf[n] == '.' {
			ended = i == len(".\r")
			dots = append(dots, int32(n))
		}
		n += i + 1
		lines++
	}
	if bytes.Count(buf[:n], []byte{'\r'}) != lines || bytes.IndexByte(buf[:n], 0) >= 0 {
		return
	}
	g.r += n
	if b.ended = ended; ended {
		n -= len(".\r\n")
		dots = dots[:len(dots)-1]
	}
	b.put(dst, unstuff(buf[:n], dots))
}

// unstuff removes the octets at the places dots, in their order, from lines. It changes lines.
func unstuff(lines []byte, dots []int32) []byte {
	if len(dots) == 0 {
		return lines
	}
	w := int(dots[0])
	for k, dot := range dots {
		end := len(lines)
		if k+1 < len(dots) {
			end = int(dots[k+1])
		}
		w += copy(lines[w:], lines[dot+1:end])
	}
	return lines[:w]
}

// isEnd says whether a line is the one that ends the message.
func (b *bodyState) isEnd(line []byte) bool {
	end := ".\r\n"
	if b.lf {
		end = ".\n"
	}
	return !b.bareLF && !b.partial && string(line) == end
}

// mend applies the policy to a line, or a part of one, that is not plain. It may change line.
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
		// RFC 5321 §4.5.2. After a bare LF only a doubled dot is certain to be stuffing: such a client
		// does not follow SMTP.
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

// countLFDot counts the octets after an end of the wrong kind.
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

// write adds text to the current line. A line that is too long passes if it is to be folded:
// package accept does that, since it knows which field the line belongs to.
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
