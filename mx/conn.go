package mx

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"dawk/relay"
)

// conn is one SMTP connection to a server. It belongs to one goroutine at a
// time; between two deliveries it belongs to the pool.
type conn struct {
	nc     net.Conn
	br     *bufio.Reader
	peer   peer
	addr   string // the target's, without its port
	limits Timeouts
	ext    extensions
	offers []string // lines of the last reply to EHLO
	tls    string   // "TLS1.3"; "" in the clear
	tlsErr error    // why the handshake failed

	served int  // transactions begun
	reset  bool // a transaction was left open: RSET goes before the next MAIL
	noDSN  bool // it offered DSN, then refused the parameters (555)
	last   bool // the host is in trouble: no further message on it
	dead   bool // nothing more can be said on it

	use  *claim      // the attempt it serves now
	stop func() bool // ends the watch on use's context
}

// claim is one attempt's claim on a connection.
type claim struct {
	ctx context.Context
	end time.Time // what Timeouts.Session leaves
}

// budget is the deadline of a step of at most d.
func (u *claim) budget(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if u.end.Before(t) {
		return u.end
	}
	return t
}

var longAgo = time.Unix(1, 0)

func newConn(nc net.Conn, p peer, limits Timeouts) *conn {
	return &conn{nc: nc, br: bufio.NewReaderSize(nc, 2*maxReplyLine), peer: p, addr: p.where(), limits: limits}
}

// attach binds the connection to an attempt: when its context ends, whatever
// the connection waits for ends.
func (c *conn) attach(u *claim) {
	c.use = u
	nc := c.nc
	c.stop = context.AfterFunc(u.ctx, func() { nc.SetDeadline(longAgo) }) //nolint:errcheck // a closed one is as good
}

// detach ends that. If the context has ended by now, its deadline may still
// strike at any moment: such a connection serves nobody else.
func (c *conn) detach() {
	if c.stop != nil && !c.stop() {
		c.dead = true
	}
	c.use, c.stop = nil, nil
}

// readBy and writeBy set deadlines, looking at the context afterwards: else
// one could overwrite the deadline that the end of the context has set.
func (c *conn) readBy(t time.Time) { c.by(t, c.nc.SetReadDeadline) }

func (c *conn) writeBy(t time.Time) { c.by(t, c.nc.SetWriteDeadline) }

func (c *conn) by(t time.Time, set func(time.Time) error) {
	if err := set(t); err == nil && c.use.ctx.Err() != nil {
		set(longAgo) //nolint:errcheck // reads and writes report a closed connection
	}
}

// read waits at most d for a whole reply. After an error the connection is
// dead; after a 421, too (RFC 5321 §3.8).
func (c *conn) read(d time.Duration) (wireReply, error) {
	c.readBy(c.use.budget(d))
	r, err := readReply(c.br)
	if err != nil || r.code == 421 {
		c.dead = true
	}
	return r, err
}

// write sends a command or a batch of them.
func (c *conn) write(b []byte) error {
	c.writeBy(c.use.budget(c.limits.Command))
	_, err := c.nc.Write(b)
	if err != nil {
		c.dead = true
	}
	return err
}

// command sends one line and reads its reply.
func (c *conn) command(line string, d time.Duration) (wireReply, error) {
	if early, bad := c.ahead(); bad != nil {
		if early.code == 421 {
			return early, nil
		}
		return wireReply{}, bad
	}
	if err := c.write([]byte(line + "\r\n")); err != nil {
		// What it said before it hung up tells more than how it did.
		if r, rerr := c.lastWords(); rerr == nil {
			return r, nil
		}
		return wireReply{}, err
	}
	return c.read(d)
}

// ahead is not nil if the server has said something that it was not asked: of
// a server out of step nobody could tell which answer is to what, and a refusal
// could be taken for another's. What it said comes with it, as far as that is a
// reply; the connection is dead.
func (c *conn) ahead() (wireReply, error) {
	if c.br.Buffered() == 0 {
		return wireReply{}, nil
	}
	r, err := c.lastWords()
	if err == nil {
		err = fmt.Errorf("%w: it answered before it was asked", errGarbled)
	}
	return r, err
}

// outOfStep is the failure of a step for what ahead found.
func (c *conn) outOfStep(stage relay.Stage, early wireReply, bad error) relay.Reply {
	if early.code == 421 {
		return c.named(early.reply(stage))
	}
	return c.failure(stage, "about to send a command", bad)
}

// lastWords reads a reply that a server sent before it stopped reading.
func (c *conn) lastWords() (wireReply, error) {
	c.readBy(c.use.budget(time.Second))
	c.dead = true
	return readReply(c.br)
}

// startTLS wraps the connection (RFC 3207). What the server sent in the clear
// behind its 220 could be an attacker's: it is never read as if it came
// through TLS.
func (c *conn) startTLS(cfg *tls.Config) error {
	if c.br.Buffered() > 0 {
		c.dead = true
		return errInjected
	}
	c.readBy(c.use.budget(c.limits.Command))
	c.writeBy(c.use.budget(c.limits.Command))
	t := tls.Client(c.nc, cfg)
	if err := t.HandshakeContext(c.use.ctx); err != nil {
		c.dead = true
		return err
	}
	c.nc = t
	c.br.Reset(t)
	c.tls = strings.ReplaceAll(tls.VersionName(t.ConnectionState().Version), " ", "")
	return nil
}

var errInjected = errors.New("the server sent plain text behind its answer to STARTTLS")

// failure makes a Reply of an error at a stage; waiting says for what.
func (c *conn) failure(stage relay.Stage, waiting string, err error) relay.Reply {
	status, text := relay.Status{Class: 4, Subject: 4, Detail: 2}, ""
	switch {
	case errors.Is(err, errGarbled):
		status, text = relay.Status{Class: 4, Subject: 5, Detail: 0}, err.Error()
	case c.use.ctx.Err() != nil:
		text = "the attempt was stopped while " + waiting
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(c.use.end):
		text = fmt.Sprintf("the session took longer than %v, while %s", c.limits.Session, waiting)
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = "timed out while " + waiting
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		text = "the server closed the connection while " + waiting
	default:
		text = "lost the connection while " + waiting + ": " + cause(err)
	}
	r := relay.Failure(stage, status, "%s", text)
	r.Remedy = hint(err)
	r.MTA, r.Addr = c.peer.host, c.addr
	return r
}

// hint is what to do about an alert by which a server asks for another
// certificate of ours (RFC 8446 §6.2); with TLS 1.3 it comes after the
// handshake. The words are those of crypto/tls, which exports no type for them.
func hint(err error) string {
	says := cause(err)
	if strings.HasPrefix(says, "tls: ") && strings.HasSuffix(says, "certificate") || says == "tls: certificate required" || says == "tls: unknown certificate authority" {
		return "the server knows its clients by certificates: set client_certificate and client_key of the route to a pair that it accepts"
	}
	return ""
}

// cause is the innermost reason of a network error: addresses and operations
// around it are said elsewhere.
func cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}

// named adds who said it.
func (c *conn) named(r relay.Reply) relay.Reply {
	r.MTA, r.Addr = c.peer.host, c.addr
	return r
}

// quitTimeout bounds the farewell: the reply to QUIT matters to nobody.
const quitTimeout = 2 * time.Second

// quit says goodbye and closes (RFC 5321 §4.1.1.10).
func (c *conn) quit() {
	defer c.nc.Close()
	if c.dead || c.nc.SetDeadline(time.Now().Add(quitTimeout)) != nil {
		return
	}
	if _, err := io.WriteString(c.nc, "QUIT\r\n"); err == nil {
		readReply(c.br) //nolint:errcheck // we leave either way
	}
}
