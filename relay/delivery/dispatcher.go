package delivery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
)

const (
	// settleRoom is how many attempts may have ended without being settled yet. Settlements wait up to
	// 10 ms to share a commit and hold no connection meanwhile; but each is a message that would be
	// sent twice after a crash.
	settleRoom = 256
	// maxNoticing is how many delay notices are written at once: enough to share commits, and few
	// compared with the attempts.
	maxNoticing = 16
	// longestWait bounds the sleep between looks at the clock: a machine that
	// slept, or whose clock was set, is noticed within a minute.
	longestWait = time.Minute
	// lookEvery is how often attempts are checked while others wait: one whose host does not answer
	// may have to give up its slot.
	lookEvery = time.Second
	// settleGrace is how long a stop waits for settlements once no attempt
	// runs any more, or for attempts that were told to end.
	settleGrace = 1500 * time.Millisecond
)

// Dispatcher gives every Delivery its attempts until it is settled. Its
// methods may be called from any goroutine.
type Dispatcher struct {
	cfg       Config
	queue     Queue
	transport Transport
	observer  relay.Observer
	rules     atomic.Pointer[rules]

	transcripts transcripts

	ready   chan struct{} // closed when the store is loaded
	wakeup  chan struct{} // of the loop in Run; holds one
	stopped chan struct{} // closed when nothing new begins
	giveUp  chan struct{} // closed when a stop no longer waits

	attempts       context.Context // of all attempts
	cancelAttempts context.CancelFunc
	wg             sync.WaitGroup // of all that are out
	workers        chan work      // the next attempt, for an idle worker
	lists          chan struct{}  // held by whoever writes lists of notices, or keeps them from being written

	mu       sync.Mutex
	sched    *schedule.Schedule
	clock    *clock
	loaded   bool
	stopping bool
	armed    int64                            // when the loop looks again
	watched  int64                            // when the watchdog looked last
	noticing int                              // messages whose delay notice is being written
	waiting  map[schedule.Ref][]chan handover // operators' acts on entries that are out
	flying   map[schedule.Ref]*admission      // attempts, until their slots are given back
	count    counters
}

// counters only ever grow.
type counters struct {
	attempts uint64 // ended
	corrupt  uint64 // Deliveries taken off the schedule because their record, or the content of their message, is damaged
	stranded uint64 // Deliveries that the watchdog found without a next event
	unsaved  uint64 // settlements that failed and were tried again
}

// New makes a dispatcher and lets q tell it of new Deliveries from now on;
// nothing is attempted before Run. Observer may be nil.
func New(cfg Config, q Queue, t Transport, observer relay.Observer) *Dispatcher {
	cfg = cfg.withDefaults()
	cfg.Notices.Item, cfg.Notices.NextID, cfg.Notices.Log = q.Item, q.NextID, cfg.Log
	if observer == nil {
		observer = relay.Observers{}
	}
	d := &Dispatcher{
		cfg: cfg, queue: q, transport: t, observer: observer,
		ready: make(chan struct{}), wakeup: make(chan struct{}, 1), stopped: make(chan struct{}),
		giveUp: make(chan struct{}), workers: make(chan work), lists: make(chan struct{}, 1),
		clock: newClock(), armed: math.MaxInt64, waiting: make(map[schedule.Ref][]chan handover), flying: make(map[schedule.Ref]*admission),
	}
	d.rules.Store(newRules(cfg, notices.New(cfg.Notices)))
	cfg.Schedule.Retry = d.rules.Load().settler.retry
	cfg.Schedule.Limits, cfg.Schedule.Clock = cfg.Limits, d.clock.at
	d.sched = schedule.New(cfg.Schedule)
	d.attempts, d.cancelAttempts = context.WithCancel(context.Background())
	q.Watch(d.watch)
	return d
}

// rules are the values that Reconfigure changes.
type rules struct {
	settler settler
	notices *notices.Notices
}

func newRules(cfg Config, n *notices.Notices) *rules {
	return &rules{settler{retry: schedule.Retry{Steps: cfg.Retry, Rand: cfg.Rand}, maxAge: cfg.MaxAge, delayNotice: cfg.DelayNotice}, n}
}

// Reconfigure puts the retry schedule, the lifetime, the notices and the number of
// attempts of cfg in force, for whatever ends from now on; what waits keeps the
// time of its next attempt. All else stays as New was given it.
func (d *Dispatcher) Reconfigure(cfg Config) {
	cfg = cfg.withDefaults()
	next := newRules(cfg, d.rules.Load().notices.With(cfg.Notices))
	next.settler.retry.Rand = d.cfg.Rand
	d.rules.Store(next)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.Schedule.Attempts = cfg.Schedule.Attempts
	d.sched.Configure(cfg.Schedule.Attempts, next.settler.retry)
	d.pump()
}

// Reallow asks Config.Limits again what providers take. Attempts that hold more connections go on:
// see Excess.
func (d *Dispatcher) Reallow() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sched.Reallow()
	d.pump()
}

// Excess is how many attempts hold a connection beyond what their providers take now. With cut they
// end, and do not count as attempts; but not those that have sent their final dot.
func (d *Dispatcher) Excess(cut bool) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !cut {
		return d.sched.Excess(nil)
	}
	return d.sched.Excess(func(r schedule.Ref) bool { return d.flying[r].progress.Cut() })
}

// After Drain nothing becomes due any more. What is due already, and what follows from it, is still
// attempted; Left says how much that is.
func (d *Dispatcher) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sched.Freeze()
	d.wake()
}

// Left is how many Deliveries are due or under way.
func (d *Dispatcher) Left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sched.Left(d.clock.now())
}

// Ready is closed when the whole store is loaded and attempts begin.
func (d *Dispatcher) Ready() <-chan struct{} { return d.ready }

// Run loads the store and dispatches until ctx ends. Then it starts nothing
// more, gives running attempts Config.Grace, ends their contexts, and returns
// when all that was begun is settled. It is called once.
//
// An error means that the store could not be loaded, or that attempts did not
// end; what was not settled is attempted again after the next start.
func (d *Dispatcher) Run(ctx context.Context) error {
	if err := d.load(ctx); err != nil {
		return errors.Join(err, d.stop())
	}
	if ctx.Err() != nil { // stopped during the load
		return d.stop()
	}
	close(d.ready)
	timer := time.NewTimer(longestWait)
	defer timer.Stop()
	for {
		timer.Reset(d.tick())
		select {
		case <-timer.C:
		case <-d.wakeup:
		case <-ctx.Done():
			return d.stop()
		}
	}
}

// tick does what is due and says how long the loop may sleep.
func (d *Dispatcher) tick() time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchdog()
	d.armed = math.MinInt64 // the loop is awake: pump need not wake it
	d.pump()
	now := d.clock.now()
	next := d.sched.NextEvent(d.noticing < maxNoticing)
	if d.giveUpSlots(now) {
		next = min(next, now+lookEvery.Microseconds())
	}
	if at := d.rules.Load().notices.Next(d.clock.wall); !at.IsZero() && len(d.lists) == 0 && d.loaded && !d.stopping {
		if next = min(next, d.clock.at(at)); !at.After(d.clock.wall) {
			select {
			case d.lists <- struct{}{}:
				d.wg.Add(1)
				go d.list()
			default: // whoever took it meanwhile wakes the loop
			}
		}
	}
	wait := time.Duration(min(max(next-now, 0), longestWait.Microseconds())) * time.Microsecond
	d.armed = now + wait.Microseconds()
	return wait
}

// watchdog looks, once a minute, for destinations whose turn would never come. Only a defect of
// ours causes that; their mail is then sent all the same.
func (d *Dispatcher) watchdog() {
	now := d.clock.now()
	if now < d.watched+longestWait.Microseconds() {
		return
	}
	d.watched = now
	d.sched.Sweep(now)
	if n := d.sched.Rescue(); n > 0 {
		d.count.stranded += uint64(n)
		d.cfg.Log.Error("the watchdog found deliveries that would never have been attempted; please report this", "deliveries", n)
	}
}

// pump starts every attempt that may begin now. The caller holds the lock.
func (d *Dispatcher) pump() {
	if !d.loaded || d.stopping {
		return
	}
	now := d.clock.now()
	d.sched.Advance(now)
	for d.noticing < maxNoticing { // before attempts: in a full queue it is about the oldest
		all := d.sched.TakeNotices(now)
		if all == nil {
			break
		}
		d.noticing++
		d.wg.Add(len(all))
		works := make([]work, len(all))
		for i, a := range all {
			works[i] = d.workOn(a.Ref)
			works[i].was.First = a.Ready
		}
		go d.tellDelay(works)
	}
	for d.sched.InHand() < d.cfg.Schedule.Attempts+settleRoom {
		slot := d.sched.Take(now)
		if slot == nil {
			break
		}
		d.wg.Add(1)
		w := d.workOn(slot.Ref)
		w.admission = d.board(slot)
		d.start(w)
	}
	if d.sched.NextEvent(d.noticing < maxNoticing) < d.armed {
		d.wake()
	}
}

// work is an entry that was taken off the schedule, for the goroutine that owns it.
type work struct {
	r         schedule.Ref
	id        relay.QueueID
	job       uint16
	was       schedule.State // what it goes back to if nothing comes of it
	admission *admission     // of an attempt, until its slot is given back
}

func (d *Dispatcher) workOn(r schedule.Ref) work {
	id, job := d.sched.Delivery(r)
	return work{r: r, id: id, job: job, was: d.sched.StateOf(r)}
}

// release ends the work on an entry. If an operator's act waits for the entry, the act gets it
// next.
func (d *Dispatcher) release(w work, f schedule.State) {
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.waiting[w.r]
	switch {
	case f.Gone:
		for _, next := range queue {
			next <- handover{}
		}
		delete(d.waiting, w.r)
		d.sched.Put(w.r, f, d.clock.now())
	case len(queue) > 0:
		w.was = f
		if d.waiting[w.r] = queue[1:]; len(queue) == 1 {
			delete(d.waiting, w.r)
		}
		queue[0] <- handover{work: w, ok: true}
	default:
		d.sched.Put(w.r, f, d.clock.now())
	}
	d.pump()
}

// list writes the lists of failures that got no notice of their own.
func (d *Dispatcher) list() {
	defer d.wg.Done()
	defer func() {
		<-d.lists
		d.wake()
	}()
	for l, err := range d.rules.Load().notices.Lists(time.Now().Round(0), d.queue.DigestRows()) {
		if err == nil {
			acceptedNotices(l.Event.Time, l.Settlement.Notices)
			err = d.commit(l.Settlement)
		}
		if err != nil {
			d.cfg.Log.Error("a list of notices cannot be written; trying again", "error", err)
			break
		}
		d.observer.Observe(l.Event)
	}
}

// wake has the loop of Run look again, if it is not awake.
func (d *Dispatcher) wake() {
	select {
	case d.wakeup <- struct{}{}:
	default:
	}
}

// stop ends the work that was begun.
func (d *Dispatcher) stop() error {
	d.mu.Lock()
	d.stopping = true
	close(d.stopped)
	d.mu.Unlock()
	idle := make(chan struct{})
	go func() { d.wg.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-time.After(d.cfg.Grace):
	}
	d.cancelAttempts()
	select {
	case <-idle:
	case <-time.After(settleGrace):
	}
	close(d.giveUp)
	select {
	case <-idle:
		return nil
	case <-time.After(settleGrace):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Errorf("delivery: %d attempts did not end when told to; they are made again after the next start", d.sched.InHand())
}

func (d *Dispatcher) counted(change func(*counters)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(&d.count)
}
