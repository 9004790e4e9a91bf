package smtpclient

import (
	"errors"
	"os"
	"time"
)

// minRate is the rate below which a body's time counts towards
// Timeouts.Session, in octets a second.
const minRate = 1 << 10

// The first body on a connection begins with pieces of slowPiece octets. They double while each is
// written within fastPiece: that saves system calls, and a slow receiver still has a deadline for
// each slowPiece. The last piece, after which the attempt cannot be cut any more, has at most
// lastPiece.
const (
	slowPiece = 16 << 10
	lastPiece = 64 << 10
	fastPiece = time.Second
)

// pace writes a body block by block, each piece with its own deadline; each KiB written extends the
// session by a second.
type pace struct {
	c     *Conn
	start time.Time
	piece int // octets of the next write
	sent  int64
	limit time.Time // of the session, as it was before
	over  bool      // a write ended because of the session's limit
}

func newPace(c *Conn) *pace {
	return &pace{c: c, start: time.Now(), piece: max(slowPiece, c.piece), limit: c.use.End}
}

func (p *pace) send(block []byte) error {
	for len(block) > 0 {
		piece, began := block[:min(len(block), p.piece)], time.Now()
		by := began.Add(p.c.Limits.Block)
		end := p.limit.Add(p.credit())
		last := end.Before(by)
		if last {
			by = end
		}
		p.c.writeBy(by)
		n, err := p.c.Nc.Write(piece)
		p.sent += int64(n)
		if err != nil {
			p.over = last && errors.Is(err, os.ErrDeadlineExceeded)
			return err
		}
		p.c.use.Progress.Heard()
		block = block[n:]
		if p.piece = min(2*p.piece, bodyBlock); time.Since(began) > fastPiece {
			p.piece = slowPiece
		}
		p.c.piece = p.piece
	}
	return nil
}

func (p *pace) credit() time.Duration {
	return time.Duration(p.sent/minRate) * time.Second
}

// end gives back to the session the time that the body took while it moved.
func (p *pace) end() {
	if p.over {
		p.c.use.End = time.Now()
		return
	}
	p.c.use.End = p.limit.Add(min(p.credit(), time.Since(p.start)))
}
