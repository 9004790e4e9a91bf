package boltstore

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"dawk/queue/boltstore/datadir"
	"dawk/queue/boltstore/space"
	"dawk/queue/journal"
	"dawk/relay"
)

// Measured (docs/internals/queue.md): larger groups gain nothing and delay small
// messages behind big ones; more lazy operations a commit slow the enqueues.
const (
	maxGroup      = 1024
	maxGroupBytes = 8 << 20
	lazyShare     = 256  // settlements a commit while enqueues wait
	lazyAlone     = 2000 // settlements a commit while none does
	lazyWait      = 10 * time.Millisecond
)

// op is one operation. Its apply runs in the write transaction, possibly
// again after a rollback; an error that it returns concerns this operation
// alone, and then it has written nothing. done is called exactly once.
type op struct {
	id    uint64
	job   uint16
	bytes int
	frees int  // 1: it frees room, and comes first on a full disk
	spool bool // the name of its spool file must be made durable
	apply func(*txn) error
	done  func(error)
	err   error
}

// writer is the one goroutine that owns every write transaction.
type writer struct {
	q    *Store
	in   chan *op
	ctl  chan func() // runs between two groups
	wake chan struct{}
	quit chan struct{}
	idle chan struct{} // closed when the goroutine has ended

	mu   sync.Mutex
	lazy []*op

	ops     []*op     // the group that is being collected, settlements apart
	applied int       // of them, those that are in the transaction
	bytes   int       // of content in them
	yields  int       // left to this group
	retryAt time.Time // settlements wait until then: the disk is full
	fits    int       // settlements a commit, while the disk is full; 0: it is not
	dead    bool      // the disk is not trusted any more

	open       datadir.Tables // the transaction that the next groups go into; zero: begin begins one
	j          *journal.Journal
	runID      uint64 // of our generations
	file       *space.File
	rows       int64          // messages that came since the last checkpoint and are still there
	rec        journal.Record // of the group under way
	stuckUntil time.Time      // a checkpoint found the disk full; zero: none did
	touched    touched

	panicked bool // inside bbolt, which may never release its locks
}

func newWriter(q *Store) *writer {
	return &writer{
		q:    q,
		in:   make(chan *op, maxGroup),
		ctl:  make(chan func()),
		wake: make(chan struct{}, 1),
		quit: make(chan struct{}),
		idle: make(chan struct{}),
		j:    journal.New(q.opt.Dir, q.hook),
		file: space.NewFile(q.path(), q.opt.MaxSize),
	}
}

func (w *writer) Run() {
	defer close(w.idle)
	// A page of a damaged file can point anywhere: a fault becomes a panic,
	// which ends the transaction and not the process.
	debug.SetPanicOnFault(true)
	timer, tidy := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	timer.Stop()
	tidy.Stop()
	armed, tidying := false, false
	for {
		select {
		case o := <-w.in:
			w.group(o)
		case f := <-w.ctl:
			f()
		case <-timer.C:
			armed = false
			w.group(nil)
		case <-tidy.C:
			tidying = false
			w.tidy(true)
			w.rec = journal.Record{} // it is as large as the largest group
		case <-w.wake:
		case <-w.quit:
			w.drain()
			return
		}
		switch n := w.waiting(); {
		case n == 0:
			timer.Stop()
			armed = false
		case !w.retryAt.IsZero():
			timer.Reset(time.Until(w.retryAt))
			armed = true
		case n >= lazyShare:
			timer.Reset(0)
			armed = true
		case !armed:
			timer.Reset(lazyWait)
			armed = true
		}
		if w.grown(); w.j.Records() > 0 && !tidying && !w.dead {
			tidy.Reset(max(checkpointAfter, time.Until(w.stuckUntil)))
			tidying = true
		}
	}
}

// group commits what waits: settlements first, and then first and whatever
// has come meanwhile, each put into the transaction as it comes, so that the
// time that this takes is time for the others to arrive.
func (w *writer) group(first *op) {
	w.ops, w.applied, w.bytes, w.yields = w.ops[:0], 0, 0, 2
	if first != nil {
		w.add(first)
	}
	var lazies []*op
	if now := time.Now(); w.retryAt.IsZero() || !now.Before(w.retryAt) {
		w.retryAt = time.Time{}
		share := lazyAlone
		if first != nil {
			share = lazyShare
		}
		if w.fits > 0 {
			share = min(share, w.fits)
			if n := w.freeingFirst(); n > 0 {
				share = min(share, n) // one that adds something would hold them up
			}
		}
		lazies = w.takeLazy(share)
	}
	if len(w.ops)+len(lazies) > 0 {
		w.commit(lazies)
	}
	clear(w.ops)
}

func (w *writer) add(o *op) {
	w.ops = append(w.ops, o)
	w.bytes += o.bytes
}

// arrived takes the operations that have come since it was last called. None
// closes the group, after two runtime.Gosched in which those who were just
// answered can come back with their next message, and never after a timer: a
// wait of half a millisecond costs a single client three quarters of its rate.
func (w *writer) arrived() []*op {
	for len(w.ops) < maxGroup && w.bytes < maxGroupBytes {
		select {
		case o := <-w.in:
			w.add(o)
			continue
		default:
		}
		if len(w.ops) > w.applied || w.yields == 0 {
			break
		}
		w.yields--
		runtime.Gosched()
	}
	batch := w.ops[w.applied:]
	w.applied = len(w.ops)
	return batch
}

// commit tries all together. On a full disk the enqueues are refused and the
// settlements, which free space, go on alone.
func (w *writer) commit(lazies []*op) {
	began, more := time.Now(), w.arrived
	if !w.stuckUntil.IsZero() {
		w.refuse(fmt.Errorf("%w: what is in the journal does not fit queue.db", relay.ErrNoSpace))
		if more = none; len(lazies) == 0 {
			return
		}
	}
	err := w.try(lazies, more)
	took := time.Since(began)
	switch {
	case err == nil:
		w.fitted(len(lazies))
	case space.RolledBack(err):
		w.q.space.SetFull(err)
		w.settleFull(lazies, w.refuse(fmt.Errorf("%w: %w", relay.ErrNoSpace, err)) == 0, took)
	case errors.Is(err, errNames):
		w.refuse(err)
		w.settleFull(lazies, false, 0)
	default:
		w.fail(append(w.ops, lazies...), err)
	}
}

// refuse answers the operations of the group that are not settlements with the error, and returns
// their number.
func (w *writer) refuse(err error) (n int) {
	for _, o := range w.ops {
		o.done(err)
	}
	n = len(w.ops)
	clear(w.ops)
	w.ops = w.ops[:0]
	return n
}

// fail ends the writer: the outcome of the transaction is unknown, and after a failed sync nothing
// in this file can be trusted, so nothing is tried again.
func (w *writer) fail(ops []*op, err error) {
	w.dead = true
	if !w.panicked {
		w.rollback()
	}
	w.q.distrust(err)
	err = fmt.Errorf("%w: %w", relay.ErrClosed, err)
	for _, o := range ops {
		o.done(err)
	}
}

// try makes one transaction of ops, and of those that more gives until it has
// none, and answers them if it is durable. An error means that none was
// answered.
func (w *writer) try(ops []*op, more func() []*op) (err error) {
	if w.dead {
		return errDistrusted
	}
	began := time.Now()
	t, err := w.transact(&ops, more)
	if err != nil {
		return err
	}
	w.q.counted(len(ops), time.Since(began))
	t.committed()
	// Told before the answers: who waited for a settlement finds the Deliveries
	// that parted in it on the schedule.
	if len(t.entries) > 0 && w.q.watch != nil {
		w.q.watch(t.entries)
	}
	for _, o := range ops {
		o.done(o.err)
	}
	if err := w.q.hook("answered"); err != nil {
		w.q.distrust(err)
	}
	return nil
}

func none() []*op { return nil }

// transact applies ops, adds and applies what more gives, and makes it durable.
// Names of spool files come before that: a record must never be durable before
// the file that it names. After an error nothing of it is in the open transaction.
func (w *writer) transact(ops *[]*op, more func() []*op) (t *txn, err error) {
	err = w.guarded(func() error {
		if err := w.begin(); err != nil {
			return err
		}
		t = w.newTxn()
		*ops = t.applyAll(*ops, more)
		if err := w.syncNames(*ops); err != nil {
			return err
		}
		if w.q.outbox.Stage(t.events, t.lost); !t.dirty {
			w.q.outbox.Publish()
			return nil
		}
		if err := w.q.hook("commit"); err != nil {
			return err
		}
		if err := w.keep(t); err != nil {
			return err
		}
		return w.q.hook("committed")
	})
	return t, err
}

// guarded runs f, which changes the open transaction. After an error nothing of
// it is in there.
func (w *writer) guarded(f func() error) error {
	panicked, err := datadir.Catch(f)
	if panicked {
		w.panicked, w.open = true, datadir.Tables{}
	} else if err != nil {
		w.rollback()
	}
	return err
}

// applyAll applies ops, and those that more gives until it has none, and returns
// all of them.
func (t *txn) applyAll(ops []*op, more func() []*op) []*op {
	all := slices.Clone(ops)
	for batch := all; ; {
		slices.SortStableFunc(batch, func(a, b *op) int {
			return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.job, b.job))
		})
		for _, o := range batch {
			o.err = o.apply(t)
		}
		next := more()
		if len(next) == 0 {
			return all
		}
		all = append(all, next...)
		batch = all[len(all)-len(next):]
	}
}

// drain commits everything that was handed over before Close. Settlements
// that do not fit a full disk are told so: their Deliveries will be tried
// again after the next start.
func (w *writer) drain() {
	for {
		select {
		case o := <-w.in:
			w.group(o)
			continue
		case f := <-w.ctl:
			f()
			continue
		default:
		}
		w.retryAt = time.Time{}
		if w.waiting() == 0 {
			return
		}
		w.group(nil)
		if w.retryAt.IsZero() {
			continue
		}
		for _, o := range w.takeLazy(w.waiting()) {
			o.done(fmt.Errorf("%w: it is closed, and the disk is full", relay.ErrClosed))
		}
	}
}

// do runs f in the writer's goroutine, between two groups.
func (w *writer) do(f func()) error {
	ran := make(chan struct{})
	select {
	case w.ctl <- func() { defer close(ran); f() }:
		<-ran
		return nil
	case <-w.idle:
		return relay.ErrClosed
	}
}

var errDistrusted = errors.New("the disk failed before and is no longer trusted")
