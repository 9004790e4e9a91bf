package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dawk/queue"
	"dawk/relay"
)

// As in boltstore, and for the same reasons; a round trip to two machines takes longer
// than a flush, so that groups come about by themselves.
const (
	maxGroup      = 1024
	maxGroupBytes = 8 << 20
	lazyWait      = 10 * time.Millisecond
	sendTimeout   = 20 * time.Second // for one pipeline
	fullWait      = 2 * time.Second  // before a full disk is tried again
)

// op is one operation: a new message or a settlement. done is called exactly once.
type op struct {
	in      *incoming         // a new message
	s       *relay.Settlement // or a settlement
	notices []*incoming       // of it
	bytes   int
	done    func(error)
	err     error      // why it alone was not done
	drawn   bool       // it has its events and its moment, which it keeps when it is sent again
	events  []eventRow // of it and its notices
	moment  uint64     // orders it in the history of its message
}

// writer is the one goroutine that changes what is ours.
type writer struct {
	q      *Store
	config *pgx.ConnConfig
	conn   *pgx.Conn
	pid    uint32 // of the backend of the last connection
	alone  bool   // the last commit did not wait for the standby
	in     chan *op
	ctl    chan func() // runs between two groups
	wake   chan struct{}

	mu   sync.Mutex
	lazy []*op
	down time.Time // since when the database does not answer; zero: it does

	full      atomic.Int64 // ns since the store was opened when the database's disk was last found full; 0: it is not
	retryAt   time.Time    // settlements wait until then
	abandoned []*op        // new mail that was refused while its commit was unknown: it is taken out when that is possible
}

func newWriter(q *Store, config *pgx.ConnConfig) *writer {
	w := &writer{q: q, config: config, in: make(chan *op, maxGroup), ctl: make(chan func()), wake: make(chan struct{}, 1)}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Routine == "SyncRepWaitForLSN" { // its text is in the server's language
			w.alone = true
		}
	}
	return w
}

// errAlone is a commit that the primary confirmed without its standby, because somebody
// cancelled the wait: it is made again, and that waits for both.
var errAlone = errors.New("the wait for the standby was cancelled")

func (w *writer) run() {
	defer func() {
		if w.conn != nil {
			w.conn.Close(context.Background())
		}
	}()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	armed := false
	for {
		select {
		case o := <-w.in:
			w.group(o)
		case f := <-w.ctl:
			f()
		case <-timer.C:
			armed = false
			w.group(nil)
		case <-w.wake:
		case <-w.q.ending:
			w.drain()
			return
		}
		switch n := w.waiting(); {
		case n+len(w.abandoned) == 0:
			timer.Stop()
			armed = false
		case !armed: // once: settlements that keep coming must not put it off
			timer.Reset(max(lazyWait, time.Until(w.retryAt)))
			armed = true
		case n >= maxGroup:
			timer.Reset(time.Until(w.retryAt))
		}
	}
}

// later hands over a settlement, which waits for others up to lazyWait.
func (w *writer) later(o *op) {
	w.mu.Lock()
	w.lazy = append(w.lazy, o)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lazy)
}

func (w *writer) downSince() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.down
}

func (w *writer) isDown(down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !down {
		w.down = time.Time{}
	} else if w.down.IsZero() {
		w.down = time.Now()
	}
}

// do runs f in the writer's goroutine, between two groups, or not at all, and waits for it.
func (w *writer) do(f func()) {
	ran := make(chan struct{})
	select {
	case w.ctl <- func() { defer close(ran); f() }:
		<-ran
	case <-w.q.ending:
	}
}

// group commits what waits: the settlements, and first and whatever has come meanwhile.
func (w *writer) group(first *op) {
	var ops []*op
	if time.Now().After(w.retryAt) {
		w.mu.Lock()
		n := min(len(w.lazy), maxGroup)
		ops = append(ops, w.lazy[:n]...)
		w.lazy = append(w.lazy[:0], w.lazy[n:]...)
		w.mu.Unlock()
	}
	if first != nil {
		ops = w.arrived(append(ops, first), first.bytes)
	}
	if len(ops) > 0 || len(w.abandoned) > 0 && time.Now().After(w.retryAt) {
		w.commit(ops, false)
	}
}

// arrived adds the operations that have come, and those of who was just answered and
// comes back at once.
func (w *writer) arrived(ops []*op, bytes int) []*op {
	for yields := 2; len(ops) < 2*maxGroup && bytes < maxGroupBytes; {
		select {
		case o := <-w.in:
			ops = append(ops, o)
			bytes += o.bytes
			continue
		default:
		}
		if yields == 0 {
			break
		}
		yields--
		runtime.Gosched()
	}
	return ops
}

// commit makes one transaction of ops and answers them. again says that they may have
// been done already.
func (w *writer) commit(ops []*op, again bool) {
	began := time.Now()
	g, again, err := w.try(&ops, again)
	switch {
	case err == nil:
		w.full.Store(0)
		w.retryAt = time.Time{}
		w.committed(g, ops, time.Since(began))
	case w.q.failed.Load() != nil || errors.Is(err, relay.ErrClosed):
		w.answer(ops, fmt.Errorf("%w: %w", relay.ErrClosed, err))
	case isFull(err):
		w.refuse(ops, err)
	case len(ops) > 1: // something in it cannot be stored: the others must not suffer
		w.commit(ops[:len(ops)/2], again)
		w.commit(ops[len(ops)/2:], again)
	default:
		w.q.log.Error("the database refuses an operation", "error", err)
		if again {
			err = fmt.Errorf("%w: %w", relay.ErrClosed, err)
			w.abandon(ops)
		}
		if len(w.abandoned) > 0 {
			w.retryAt = time.Now().Add(fullWait)
		}
		w.answer(ops, err)
	}
}

func isFull(err error) bool { return codeOf(err) == codeDiskFull || codeOf(err) == codeLimit }

// abandon remembers the new mail among ops, to take it out if it was stored.
func (w *writer) abandon(ops []*op) {
	for _, o := range ops {
		if o.in != nil {
			w.abandoned = append(w.abandoned, &op{in: &incoming{msg: o.in.msg}, events: o.events})
		}
	}
}

// answer says that ops were not done, or that this is not known.
func (w *writer) answer(ops []*op, err error) {
	for _, o := range ops {
		w.q.outbox.drop(o.events)
		o.done(err)
	}
}

func (w *writer) isFull(err error) {
	if w.full.Swap(int64(w.q.clock())) == 0 {
		w.q.log.Error("the database's disk is full: new mail is refused until there is room", "error", err)
	}
}

// refuse answers new mail on a full disk. Settlements, which make room, wait.
func (w *writer) refuse(ops []*op, err error) {
	w.isFull(err)
	w.retryAt = time.Now().Add(fullWait)
	var wait []*op
	for _, o := range ops {
		if o.s != nil {
			w.q.outbox.drop(o.events)
			o.drawn, o.events = false, nil // others may come before them
			wait = append(wait, o)
		} else {
			w.answer([]*op{o}, fmt.Errorf("%w: %w", relay.ErrNoSpace, err))
		}
	}
	w.mu.Lock()
	w.lazy = append(wait, w.lazy...)
	w.mu.Unlock()
}

// try makes ops durable, and sends them again while the outcome is unknown: whatever
// they do may be done twice. New mail whose time is up is refused and taken out of ops.
// An error says that nothing of ops was done, or wraps relay.ErrClosed, or unknown is true.
func (w *writer) try(ops *[]*op, again bool) (g *group, unknown bool, err error) {
	var known *view
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		if err = nil; g == nil {
			g, known, err = w.prepare(*ops, known)
		}
		if err == nil && !g.empty() {
			err = w.send(g, again)
		}
		switch {
		case err == nil:
			w.isDown(false)
			g.uncounted = again && w.q.recount(w.q.ctx) == nil
			return g, again, nil
		case codeOf(err) == codeFenced:
			w.q.replaced()
			return g, again, fmt.Errorf("%w: %w", queue.ErrReplaced, err)
		case w.q.ctx.Err() != nil:
			return g, again, fmt.Errorf("%w: %w", relay.ErrClosed, err)
		case codeOf(err) == codeNoStandby:
			if w.giveUp(ops, errors.New("the database has no synchronous standby any more")) {
				g = nil
			}
			continue
		case again && isFull(err):
			w.isFull(err)
		case !Unreachable(err) && !isConnect(err) && !errors.Is(err, errAlone):
			return g, again, err
		}
		again = true
		w.isDown(true)
		if w.hangUp(); !w.rest(pause) {
			return g, again, fmt.Errorf("%w: %w", relay.ErrClosed, err)
		}
		if time.Since(w.downSince()) > w.q.opt.Timing.GiveUp && w.giveUp(ops, fmt.Errorf("the database cannot be reached: %w", err)) {
			g = nil
		}
	}
}

// rest waits before the next try; false: there is to be none.
func (w *writer) rest(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-w.q.ctx.Done():
		return false
	}
}

// giveUp refuses the new mail among ops and what waits behind it.
func (w *writer) giveUp(ops *[]*op, err error) (changed bool) {
	err = fmt.Errorf("%w: %w", relay.ErrClosed, err)
	w.abandon(*ops)
	*ops = slices.DeleteFunc(slices.Clone(*ops), func(o *op) bool {
		if o.in == nil {
			return false
		}
		w.answer([]*op{o}, err)
		changed = true
		return true
	})
	for {
		select {
		case o := <-w.in:
			o.done(err)
			continue
		default:
		}
		return changed
	}
}

// committed counts what was done, and tells of it: Watch before those who wait, so that
// who waited for a settlement finds the Deliveries that parted in it on the schedule.
func (w *writer) committed(g *group, ops []*op, took time.Duration) {
	q := w.q
	q.commits.Add(1)
	q.operations.Add(int64(len(ops)))
	if q.opt.CommitSeconds != nil {
		q.opt.CommitSeconds(took)
	}
	if !g.uncounted {
		q.messages.Add(g.messages)
		q.deliveries.Add(g.deliveries)
	}
	for _, ref := range g.settled {
		q.cache.Settled(ref.key, ref.job)
	}
	for _, m := range g.fresh {
		q.cache.Add(m, time.Now())
	}
	q.tell(g.entries)
	q.outbox.committed(g.events)
	for _, o := range ops {
		o.done(o.err)
	}
}

// drain commits everything that was handed over before Close.
func (w *writer) drain() {
	for {
		w.retryAt = time.Time{}
		select {
		case o := <-w.in:
			w.group(o)
			continue
		default:
		}
		if w.waiting() == 0 {
			if len(w.abandoned) > 0 {
				w.commit(nil, false)
			}
			return
		}
		w.group(nil)
		if w.full.Load() != 0 || w.q.ctx.Err() != nil {
			w.mu.Lock()
			ops := w.lazy
			w.lazy = nil
			w.mu.Unlock()
			w.answer(ops, fmt.Errorf("%w: it is closed, and the database takes nothing", relay.ErrClosed))
		}
	}
}
