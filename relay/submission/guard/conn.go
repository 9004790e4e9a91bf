package guard

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"dawk/relay"
)

// Sizes in octets. RFC 5321 §4.5.3.1.4 asks for command lines of 512 octets, and the extensions for
// about 1,200 more; RFC 4954 §4.3 asks for 12,288 octets for AUTH.
const (
	maxLine     = 2048
	maxAuthLine = 12288
	maxDiscard  = 64 << 10 // of an over-long line, before the connection ends
	idleBuffer  = 2 << 10  // read buffer of a client that sends nothing
)

// How long we wait for a client to receive our replies (RFC 5321 gives no limit), and to receive
// the last one before the connection is cut.
const (
	writeTimeout = time.Minute
	lastWords    = 5 * time.Second
	lingerTime   = time.Second
	maxLinger    = 256 << 10 // octets thrown away meanwhile
	maxHandshake = time.Minute

	stressTimeout = 10 * time.Second // see Config.Stress
)

// Conn is the connection that go-smtp's server uses. It belongs to the goroutine that serves it;
// only Shutdown, Abort and RemoteAddr may be called from others.
type Conn struct {
	cfg Config
	raw net.Conn // never changes; deadlines are set here
	c   net.Conn // raw, or TLS over it
	tls *tls.Conn

	in    []byte // octets that were read and not used yet are in[r:w]
	r, w  int
	small []byte // in, between messages
	out   []byte // replies that have not been sent yet
	pend  []byte // rest of the line that go-smtp is being given

	ends  lineEnd
	verb  verb   // what go-smtp was given last
	reply []byte // its answer so far
	sess  session

	body    bodyState
	err     error       // sticky: the connection has ended
	closed  bool        // Close was called
	drain   atomic.Bool // Shutdown was called
	waiting atomic.Bool // blocked until the client speaks: may be interrupted
}

// session is what the protocol remembers between commands.
type session struct {
	helo     string // "" before HELO or EHLO
	esmtp    bool
	newHelo  string // of the command in progress
	noHelo   bool   // go-smtp was given a HELO with the MAIL in progress
	authed   bool
	inAuth   bool // a 334 waits for its answer
	badB64   bool
	mail     *Mail // of the transaction; nil outside one
	newMail  Mail  // of the command in progress
	newRcpt  relay.Recipient
	rcpts    int  // accepted
	errors   int  // 5yz since the last message
	commands int  // but RCPT since the last message
	taken    bool // a message was, on this connection
	trusted  bool // more errors are forgiven
	dot      bool // go-smtp was given its empty message
}

// verb is a command that go-smtp answers.
type verb string

const (
	verbGreeting verb = "" // the connection itself: 220
	verbHelo     verb = "HELO"
	verbEhlo     verb = "EHLO"
	verbMail     verb = "MAIL"
	verbRcpt     verb = "RCPT"
	verbData     verb = "DATA"
	verbRset     verb = "RSET"
	verbAuth     verb = "AUTH"
	verbNone     verb = "-" // answered
)

// New puts a guard around c, a connection as it came from the network.
func New(c net.Conn, cfg Config) *Conn {
	small := make([]byte, idleBuffer)
	g := &Conn{cfg: cfg, raw: c, c: c, in: small, small: small, ends: endsCRLF}
	if cfg.AnyLineEnd {
		g.ends = endsUnknown
	}
	return g
}

// Helo returns the name that the client gave with HELO or EHLO, in printable ASCII without spaces,
// and says whether it was EHLO.
func (g *Conn) Helo() (name string, esmtp bool) {
	if g.verb == verbHelo || g.verb == verbEhlo {
		return g.sess.newHelo, g.verb == verbEhlo
	}
	return g.sess.helo, g.sess.esmtp
}

// Mail is the MAIL command that go-smtp's session is asked about, or that of
// the transaction.
func (g *Conn) Mail() Mail {
	if g.verb == verbMail {
		return g.sess.newMail
	}
	if g.sess.mail == nil {
		return Mail{}
	}
	return *g.sess.mail
}

// Rcpt is the RCPT command that go-smtp's session is asked about.
func (g *Conn) Rcpt() relay.Recipient { return g.sess.newRcpt }

// TLS is the state of the connection's TLS; ok is false in the clear.
func (g *Conn) TLS() (state tls.ConnectionState, ok bool) {
	if g.tls == nil {
		return state, false
	}
	return g.tls.ConnectionState(), true
}

// Trust says that the client is known, by login or network: ten times as many errors are forgiven.
// fold says whether long lines of the client are folded.
func (g *Conn) Trust(fold bool) { g.sess.trusted, g.cfg.Fold = true, fold }

// LocalAddr and RemoteAddr are those of the socket.
func (g *Conn) LocalAddr() net.Addr  { return g.raw.LocalAddr() }
func (g *Conn) RemoteAddr() net.Addr { return g.raw.RemoteAddr() }

// SetDeadline, SetReadDeadline and SetWriteDeadline do nothing: the guard owns the deadlines.
func (g *Conn) SetDeadline(time.Time) error      { return nil }
func (g *Conn) SetReadDeadline(time.Time) error  { return nil }
func (g *Conn) SetWriteDeadline(time.Time) error { return nil }

// Shutdown lets a message in transfer finish and be answered; a client that
// waits between commands gets 421 at once (RFC 5321 §3.8).
func (g *Conn) Shutdown() {
	g.drain.Store(true)
	if g.waiting.Load() {
		g.interrupt()
	}
}

func (g *Conn) interrupt() { _ = g.raw.SetReadDeadline(time.Unix(1, 0)) }

// Abort cuts the connection, whatever it is doing.
func (g *Conn) Abort() { _ = g.raw.Close() }

// Drop ends the connection without a reply. Unlike Abort it belongs to the goroutine that serves
// the connection.
func (g *Conn) Drop() { g.end(net.ErrClosed) }

// Close sends what go-smtp answered last and ends the connection. go-smtp calls it when it is done
// with the connection, even if the connection has already ended.
func (g *Conn) Close() error {
	if g.err == nil {
		g.finishReply()
		_ = g.flush()
		g.end(net.ErrClosed)
	}
	if !g.closed && g.cfg.Closed != nil {
		g.cfg.Closed()
	}
	g.closed = true
	return nil
}

// end closes the socket. Everything after it fails with net.ErrClosed, which
// go-smtp takes for a silent end.
func (g *Conn) end(err error) {
	if g.err == nil {
		g.err = err
		g.releaseBuffer()
		_ = g.c.Close()
	}
}

// fail ends the connection with a last reply, if there is one to give.
func (g *Conn) fail(reason string, r *relay.Reply) error {
	if g.err != nil {
		return g.err
	}
	if r != nil {
		g.out = appendReply(g.out, r)
		g.trace(false, r.String())
		_ = g.raw.SetWriteDeadline(time.Now().Add(lastWords))
		_, _ = g.c.Write(g.out)
		g.out = nil
	}
	if reason != "" {
		g.refused(reason, r)
	}
	if r != nil && reason != ReasonShutdown && reason != ReasonTimeout {
		g.linger()
	}
	g.end(net.ErrClosed)
	return g.err
}

// linger reads what the client still sends. A socket that is closed with unread input sends RST,
// and the client would lose the reply with the reason.
func (g *Conn) linger() {
	t, ok := g.raw.(interface{ CloseWrite() error })
	if !ok {
		return
	}
	if g.tls != nil {
		_ = g.tls.CloseWrite()
	}
	if t.CloseWrite() != nil {
		return
	}
	_ = g.raw.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, g.raw, maxLinger)
}

func (g *Conn) refused(reason string, r *relay.Reply) {
	if g.cfg.Refused == nil {
		return
	}
	if r == nil {
		r = &relay.Reply{}
	}
	g.cfg.Refused(reason, *r)
}

func (g *Conn) trace(fromClient bool, line string) {
	if g.cfg.Trace != nil {
		g.cfg.Trace(fromClient, relay.Sanitize(line))
	}
}

// Read gives go-smtp the next command line, and no more than that.
func (g *Conn) Read(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if len(g.pend) == 0 {
		if err := g.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, g.pend)
	g.pend = g.pend[n:]
	return n, nil
}

// Write collects go-smtp's answer to the command that it was given; it is
// complete when go-smtp reads again.
func (g *Conn) Write(p []byte) (int, error) {
	if g.err == nil {
		g.reply = append(g.reply, p...)
	}
	return len(p), nil
}

// flush sends the replies collected.
func (g *Conn) flush() error {
	if len(g.out) == 0 {
		return nil
	}
	_ = g.raw.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := g.c.Write(g.out)
	if g.out = g.out[:0]; cap(g.out) > 16<<10 {
		g.out = nil
	}
	return err
}

// fill reads more from the client, after sending what it waits for.
func (g *Conn) fill(deadline time.Time) error {
	if err := g.flush(); err != nil {
		return err
	}
	if g.r > 0 {
		g.w = copy(g.in, g.in[g.r:g.w])
		g.r = 0
	}
	_ = g.raw.SetReadDeadline(deadline)
	if g.waiting.Load() && g.drain.Load() { // either we see drain, or Shutdown sees waiting
		g.interrupt()
	}
	n, err := g.c.Read(g.in[g.w:])
	g.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// fillWaiting is fill between commands, where Shutdown may interrupt.
func (g *Conn) fillWaiting(deadline time.Time) error {
	g.waiting.Store(true)
	defer g.waiting.Store(false)
	return g.fill(deadline)
}

// startTLS changes the connection to TLS. On failure the connection has ended; it never continues
// in the clear.
func (g *Conn) startTLS() error {
	tc := tls.Server(g.raw, g.cfg.TLS)
	limit := min(g.cfg.CommandTimeout, maxHandshake)
	_ = g.raw.SetDeadline(time.Now().Add(limit))
	g.waiting.Store(true)
	if g.drain.Load() {
		g.interrupt()
	}
	err := tc.HandshakeContext(context.Background())
	g.waiting.Store(false)
	if err != nil {
		if g.drain.Load() {
			return g.fail(ReasonShutdown, nil)
		}
		// During a failed handshake no reply can be sent: the client no longer reads plain text, and TLS
		// is not ready. The text is for the log.
		g.refused(ReasonTLS, &relay.Reply{Text: "TLS handshake: " + relay.Sanitize(err.Error())})
		return g.fail("", nil)
	}
	_ = g.raw.SetDeadline(time.Time{})
	g.c, g.tls, g.ends = tc, tc, endsCRLF
	return nil
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
