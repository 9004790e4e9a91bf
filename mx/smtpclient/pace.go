package smtpclient

import (
	"errors"
	"os"
	"time"
)

// minRate is the rate below which a body's time counts towards
// Timeouts.Session, in octets a second.
const minRate = 1 << 10

// paceBlock is how much of a block has to go before one deadline, in octets.
const paceBlock = 16 << 10

// pace writes a body block by block, with a deadline for every paceBlock of it; and
// each KiB that went buys a second of session.
type pace struct {
	c     *Conn
	start time.Time
	sent  int64
	limit time.Time // of the session, as it was before
	over  bool      // it was the session's limit that ended a write
}

func newPace(c *Conn) *pace {
	return &pace{c: c, start: time.Now(), limit: c.use.End}
}

// send writes a block. It has a deadline for each part of it that a slow receiver
// takes at a time.
func (p *pace) send(block []byte) error {
	for {
		by := time.Now().Add(p.c.Limits.Block)
		end := p.limit.Add(p.credit())
		last := end.Before(by)
		if last {
			by = end
		}
		p.c.writeBy(by)
		n, err := p.c.Nc.Write(block)
		p.sent += int64(n)
		late := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case err == nil:
			p.c.use.Progress.Heard()
			return nil
		case late && n >= paceBlock && p.limit.Add(p.credit()).After(time.Now()):
			p.c.use.Progress.Heard()
			block = block[n:]
		default:
			p.over = last && late
			return err
		}
	}
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
