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
	TLSErr error    // why the handshake failed, or what came in place of the first reply after it

	TLSVersion uint16 // as agreed in the handshake, even if it failed; 0: none
	unheard    bool   // no reply was read since the handshake

	Served   int  // transactions begun
	reset    bool // a transaction was left open: RSET is sent before the next MAIL
	Bare     bool // it refused parameters: the optional ones are left out
	Lockstep bool // commands are sent one by one, whatever it offers
	greeted  bool // a reply was read
	piece    int  // octets of the next write of a body; 0: there was none
	Last     bool // the host has a fault: no further message on this connection
	Dead     bool // nothing more can be said on it

	use  *Claim      // the attempt that uses it now
	stop func() bool // ends the watch on use's context
}

// Claim is one attempt's claim on a connection.
type Claim struct {
	Ctx context.Context
	End time.Time // what Timeouts.Session leaves

	Progress *relay.Progress // nil: nobody looks
	Script   *Script         // what is said; nil: nobody notes it
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

// Attach binds the connection to an attempt: when the context ends, every wait on the connection
// ends.
func (c *Conn) Attach(u *Claim) {
	c.use = u
	nc := c.Nc
	u.Script.connected(c)
	c.stop = context.AfterFunc(u.Ctx, func() { nc.SetDeadline(longAgo) }) //nolint:errcheck // a closed one is as good
}

// Detach undoes Attach. If the context has ended already, the deadline may still be set at any
// moment: the connection is not used again.
func (c *Conn) Detach() {
	if c.stop != nil && !c.stop() {
		c.Dead = true
	}
	c.use, c.stop = nil, nil
}

// readBy and writeBy set deadlines, and check the context afterwards: otherwise they could
// overwrite the deadline that the end of the context has set.
func (c *Conn) readBy(t time.Time) { c.by(t, c.Nc.SetReadDeadline) }

func (c *Conn) writeBy(t time.Time) { c.by(t, c.Nc.SetWriteDeadline) }

func (c *Conn) by(t time.Time, set func(time.Time) error) {
	if err := set(t); err == nil && c.use.Ctx.Err() != nil {
		set(longAgo) //nolint:errcheck // reads and writes report a closed connection
	}
}

// Read waits at most d for a whole reply to the one command that has none yet. SMTP has neither
// replies with a code 1yz, which announce another (RFC 959 §4.2), nor text without a code, which
// belongs to the reply before it; but some servers send them. If more replies are outstanding, or
// none has come yet, either of them may be the reply itself: then each following verdict would be
// given to the wrong recipient.
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

// strayWait is how long a reply may take after text without a code, which may have been meant as
// the reply.
const strayWait = time.Minute

// next reads the next reply. After an error the connection is dead; after a 421,
// too (RFC 5321 §3.8).
func (c *Conn) next() (WireReply, error) {
	r, err := readReply(c.Br)
	c.use.Script.heard(r, err)
	if err != nil || r.Code == 421 {
		c.Dead = true
	}
	c.unheard = c.unheard && err != nil
	if err == nil {
		c.use.Progress.Heard()
	}
	return r, err
}

// at notes the stage that begins.
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
	return c.ask(line, line, d)
}

// ask is command with the line as the transcript shows it.
func (c *Conn) ask(line, shown string, d time.Duration) (WireReply, error) {
	if early, bad := c.ahead(); bad != nil {
		if early.Code == 421 {
			return early, nil
		}
		return WireReply{}, bad
	}
	c.use.Script.asked(shown)
	if err := c.write([]byte(line + "\r\n")); err != nil {
		// Its last reply tells more than the way in which it hung up.
		if r, rerr := c.lastWords(); rerr == nil {
			return r, nil
		}
		return WireReply{}, err
	}
	return c.Read(d)
}

// ahead returns an error if the server has sent something without being asked: its answers could
// then not be matched to commands, and one recipient's refusal could be taken for another's. If it
// sent a reply, that is returned too; the connection is dead.
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

// outOfStep is the failure of a step because of what ahead found.
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
	r, err := readReply(c.Br)
	if err == nil {
		c.use.Script.heard(r, nil)
	}
	return r, err
}

// maxHandshake bounds a TLS handshake: a failed one is tried once more, and keeps its slot
// meanwhile.
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
		c.use.Script.did("TLS failed: ", dial.Cause(err))
		c.Dead = true
		return err
	}
	c.Nc, c.unheard = t, true
	c.Br.Reset(t)
	c.TLS = relay.TLSVersion(c.TLSVersion)
	c.use.Script.did(c.TLS)
	return nil
}

// Failure turns an error at a stage into a Reply; waiting says what it waited for.
func (c *Conn) Failure(stage relay.Stage, waiting string, err error) relay.Reply {
	if c.unheard && c.use.Ctx.Err() == nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errGarbled) {
		// With TLS 1.3 a server may refuse after our side of the handshake: its verdict on our
		// certificate, or on the lack of one, comes in place of its first reply (RFC 8446 §4.6.2).
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

// hint says what to do about an alert by which a server asks us for another certificate (RFC 8446
// §6.2); with TLS 1.3 it comes after the handshake. Its text is that of crypto/tls, which exports
// no type for it.
func hint(err error) string {
	says := dial.Cause(err)
	if strings.HasPrefix(says, "tls: ") && strings.HasSuffix(says, "certificate") || says == "tls: certificate required" || says == "tls: unknown certificate authority" {
		return "the server knows its clients by certificates: set client_certificate and client_key of the route to a pair that it accepts"
	}
	return ""
}

// Named adds the server that said it.
func (c *Conn) Named(r relay.Reply) relay.Reply {
	r.MTA, r.Addr = c.Peer.Host, c.Addr
	return r
}

// QuitTimeout bounds the farewell: the reply to QUIT matters to nobody.
const QuitTimeout = 2 * time.Second

// Quit sends QUIT and closes (RFC 5321 §4.1.1.10).
func (c *Conn) Quit() {
	defer c.Nc.Close()
	if c.Dead || c.Nc.SetDeadline(time.Now().Add(QuitTimeout)) != nil {
		return
	}
	if _, err := io.WriteString(c.Nc, "QUIT\r\n"); err == nil {
		readReply(c.Br) //nolint:errcheck // we leave either way
	}
}
