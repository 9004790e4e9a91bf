package smtpclient

import (
	"errors"
	"os"
	"time"
)

// minRate is the rate below which a body's time counts towards
// Timeouts.Session, in octets a second.
const minRate = 1 << 10

// pace writes a body block by block. Each block has its own deadline; and each
// KiB that went buys a second of session.
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

func (p *pace) send(block []byte) error {
	by := time.Now().Add(p.c.Limits.Block)
	end := p.limit.Add(p.credit())
	last := end.Before(by)
	if last {
		by = end
	}
	p.c.writeBy(by)
	n, err := p.c.Nc.Write(block)
	p.sent += int64(n)
	if err == nil {
		p.c.use.Progress.Heard()
	}
	p.over = last && errors.Is(err, os.ErrDeadlineExceeded)
	return err
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
