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

// Content is written in blocks: one deadline each.
const bodyBlock = 16 << 10

var bodyBuffers = sync.Pool{New: func() any { return new([2][]byte) }}

// writeBody sends content dot-stuffed with the final dot (RFC 5321 §4.5.2),
// calling send with blocks of it, and leave before the last one. Nothing of a block is sent before it was
// checked, and the final dot only after everything was; an error means that
// the receiver saw no end of the message.
func writeBody(content relay.Content, send func([]byte) error, leave func() error) error {
	bufs := bodyBuffers.Get().(*[2][]byte)
	defer bodyBuffers.Put(bufs)
	if bufs[0] == nil {
		bufs[0], bufs[1] = make([]byte, bodyBlock), make([]byte, 0, bodyBlock+bodyBlock/8)
	}
	in, size := bufs[0], content.Size()
	var st stuffer
	out := bufs[1][:0]
	for off := int64(0); off < size; {
		n, err := content.ReadAt(in[:min(int64(len(in)), size-off)], off)
		if n == 0 {
			return fmt.Errorf("%w at octet %d of %d: %w", errRead, off, size, cmpErr(err))
		}
		off += int64(n)
		if out, err = st.stuff(out, in[:n]); err != nil {
			return err
		}
		if off < size {
			if err := send(out); err != nil {
				return err
			}
			out = out[:0]
		}
	}
	if size > 0 && !st.lineStart() {
		return fmt.Errorf("%w: the last one", errContent)
	}
	out = append(out, ".\r\n"...)
	bufs[1] = out[:0]
	if err := leave(); err != nil {
		return err
	}
	return send(out)
}

func cmpErr(err error) error {
	if err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// stuffer doubles dots at line starts and insists on CRLF, across blocks.
type stuffer struct {
	inLine bool // octets of an unfinished line went before
	cr     bool // the last of them was a CR
}

func (s *stuffer) lineStart() bool { return !s.inLine }

// stuff appends b to out.
func (s *stuffer) stuff(out, b []byte) ([]byte, error) {
	for len(b) > 0 {
		if !s.inLine && b[0] == '.' {
			out = append(out, '.')
		}
		i := bytes.IndexByte(b, '\n')
		line := b
		if i >= 0 {
			line = b[:i+1]
		}
		if !s.ok(line, i >= 0) {
			return out, fmt.Errorf("%w: %.80q", errContent, line)
		}
		out = append(out, line...)
		s.inLine = i < 0
		s.cr = line[len(line)-1] == '\r'
		b = b[len(line):]
	}
	return out, nil
}

// ok says whether a piece of a line, perhaps with its end, holds CR and LF
// only as CRLF.
func (s *stuffer) ok(piece []byte, whole bool) bool {
	if s.cr { // it may only go on with LF
		return len(piece) == 1 && whole
	}
	cr := bytes.IndexByte(piece, '\r')
	if whole {
		return cr == len(piece)-2 && cr >= 0
	}
	return cr < 0 || cr == len(piece)-1
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
