package smtpclient

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"dawk/relay"
)

// errContent means that the content must not be sent as it is: a bare CR or LF would end a line,
// perhaps the message, at one receiver and not at another (RFC 5321 §2.3.8). Acceptance lets none
// through, so the stored content is damaged.
var errContent = errors.New("the stored content has a line that does not end in CRLF")

// errRead means that the content could not be read: a fault of the disk.
var errRead = errors.New("the stored content cannot be read")

// Content is written in blocks of so many octets.
const (
	bodyBlock = 256 << 10
	finalDot  = ".\r\n"
)

var bodyBuffers sync.Pool // of *blocks

// blocks are the buffers for sending a body.
type blocks struct {
	size    int    // octets of a block
	in      []byte // content as read; not used for content that is in memory
	stuffed []byte // content with its dots doubled, if it has any
	last    []byte // the last octets, with the final dot
}

// inMemory is content that may be in memory. Memory is nil if it has to be read.
type inMemory interface{ Memory() []byte }

// writeBody sends content dot-stuffed with the final dot (RFC 5321 §4.5.2), calling send for each
// block, and leave before the last one, which has at most so many octets. Nothing of a block is
// sent before it was checked, and the final dot only after everything was; an error means that the
// receiver saw no end of the message.
func writeBody(content relay.Content, last int, send func([]byte) error, leave func() error) error {
	bufs, ok := bodyBuffers.Get().(*blocks)
	if !ok {
		bufs = &blocks{size: bodyBlock}
	}
	defer bodyBuffers.Put(bufs)
	return bufs.write(content, last, send, leave)
}

func (t *blocks) write(content relay.Content, last int, send func([]byte) error, leave func() error) error {
	var block, memory []byte
	if c, ok := content.(inMemory); ok {
		memory = c.Memory()
	}
	size := content.Size()
	for off, inLine := int64(0), false; off < size; {
		in, err := t.read(content, memory, off, min(int64(t.size), size-off))
		if err != nil {
			return err
		}
		if off += int64(len(in)); off < size && in[len(in)-1] == '\r' {
			in = in[:len(in)-1] // its LF comes with the next block
			off--
		}
		if block, err = t.stuff(in, inLine); err != nil {
			return err
		}
		if inLine = block[len(block)-1] != '\n'; off < size {
			if err := send(block); err != nil {
				return err
			}
		} else if inLine {
			return fmt.Errorf("%w: the last one", errContent)
		}
	}
	if n := len(block) - last; n > 0 { // the attempt can be cut until the last block
		if err := send(block[:n]); err != nil {
			return err
		}
		block = block[n:]
	}
	t.last = append(append(t.last[:0], block...), finalDot...)
	if err := leave(); err != nil {
		return err
	}
	return send(t.last)
}

// read is n octets of content.
func (t *blocks) read(content relay.Content, memory []byte, off, n int64) ([]byte, error) {
	if memory != nil {
		return memory[off : off+n], nil
	}
	t.in = slices.Grow(t.in[:0], int(n))[:n]
	if got, err := content.ReadAt(t.in, off); int64(got) < n {
		return nil, fmt.Errorf("%w at octet %d of %d: %w", errRead, off+int64(got), content.Size(), cmpErr(err))
	}
	return t.in, nil
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// stuff is b with the dots at line starts doubled: b itself where there are none. InLine says that
// octets of its first line went before. Its error says that b has a CR or an LF that is not part of
// a CRLF.
func (t *blocks) stuff(b []byte, inLine bool) ([]byte, error) {
	t.stuffed = t.stuffed[:0]
	lines, from := 0, 0 // the octets of b before from are in t.stuffed
	for at := 0; at < len(b); lines++ {
		if b[at] == '.' && (at > 0 || !inLine) {
			t.stuffed = append(append(t.stuffed, b[from:at]...), '.')
			from = at
		}
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			break
		}
		if i == 0 || b[at+i-1] != '\r' {
			return nil, fmt.Errorf("%w: %.80q", errContent, b[at:])
		}
		at += i + 1
	}
	if bytes.Count(b, []byte{'\r'}) != lines { // one of them ends no line
		return nil, fmt.Errorf("%w: %.80q", errContent, b)
	}
	if len(t.stuffed) == 0 {
		return b, nil
	}
	t.stuffed = append(t.stuffed, b[from:]...)
	return t.stuffed, nil
}

// emptyBody ends an unwanted DATA: some servers answer 354 although they accepted no recipient (RFC
// 2920 §3.1).
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
	c.use.Script.content(t.Content.Size())
	err := writeBody(t.Content, min(start.piece, lastPiece), start.send, c.use.Progress.Final)
	start.end()
	if err != nil {
		c.use.Script.did("the content was not sent to its end")
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

// finalReply reads a reply to the final dot. If none comes, or one that neither accepts nor
// refuses, the server may have the message or not (RFC 1047): the result is never "failed".
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

// bodyFailure says why the content was not sent completely: no final dot was sent.
func (t *Transaction) bodyFailure(err error) relay.Reply {
	c := t.c
	switch {
	case errors.Is(err, errContent):
		return relay.Decision(relay.CauseContent, relay.Status{Class: 5, Subject: 6, Detail: 0}, "%v", err)
	case errors.Is(err, errRead):
		return relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", err)
	}
	// A server that does not want more says why and hangs up; its reply counts, unless it claims
	// success for a message that was not finished.
	if r, rerr := c.lastWords(); rerr == nil && r.Class() >= 4 {
		return c.Named(r.Reply(relay.StageBody))
	}
	return c.Failure(relay.StageBody, "sending the content", err)
}
