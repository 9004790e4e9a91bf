package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"dawk/relay"
)

// errContent is content that must not go out as it is: a bare CR or LF would
// end a line, perhaps the message, at one receiver and not at another (RFC
// 5321 §2.3.8). Acceptance let none through, so the stored content is damaged.
var errContent = errors.New("the stored content has a line that does not end in CRLF")

// errRead is content that could not be read: the disk's fault.
var errRead = errors.New("the stored content cannot be read")

// Content is written in blocks. Small content takes a small buffer: there may be
// many connections.
const (
	bodyBlock  = 256 << 10
	smallBlock = 16 << 10
	finalDot   = ".\r\n"
)

var smallBuffers, bodyBuffers sync.Pool // of *blocks

// blocks are what a body goes through: as it was read, and with its dots doubled,
// which is made only where there are any.
type blocks struct{ in, stuffed []byte }

func takeBlocks(size int64) (b *blocks, giveBack func()) {
	pool, octets := &bodyBuffers, bodyBlock
	if size <= smallBlock {
		pool, octets = &smallBuffers, smallBlock
	}
	b, ok := pool.Get().(*blocks)
	if !ok {
		b = &blocks{in: make([]byte, octets, octets+len(finalDot))}
	}
	return b, func() { pool.Put(b) }
}

// writeBody sends content dot-stuffed with the final dot (RFC 5321 §4.5.2),
// calling send with blocks of it, and leave before the last one. Nothing of a block is sent before it was
// checked, and the final dot only after everything was; an error means that
// the receiver saw no end of the message.
func writeBody(content relay.Content, send func([]byte) error, leave func() error) error {
	bufs, giveBack := takeBlocks(content.Size())
	defer giveBack()
	return bufs.write(content, send, leave)
}

func (t *blocks) write(content relay.Content, send func([]byte) error, leave func() error) error {
	var block []byte
	size := content.Size()
	for off, inLine := int64(0), false; off < size; {
		in := t.in[:min(int64(len(t.in)), size-off)]
		if n, err := content.ReadAt(in, off); n < len(in) {
			return fmt.Errorf("%w at octet %d of %d: %w", errRead, off+int64(n), size, cmpErr(err))
		}
		if off += int64(len(in)); off < size && in[len(in)-1] == '\r' {
			in = in[:len(in)-1] // its LF comes with the next block
			off--
		}
		if err := checkLines(in); err != nil {
			return err
		}
		block = t.stuff(in, inLine)
		if inLine = block[len(block)-1] != '\n'; off < size {
			if err := send(block); err != nil {
				return err
			}
		} else if inLine {
			return fmt.Errorf("%w: the last one", errContent)
		}
	}
	block = append(block, finalDot...)
	if n := len(block) - smallBlock; n > 0 { // until the last of it the attempt can be cut
		if err := send(block[:n]); err != nil {
			return err
		}
		block = block[n:]
	}
	if err := leave(); err != nil {
		return err
	}
	return send(block)
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// checkLines says whether b holds CR and LF only as CRLF: every LF has its CR, and
// no CR is left over.
func checkLines(b []byte) error {
	crs := bytes.Count(b, []byte{'\r'})
	for at := 0; ; crs-- {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 && crs == 0 {
			return nil
		}
		if i <= 0 || b[at+i-1] != '\r' || crs == 0 {
			return fmt.Errorf("%w: %.80q", errContent, b[at:])
		}
		at += i + 1
	}
}

// stuff is b with the dots at line starts doubled: b itself where there are none.
// InLine says that octets of its first line went before.
func (t *blocks) stuff(b []byte, inLine bool) []byte {
	i := bytes.Index(b, []byte("\n."))
	if dot := !inLine && b[0] == '.'; !dot && i < 0 {
		return b
	} else if t.stuffed = t.stuffed[:0]; dot {
		t.stuffed = append(t.stuffed, '.')
	}
	for ; i >= 0; i = bytes.Index(b, []byte("\n.")) {
		t.stuffed = append(append(t.stuffed, b[:i+2]...), '.')
		b = b[i+2:]
	}
	t.stuffed = append(t.stuffed, b...)
	return t.stuffed
}

// emptyBody ends a DATA that nobody asked for: some servers answer 354 though
// they accepted no recipient (RFC 2920 §3.1).
func (t *Transaction) emptyBody() {
	if t.c.Peer.LMTP { // it answers for no recipient, and nothing follows (RFC 2033 §4.2)
		t.c.Dead = true
		return
	}
	if t.c.write([]byte(".\r\n")) == nil {
		t.c.Read(t.c.Limits.FinalDot) //nolint:errcheck // marks the connection; the reply concerns nobody
	}
}

// body sends the content after 354 and takes the reply to the final dot,
// which counts for every accepted recipient.
func (t *Transaction) body() {
	c := t.c
	c.at(relay.StageBody)
	start := newPace(c)
	err := writeBody(t.Content, start.send, c.use.Progress.Final)
	start.end()
	if err != nil {
		c.Dead = true
		t.settle(t.bodyFailure(err))
		return
	}
	if !c.Peer.LMTP {
		switch reply, _ := t.finalReply(); {
		case t.fewer(reply):
		case reply.Code != 0 && reply.Cause == relay.CauseSession:
			t.Trouble, c.Dead = reply, true
		default:
			t.settle(reply)
		}
		return
	}
	// An LMTP server answers once for each recipient that it accepted, in
	// their order (RFC 2033 §4.2).
	for k, i := range t.Accepted {
		reply, ok := t.finalReply()
		if t.Replies[i] = reply; ok {
			continue
		}
		for _, i := range t.Accepted[k:] {
			t.Replies[i] = reply
		}
		return
	}
}

// finalReply reads a reply to the final dot. Without one, or one that says
// neither yes nor no, the server may have the message, or not (RFC 1047): it
// is never "failed".
func (t *Transaction) finalReply() (reply relay.Reply, ok bool) {
	c := t.c
	var r WireReply
	var err error
	if c.Peer.LMTP { // more replies than this one may be outstanding
		c.readBy(c.use.budget(c.Limits.FinalDot))
		r, err = c.next()
	} else {
		r, err = c.Read(c.Limits.FinalDot)
	}
	if err != nil || r.Class() < 2 || r.Class() == 3 {
		c.Dead, t.Unknown = true, true
		if err == nil {
			err = errGarbled
		}
		reply := c.Failure(relay.StageBody, "waiting for the reply to the final dot", err)
		reply.Text = relay.Sanitize(reply.Text + "; the message may have been delivered")
		return reply, false
	}
	return c.Named(asRefusal(r, relay.StageBody)), true
}

// bodyFailure is why the content did not go out whole: no final dot was sent.
func (t *Transaction) bodyFailure(err error) relay.Reply {
	c := t.c
	switch {
	case errors.Is(err, errContent):
		return relay.Decision(relay.CauseContent, relay.Status{Class: 5, Subject: 6, Detail: 0}, "%v", err)
	case errors.Is(err, errRead):
		return relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", err)
	}
	// Servers that have enough say why and hang up; those words count, unless
	// they claim success for a message that was never finished.
	if r, rerr := c.lastWords(); rerr == nil && r.Class() >= 4 {
		return c.Named(r.Reply(relay.StageBody))
	}
	return c.Failure(relay.StageBody, "sending the content", err)
}
