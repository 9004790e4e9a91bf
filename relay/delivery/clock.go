package delivery

import "time"

// clock is the time that due times are compared with: microseconds of the Unix
// epoch that never go back. When the machine's clock is set back by an hour,
// what was due in five minutes is still due in five minutes. When it is set
// forward, or the machine slept, what has become due is due.
type clock struct {
	started time.Time // with its monotonic reading
	wall    time.Time // at the last look
	mono    time.Duration
	skew    time.Duration // how far the machine's clock was set back in all
}

// stepBack is how far the two readings must differ to count as a clock that was set back; less is
// the slewing of an ordinary time daemon.
const stepBack = time.Second

func newClock() *clock {
	now := time.Now()
	return &clock{started: now, wall: now.Round(0)}
}

// now reads the machine's clock.
func (c *clock) now() int64 {
	t := time.Now()
	return c.look(t.Round(0), t.Sub(c.started))
}

// look processes one reading of the wall clock and of the monotonic clock.
func (c *clock) look(wall time.Time, mono time.Duration) int64 {
	if lost := (mono - c.mono) - wall.Sub(c.wall); lost > stepBack {
		c.skew += lost
	}
	c.wall, c.mono = wall, mono
	return c.at(wall)
}

// at converts a time of the wall clock to this clock.
func (c *clock) at(wall time.Time) int64 { return wall.Add(c.skew).UnixMicro() }

// wallTime is the reverse of at.
func (c *clock) wallTime(us int64) time.Time { return time.UnixMicro(us).Add(-c.skew) }
