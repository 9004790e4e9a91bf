package common

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/relay/limits"
)

// Purses hold what we have taken of limits ahead of its use, so that whoever schedules need not wait
// for the database.
type Purses struct {
	c   *Common
	log *slog.Logger

	mu    sync.Mutex
	by    map[string]*purse // by the name of the limit
	asked chan struct{}     // somebody wants more
}

// purse is what we have of one limit.
type purse struct {
	limit limits.Limit
	has   int       // that nobody has used
	owed  int       // that was used without asking, and is not counted yet
	slot  int64     // in which has was taken
	until time.Time // it may be used
	next  time.Time // before that there is no more
	want  int       // 0: nothing is asked for
	chunk int       // that was taken last
}

const (
	// soon is how long who asked waits before he looks again.
	soon = 10 * time.Millisecond
	// failed is how long nobody asks after an error.
	failed = time.Second
	// part of a limit that is taken ahead at most.
	part = 16
	// maxIdle is how many purses are remembered.
	maxIdle = 10_000
)

// NewPurses makes empty ones. log: what the database says.
func NewPurses(c *Common, log *slog.Logger) *Purses {
	return &Purses{c: c, log: log, by: make(map[string]*purse), asked: make(chan struct{}, 1)}
}

// Counts are the quotas of users in the same database.
func (p *Purses) Counts() *Common { return p.c }

// Take takes n of a limit, or says when there may be so many. It does not wait.
func (p *Purses) Take(l limits.Limit, n int) (wait time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(l, n, n)
}

// Has says when there may be something of a limit; zero: there is.
func (p *Purses) Has(l limits.Limit) (wait time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.take(l, 1, 0)
}

// take needs some, and takes n of them.
func (p *Purses) take(l limits.Limit, need, n int) time.Time {
	now := time.Now()
	o := p.of(l)
	if o.owed == 0 && o.has >= need && now.Before(o.until) {
		o.has -= n
		return time.Time{}
	}
	if now.Before(o.next) {
		return o.next
	}
	p.ask(o, need)
	return now.Add(soon)
}

// Owe counts n that were used without asking.
func (p *Purses) Owe(l limits.Limit, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.of(l)
	if o.has >= n && time.Now().Before(o.until) {
		o.has -= n
		return
	}
	o.owed += n
	p.ask(o, 0)
}

func (p *Purses) of(l limits.Limit) *purse {
	o := p.by[l.Name]
	if o == nil {
		if len(p.by) >= maxIdle {
			for name, other := range p.by { // what it has stays counted as used
				if other.owed == 0 && other.want == 0 && time.Now().After(other.until) {
					delete(p.by, name)
				}
			}
		}
		o = &purse{}
		p.by[l.Name] = o
	}
	o.limit = l
	return o
}

func (p *Purses) ask(o *purse, need int) {
	o.want = max(o.want, need, 1)
	select {
	case p.asked <- struct{}{}:
	default:
	}
}

// Run asks the database for what is wanted, until ctx ends.
func (p *Purses) Run(ctx context.Context) {
	for {
		select {
		case <-p.asked:
		case <-ctx.Done():
			return
		}
		for _, o := range p.wanting() {
			if err := p.fill(ctx, o); err != nil && ctx.Err() == nil {
				p.log.Warn("a limit that machines count together cannot be asked for; its mail waits", "limit", o.limit.Name, "error", err)
			}
		}
	}
}

func (p *Purses) wanting() (all []*purse) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.by {
		if o.want > 0 {
			all = append(all, o)
		}
	}
	return all
}

// fill asks for one purse. What was left of the last time is given back: it may not be used any
// more.
func (p *Purses) fill(ctx context.Context, o *purse) error {
	p.mu.Lock()
	l, began := o.limit, time.Now()
	most := max(1, l.Most/part)
	if o.chunk -= o.has; o.has == 0 { // all was used: this time it may be more
		o.chunk = min(2*o.chunk, most)
	}
	want, owed, back, slot := max(o.want, o.chunk), o.owed, o.has, o.slot
	o.has, o.owed, o.want = 0, 0, 0
	p.mu.Unlock()

	granted, slot, wait, err := p.c.take(ctx, l, want, owed, back, slot)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		o.owed += owed // what was to be given back stays counted
		o.next = time.Now().Add(failed)
		return err
	}
	o.has, o.slot, o.chunk, o.until = granted, slot, granted, began.Add(l.Slot())
	o.next = time.Time{}
	if granted < want {
		o.next = began.Add(max(soon, min(wait, time.Minute)))
	}
	return nil
}

func (c *Common) take(ctx context.Context, l limits.Limit, want, owed, back int, backSlot int64) (granted int, slot int64, wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var ms int64
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(local)
		b.Queue(`select granted, slot, wait from dawk.take($1, $2, $3, $4, $5, $6, $7)`, l.Name, l.Most, l.Per.Milliseconds(), want, owed, back, backSlot).
			QueryRow(func(r pgx.Row) error { return r.Scan(&granted, &slot, &ms) })
		return tx.SendBatch(ctx, b).Close()
	})
	return granted, slot, time.Duration(ms) * time.Millisecond, err
}
