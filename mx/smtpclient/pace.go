package smtpclient

import (
	"errors"
	"os"
	"time"
)

// minRate is the rate below which a body's time counts towards
// Timeouts.Session, in octets a second.
const minRate = 1 << 10

// A body begins with pieces of slowPiece octets, and they double while each goes
// within fastPiece: fewer system calls, and a slow receiver still has a deadline for
// each slowPiece.
const (
	slowPiece = 16 << 10
	fastPiece = time.Second
)

// pace writes a body block by block, each piece of it with its own deadline; and
// each KiB that went buys a second of session.
type pace struct {
	c     *Conn
	start time.Time
	piece int // octets of the next write
	sent  int64
	limit time.Time // of the session, as it was before
	over  bool      // it was the session's limit that ended a write
}

func newPace(c *Conn) *pace {
	return &pace{c: c, start: time.Now(), piece: slowPiece, limit: c.use.End}
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
	}
	return nil
}

func (p *pace) credit() time.Duration {
	return time.Duration(p.sent/minRate) * time.Second
}

// end gives the session the time back that the body took, as far as it moved.
func (p *pace) end() {
	if p.over {
		p.c.use.End = time.Now()
		return
	}
	p.c.use.End = p.limit.Add(min(p.credit(), time.Since(p.start)))
}
