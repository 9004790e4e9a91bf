package guard

import (
	"bytes"
	"errors"
	"net"
	"syscall"
	"time"

	"dawk/relay"
)

// readLine reads one command line, without its CRLF. bad is the answer to a line that is not valid
// but ended properly; err means that the connection has ended.
func (g *Conn) readLine() (line []byte, bad *relay.Reply, err error) {
	timeout := g.cfg.CommandTimeout
	if g.stressed() {
		timeout = min(timeout, stressTimeout)
	}
	deadline := time.Now().Add(timeout)
	looked := 0 // octets of the line that hold no LF
	for {
		if g.r == g.w && len(g.in) != len(g.small) {
			g.releaseBuffer()
		}
		if i := bytes.IndexByte(g.in[g.r+looked:g.w], '\n'); i >= 0 {
			line = g.in[g.r : g.r+looked+i]
			g.r += looked + i + 1
			return g.checkLine(line)
		}
		looked = g.w - g.r
		if g.sess.helo == "" && looked > 0 && g.in[g.r] == 0x16 {
			// A TLS record: the client means to speak TLS from the start, and
			// would wait for an answer until a timeout.
			advice := "this port does not begin with TLS; use STARTTLS, or the port for implicit TLS"
			if g.cfg.TLS == nil {
				advice = "this port has no TLS"
			}
			return nil, nil, g.fail(ReasonTLS, reply(500, "5.5.1", advice))
		}
		if looked > maxLine && (looked > maxAuthLine || !g.isAuth(g.in[g.r:g.w])) {
			return g.discardLine(deadline)
		}
		if looked == len(g.in) {
			g.in = append(make([]byte, 0, maxAuthLine+idleBuffer), g.in...)[:maxAuthLine+idleBuffer]
		}
		if err := g.fillWaiting(deadline); err != nil {
			return nil, nil, g.lost(err)
		}
	}
}

// stressed says whether this client is a stranger and takes a place that others need.
func (g *Conn) stressed() bool {
	return !g.sess.trusted && g.cfg.Stress != nil && g.cfg.Stress()
}

// isAuth says whether a line may be as long as AUTH needs.
func (g *Conn) isAuth(line []byte) bool {
	line = bytes.TrimLeft(line, blanks)
	return g.sess.inAuth || len(line) > 4 && bytes.EqualFold(line[:4], []byte("AUTH")) && bytes.IndexByte([]byte(blanks), line[4]) >= 0
}

// lost ends a connection on which a read between commands has failed.
func (g *Conn) lost(err error) error {
	switch {
	case g.drain.Load():
		return g.fail(ReasonShutdown, reply(421, "4.3.2", g.cfg.Hostname+" is shutting down, try again later"))
	case isTimeout(err):
		return g.fail(ReasonTimeout, reply(421, "4.4.2", "no command for too long, closing the connection"))
	case errors.Is(err, syscall.ECONNRESET) && g.cfg.Untidy && g.sess.commands > 0 && !g.sess.taken:
		g.refused(ReasonReset, &relay.Reply{Text: "the client broke the connection"})
	}
	g.end(net.ErrClosed)
	return g.err
}

// discardLine discards an over-long line, so that it gets one answer.
func (g *Conn) discardLine(deadline time.Time) ([]byte, *relay.Reply, error) {
	for gone := 0; gone < maxDiscard && g.ends == endsCRLF; {
		if i := bytes.IndexByte(g.in[g.r:g.w], '\n'); i >= 0 {
			g.r += i + 1
			g.sess.inAuth = false
			return nil, reply(500, "5.5.2", "the line is too long"), nil
		}
		gone += g.w - g.r
		g.r, g.w = 0, 0
		if err := g.fillWaiting(deadline); err != nil {
			return nil, nil, g.lost(err)
		}
	}
	return nil, nil, g.fail(ReasonLine, reply(500, "5.5.2", "the line is too long, closing the connection"))
}

// lineEnd is what ends the lines of a client.
type lineEnd uint8

const (
	endsUnknown lineEnd = iota // the first command decides: see Config.AnyLineEnd
	endsCRLF
	endsLF
)

// checkEnd demands one and the same end of all lines: CRLF (RFC 5321 §2.3.8), or LF for a client
// that began with LF and may do so. A line with another end may end elsewhere for the client than
// for us, so nothing after it can be trusted.
func (g *Conn) checkEnd(line []byte) ([]byte, error) {
	text, crlf := bytes.CutSuffix(line, []byte("\r"))
	if g.ends == endsUnknown {
		g.ends = endsCRLF
		if !crlf && g.tls == nil {
			g.ends = endsLF
		}
	}
	switch bare := bytes.IndexByte(text, '\r') >= 0; {
	case g.ends == endsLF && (crlf || bare):
		return nil, g.fail(ReasonLineEnd, reply(500, "5.5.2", "the lines ended in LF so far, and this one has a CR, closing the connection"))
	case g.ends == endsCRLF && !crlf:
		return nil, g.fail(ReasonLineEnd, reply(500, "5.5.2", "a line must end in CRLF, not in a bare LF (RFC 5321 section 2.3.8), closing the connection"))
	case bare:
		return nil, g.fail(ReasonLine, reply(500, "5.5.2", "a bare CR in a command (RFC 5321 section 2.3.8), closing the connection"))
	}
	return text, nil
}

// checkLine cuts the end off a line and refuses control characters except tabs: none of them may
// reach a header, a log or another session.
func (g *Conn) checkLine(line []byte) ([]byte, *relay.Reply, error) {
	line, err := g.checkEnd(line)
	if err != nil {
		return nil, nil, err
	}
	line = bytes.Trim(line, blanks) // RFC 5321 §4.1.1: white space at the end is tolerated
	max := maxLine
	if g.isAuth(line) {
		max = maxAuthLine
	}
	if len(line)+2 > max {
		g.sess.inAuth = false
		return nil, reply(500, "5.5.2", "the line is too long"), nil
	}
	for _, c := range line {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, reply(500, "5.5.2", "a control character in a command"), nil
		}
	}
	return line, nil, nil
}
