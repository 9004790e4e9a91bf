package smtpclient

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

	"dawk/mx/dial"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Conn is one SMTP connection to a server. It belongs to one goroutine at a
// time; between two deliveries it belongs to the pool.
type Conn struct {
	Nc     net.Conn
	Br     *bufio.Reader
	Peer   Peer
	Addr   string // the target's, without its port
	Limits Timeouts
	Ext    Extensions
	Offers []string // lines of the last reply to EHLO
	TLS    string   // "TLS1.3"; "" in the clear
	TLSErr error    // why the handshake failed, or what came in place of the first reply behind it

	TLSVersion uint16 // as agreed on in the handshake, also in one that failed; 0: none
	unheard    bool   // no reply was read since the handshake

	Served   int  // transactions begun
	reset    bool // a transaction was left open: RSET goes before the next MAIL
	Bare     bool // it refused parameters: those that the mail can do without are left out
	Lockstep bool // commands go one by one, whatever it offers
	greeted  bool // a reply was read
	Last     bool // the host is in trouble: no further message on it
	Dead     bool // nothing more can be said on it

	use  *Claim      // the attempt it serves now
	stop func() bool // ends the watch on use's context
}

// Claim is one attempt's claim on a connection.
type Claim struct {
	Ctx context.Context
	End time.Time // what Timeouts.Session leaves

	Progress *relay.Progress // nil: nobody looks
}

// budget is the deadline of a step of at most d.
func (u *Claim) budget(d time.Duration) time.Time {
	t := time.Now().Add(d)
	if u.End.Before(t) {
		return u.End
	}
	return t
}

var longAgo = time.Unix(1, 0)

func NewConn(nc net.Conn, p Peer, limits Timeouts) *Conn {
	return &Conn{Nc: nc, Br: bufio.NewReaderSize(nc, 2*maxReplyLine), Peer: p, Addr: p.Where(), Limits: limits}
}

// Attach binds the connection to an attempt: when its context ends, whatever
// the connection waits for ends.
func (c *Conn) Attach(u *Claim) {
	c.use = u
	nc := c.Nc
	c.stop = context.AfterFunc(u.Ctx, func() { nc.SetDeadline(longAgo) }) //nolint:errcheck // a closed one is as good
}

// Detach undoes Attach. If the context has ended by now, the deadline may still be
// set at any moment: such a connection is not used again.
func (c *Conn) Detach() {
	if c.stop != nil && !c.stop() {
		c.Dead = true
	}
	c.use, c.stop = nil, nil
}

// readBy and writeBy set deadlines, looking at the context afterwards: else
// one could overwrite the deadline that the end of the context has set.
func (c *Conn) readBy(t time.Time) { c.by(t, c.Nc.SetReadDeadline) }

func (c *Conn) writeBy(t time.Time) { c.by(t, c.Nc.SetWriteDeadline) }

func (c *Conn) by(t time.Time, set func(time.Time) error) {
	if err := set(t); err == nil && c.use.Ctx.Err() != nil {
		set(longAgo) //nolint:errcheck // reads and writes report a closed connection
	}
}

// Read waits at most d for a whole reply to the one command that has none yet.
// Replies with a code 1yz announce another (RFC 959 §4.2), and text without a code
// belongs to the reply before it: SMTP has neither, some servers do. Where more
// replies are outstanding, or none was heard yet, either may stand for a reply:
// then each verdict that follows would go to the wrong recipient.
func (c *Conn) Read(d time.Duration) (WireReply, error) {
	end := time.Now().Add(d)
	c.readBy(c.use.budget(d))
	r, err := c.next()
	for extra := 0; c.greeted && extra < maxBlankLines; extra++ {
		if text := errors.Is(err, errCodeless); text {
			c.readBy(c.use.budget(min(time.Until(end), strayWait)))
		} else if err != nil || r.Class() != 1 {
			break
		}
		c.Dead = false
		r, err = c.next()
	}
	if err == nil && c.greeted {
		r.Lines = append(r.Lines, strayText(c.Br)...)
	}
	c.greeted = c.greeted || err == nil
	return r, err
}

// strayWait is how long a reply may take behind text without a code, which may
// have been meant as the reply.
const strayWait = time.Minute

// next reads the next reply. After an error the connection is dead; after a 421,
// too (RFC 5321 §3.8).
func (c *Conn) next() (WireReply, error) {
	r, err := readReply(c.Br)
	if err != nil || r.Code == 421 {
		c.Dead = true
	}
	c.unheard = c.unheard && err != nil
	if err == nil {
		c.use.Progress.Heard()
	}
	return r, err
}

// at notes the stage that comes.
func (c *Conn) at(stage relay.Stage) { c.use.Progress.At(c.Peer.Host, stage) }

// write sends a command or a batch of them.
func (c *Conn) write(b []byte) error {
	c.writeBy(c.use.budget(c.Limits.Command))
	_, err := c.Nc.Write(b)
	if err != nil {
		c.Dead = true
	}
	return err
}

// command sends one line and reads its reply.
func (c *Conn) command(line string, d time.Duration) (WireReply, error) {
	if early, bad := c.ahead(); bad != nil {
		if early.Code == 421 {
			return early, nil
		}
		return WireReply{}, bad
	}
	if err := c.write([]byte(line + "\r\n")); err != nil {
		// What it said before it hung up tells more than how it did.
		if r, rerr := c.lastWords(); rerr == nil {
			return r, nil
		}
		return WireReply{}, err
	}
	return c.Read(d)
}

// ahead gives an error if the server has said something without being asked: nobody
// could tell which of its answers belongs to what, and one recipient's refusal could
// be taken for another's. What it said comes along if it is a reply; the connection
// is dead.
func (c *Conn) ahead() (WireReply, error) {
	if strayText(c.Br); c.Br.Buffered() == 0 {
		return WireReply{}, nil
	}
	r, err := c.lastWords()
	if err == nil {
		err = fmt.Errorf("%w: it answered before it was asked", errGarbled)
	}
	return r, err
}

// outOfStep is the failure of a step for what ahead found.
func (c *Conn) outOfStep(stage relay.Stage, early WireReply, bad error) relay.Reply {
	if early.Code == 421 {
		return c.Named(early.Reply(stage))
	}
	return c.Failure(stage, "about to send a command", bad)
}

// lastWords reads a reply that a server sent before it stopped reading.
func (c *Conn) lastWords() (WireReply, error) {
	c.readBy(c.use.budget(time.Second))
	c.Dead = true
	return readReply(c.Br)
}

// maxHandshake bounds a TLS handshake: one that fails is tried once more, and
// holds its slot meanwhile.
const maxHandshake = time.Minute

// startTLS wraps the connection (RFC 3207). What the server sent in the clear
// behind its 220 could be an attacker's: it is never read as if it came
// through TLS.
func (c *Conn) startTLS(cfg *tls.Config) error {
	if c.Br.Buffered() > 0 {
		c.Dead = true
		return tlspolicy.ErrInjected
	}
	by := c.use.budget(min(c.Limits.Command, maxHandshake))
	c.readBy(by)
	c.writeBy(by)
	t := tls.Client(c.Nc, cfg)
	err := t.HandshakeContext(c.use.Ctx)
	c.TLSVersion = t.ConnectionState().Version
	if err != nil {
		c.Dead = true
		return err
	}
	c.Nc, c.unheard = t, true
	c.Br.Reset(t)
	c.TLS = relay.TLSVersion(c.TLSVersion)
	return nil
}

// Failure makes a Reply of an error at a stage; waiting says for what.
func (c *Conn) Failure(stage relay.Stage, waiting string, err error) relay.Reply {
	if c.unheard && c.use.Ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errGarbled) {
		// With TLS 1.3 a server may refuse after our side of the handshake: its
		// verdict on our certificate, or on none, comes in place of its first reply
		// (RFC 8446 §4.6.2).
		return c.tlsFailure(err, "TLS failed right after the handshake: "+dial.Cause(err))
	}
	status, text := relay.Status{Class: 4, Subject: 4, Detail: 2}, ""
	switch {
	case errors.Is(err, errGarbled):
		status, text = relay.Status{Class: 4, Subject: 5, Detail: 0}, err.Error()
	case c.use.Ctx.Err() != nil:
		text = "the attempt was stopped while " + waiting
	case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(c.use.End):
		text = fmt.Sprintf("the session took longer than %v, while %s", c.Limits.Session, waiting)
	case errors.Is(err, os.ErrDeadlineExceeded):
		text = "timed out while " + waiting
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		text = "the server closed the connection while " + waiting
	default:
		text = "lost the connection while " + waiting + ": " + dial.Cause(err)
	}
	r := relay.Failure(stage, status, "%s", text)
	r.Remedy = hint(err)
	r.MTA, r.Addr = c.Peer.Host, c.Addr
	return r
}

// hint is what to do about an alert by which a server asks for another
// certificate of ours (RFC 8446 §6.2); with TLS 1.3 it comes after the
// handshake. The words are those of crypto/tls, which exports no type for them.
func hint(err error) string {
	says := dial.Cause(err)
	if strings.HasPrefix(says, "tls: ") && strings.HasSuffix(says, "certificate") || says == "tls: certificate required" || says == "tls: unknown certificate authority" {
		return "the server knows its clients by certificates: set client_certificate and client_key of the route to a pair that it accepts"
	}
	return ""
}

// Named adds who said it.
func (c *Conn) Named(r relay.Reply) relay.Reply {
	r.MTA, r.Addr = c.Peer.Host, c.Addr
	return r
}

// QuitTimeout bounds the farewell: the reply to QUIT matters to nobody.
const QuitTimeout = 2 * time.Second

// Quit says goodbye and closes (RFC 5321 §4.1.1.10).
func (c *Conn) Quit() {
	defer c.Nc.Close()
	if c.Dead || c.Nc.SetDeadline(time.Now().Add(QuitTimeout)) != nil {
		return
	}
	if _, err := io.WriteString(c.Nc, "QUIT\r\n"); err == nil {
		readReply(c.Br) //nolint:errcheck // we leave either way
	}
}
