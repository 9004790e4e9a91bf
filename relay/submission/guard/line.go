package guard

import (
	"bytes"
	"net"
	"time"

	"dawk/relay"
)

// readLine takes one command line, without its CRLF, off the wire. bad is the
// answer to one that cannot be read but that ended properly; err means that the
// connection has ended.
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
		if looked > maxLine && (looked > maxAuthLine || !g.isAuth()) {
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

// stressed says whether this client, a stranger, takes a place that others need.
func (g *Conn) stressed() bool {
	return !g.sess.trusted && g.cfg.Stress != nil && g.cfg.Stress()
}

// isAuth says whether the line being read may be as long as AUTH needs.
func (g *Conn) isAuth() bool {
	return g.sess.inAuth || g.w-g.r > 5 && bytes.EqualFold(g.in[g.r:g.r+5], []byte("AUTH "))
}

// lost ends the connection that could not be read from between commands.
func (g *Conn) lost(err error) error {
	switch {
	case g.drain.Load():
		return g.fail(ReasonShutdown, reply(421, "4.3.2", g.cfg.Hostname+" is shutting down, try again later"))
	case isTimeout(err):
		return g.fail(ReasonTimeout, reply(421, "4.4.2", "no command for too long, closing the connection"))
	}
	g.end(net.ErrClosed)
	return g.err
}

// discardLine throws an over-long line away, so that one answer fits it.
func (g *Conn) discardLine(deadline time.Time) ([]byte, *relay.Reply, error) {
	for gone := 0; gone < maxDiscard; {
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

// checkLine demands CRLF (RFC 5321 §2.3.8) and refuses control characters, so
// that none can come out again in a header, a log or another's session.
func (g *Conn) checkLine(line []byte) ([]byte, *relay.Reply, error) {
	n := len(line)
	switch {
	case n > 0 && line[n-1] == '\r':
		line = line[:n-1]
	case !g.cfg.Normalize:
		// Where this line ends is what client and server disagree about:
		// nothing after it can be trusted.
		return nil, nil, g.fail(ReasonLine, reply(500, "5.5.2", "a line must end in CRLF, not in a bare LF (RFC 5321 section 2.3.8), closing the connection"))
	}
	if bytes.IndexByte(line, '\r') >= 0 {
		return nil, nil, g.fail(ReasonLine, reply(500, "5.5.2", "a bare CR in a command (RFC 5321 section 2.3.8), closing the connection"))
	}
	line = bytes.TrimRight(line, " \t") // RFC 5321 §4.1.1: white space there is tolerated
	max := maxLine
	if g.sess.inAuth || len(line) > 5 && bytes.EqualFold(line[:5], []byte("AUTH ")) {
		max = maxAuthLine
	}
	if len(line)+2 > max {
		g.sess.inAuth = false
		return nil, reply(500, "5.5.2", "the line is too long"), nil
	}
	for _, c := range line {
		if c < ' ' || c == 0x7f {
			return nil, reply(500, "5.5.2", "a control character in a command"), nil
		}
	}
	return line, nil, nil
}
