package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dawk/queue"
	"dawk/queue/postgres/dsn"
	"dawk/queue/recent"
	"dawk/relay"
	"dawk/relay/limits/share"
)

// Options of a store.
type Options struct {
	DSN        string // a URL or keywords, as libpq reads them; several hosts allowed
	Dir        string // of this machine: a file in it tells nodes apart, and large drafts lie there while they come
	Node       int    // our number; 0: the lowest that is free
	Name       string // of this machine, for people
	Version    string // of dawk, for people
	AllowAsync bool   // a database without a synchronous standby will do
	Sole       bool   // join only while no other node is alive: one works, and another machine stands by

	InlineLimit int // octets of content that are one value, larger content is many; 0: 256 KiB
	Cache       int // memory for mail that was just accepted; 0: 8 MiB, negative: none

	// Destination names what a recipient's Delivery shares: "route:<name>" or
	// a domain. nil: the domain.
	Destination func(*relay.Message, relay.Path) string
	Log         *slog.Logger // nil: none
	// Fatal is called once, with an error that wraps queue.ErrReplaced, when other nodes have
	// taken the work of this one: the program should end and be started again. It must
	// not call the Store.
	Fatal func(error)
	// Adopted is called when rows of lists (DigestRows) may have become ours. It must not
	// block. nil: nobody asks.
	Adopted func()
	// Forget gives up what matches, so that another node can have it: see the dispatcher's.
	// nil: only what is empty is handed over.
	Forget func(ctx context.Context, match func(relay.QueueID) bool) error
	// CommitSeconds is told how long each commit took.
	CommitSeconds func(time.Duration)
	// Shares is kept up to date with who is a node, for limits of all together; it is made anew for each
	// Store. nil: nobody asks.
	Shares *share.Shares
	// Timing is for tests; zero: as documented at timing.
	Timing Timing
	pause  func() // for tests: called before each look at the others
}

// Store is the store. Its methods may be called by several goroutines.
type Store struct {
	opt   Options
	log   *slog.Logger
	dirID uint32
	home  string
	node  int16
	epoch int64

	pool    *pgxpool.Pool // for all but the writer and the keeper
	beats   *pgxpool.Pool // one connection, the keeper's: a beat must not wait for those who read
	w       *writer
	k       *keeper
	moves   chan division // for the mover
	ids     queue.IDs     // under mu
	moments queue.IDs     // order histories
	cache   *recent.Cache
	outbox  outbox
	watch   func([]relay.Entry)

	mu     sync.Mutex
	owned  [queue.Partitions]ownership
	untold []int16 // partitions that are ours and that Watch was not told all of; the mover's goroutine's
	turn   int     // partition that the next ID is looked for from

	messages, deliveries, aside atomic.Int64
	commits, operations         atomic.Int64
	lastBeat                    atomic.Int64                        // ns of the monotonic clock since opened
	state                       atomic.Pointer[state]               // of the database
	nodes                       atomic.Pointer[[]relay.ClusterNode] // as the keeper last saw them
	opened                      time.Time

	gate    sync.RWMutex // held by those who hand something to the writer
	failed  atomic.Pointer[error]
	leaving atomic.Bool // partitions are given away, and none are taken
	ending  chan struct{}
	cancel  context.CancelFunc
	ctx     context.Context
	done    sync.WaitGroup
	endOnce sync.Once
	ended   error
}

// Open connects, makes the schema if there is none, and joins the nodes. A database that
// cannot be reached is an error that Unreachable recognises. Otherwise the error wraps
// queue.ErrHeld where another relay uses the number, or queue.ErrNewer, or says what the
// database lacks.
func Open(ctx context.Context, opt Options) (*Store, error) {
	if opt.InlineLimit == 0 {
		opt.InlineLimit = 256 << 10
	}
	if opt.Cache == 0 {
		opt.Cache = 8 << 20
	}
	if opt.Destination == nil {
		opt.Destination = func(_ *relay.Message, p relay.Path) string { return p.Domain() }
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Adopted == nil {
		opt.Adopted = func() {}
	}
	if opt.Shares == nil {
		opt.Shares = share.New(nil)
	}
	opt.Timing.complete()
	q := &Store{opt: opt, log: opt.Log, opened: time.Now(), ending: make(chan struct{}), moves: make(chan division), cache: recent.New(opt.Cache)}
	q.outbox.q = q
	q.ctx, q.cancel = context.WithCancel(context.Background())
	if err := q.open(ctx); err != nil {
		q.cancel()
		q.closePools()
		return nil, fmt.Errorf("the queue in PostgreSQL: %w", err)
	}
	return q, nil
}

func (q *Store) open(ctx context.Context) error {
	if err := os.MkdirAll(q.opt.Dir, 0o700); err != nil {
		return err
	}
	var err error
	if q.home, err = homeOf(q.opt.Dir); err != nil {
		return err
	}
	config, err := dsn.Parse(q.opt.DSN)
	if err != nil {
		return err
	}
	c, err := pgx.ConnectConfig(ctx, config.Copy())
	if codeOf(err) == codeProtocol { // not wrapped: waiting would not help
		return fmt.Errorf("a pooler such as PgBouncer answers there, which does not keep the settings of a session; name the servers themselves in dsn_file: %v", err)
	} else if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	st, err := examine(ctx, c)
	if err != nil {
		return err
	}
	if err := st.refuses(q.opt.AllowAsync); err != nil {
		return err
	}
	q.state.Store(st)
	if q.dirID, err = prepareSchema(ctx, c); err != nil {
		return err
	}
	if err := q.join(ctx, c); err != nil {
		return err
	}
	return q.start(ctx, config)
}

// start opens the connections that stay, loads what is ours, and starts the goroutines.
func (q *Store) start(ctx context.Context, config *pgx.ConnConfig) (err error) {
	config.RuntimeParams["application_name"] = q.session()
	pc, err := pgxpool.ParseConfig("")
	if err != nil {
		return err
	}
	pc.ConnConfig, pc.MaxConns, pc.MinIdleConns = config.Copy(), 6, 1
	if q.pool, err = pgxpool.NewWithConfig(ctx, pc); err != nil {
		return err
	}
	own := pc.Copy()
	own.MaxConns = 1
	if q.beats, err = pgxpool.NewWithConfig(ctx, own); err != nil {
		return err
	}
	if err := q.recount(ctx); err != nil {
		return err
	}
	if err := q.outbox.load(ctx); err != nil {
		return err
	}
	q.w = newWriter(q, config)
	q.k = newKeeper(q)
	q.done.Go(q.w.run)
	q.done.Go(q.k.run)
	q.done.Go((&mover{q: q}).run)
	return nil
}

func (q *Store) closePools() {
	for _, p := range []*pgxpool.Pool{q.pool, q.beats} {
		if p != nil {
			p.Close()
		}
	}
}

// Pool are connections to the database, for what the nodes know together beside the queue.
func (q *Store) Pool() *pgxpool.Pool { return q.pool }

// session names our connections: a takeover ends those of the dead.
func (q *Store) session() string { return sessionName(q.node, q.epoch) }

func sessionName(node int16, epoch int64) string { return fmt.Sprintf("dawk/%d/%d", node, epoch) }

// count adds what lies in some partitions to the statistics.
func (q *Store) count(ctx context.Context, parts []int16) error {
	var messages, deliveries, aside int64
	err := q.pool.QueryRow(ctx, `select count(distinct key), count(*), (select count(*) from dawk.aside) from dawk.job where part = any($1)`, parts).
		Scan(&messages, &deliveries, &aside)
	if err == nil {
		q.messages.Add(messages)
		q.deliveries.Add(deliveries)
		q.aside.Store(aside)
	}
	return err
}

// recount makes the statistics anew. It runs where nothing else changes them: in the
// writer's goroutine.
func (q *Store) recount(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	messages, deliveries := q.messages.Load(), q.deliveries.Load()
	if err := q.count(ctx, q.parts()); err != nil {
		return err
	}
	q.messages.Add(-messages)
	q.deliveries.Add(-deliveries)
	return nil
}

// NextID reserves a queue ID in one of our partitions, in turn. It is never given
// again; it is zero while none is ours.
func (q *Store) NextID() relay.QueueID {
	q.mu.Lock()
	defer q.mu.Unlock()
	at := -1
	for i := range queue.Partitions {
		p := (q.turn + i) % queue.Partitions
		if o := q.owned[p]; o.ours {
			if at = p; o.wanted == 0 {
				break
			}
		}
	}
	if at < 0 {
		return relay.QueueID{}
	}
	q.turn = (at + 1) % queue.Partitions
	return relay.QueueID{Key: q.ids.NextIn(uint8(at)), Dir: q.dirID}
}

// Watch sets who is told of Deliveries that become ours: after the commit that made
// them, or when the work of another node was taken. It must not block.
func (q *Store) Watch(f func([]relay.Entry)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch = f
}

func (q *Store) tell(entries []relay.Entry) {
	q.mu.Lock()
	watch := q.watch
	q.mu.Unlock()
	if watch != nil && len(entries) > 0 {
		watch(entries)
	}
}

// Stats are as of now, of this node.
func (q *Store) Stats() queue.Stats {
	return queue.Stats{Messages: q.messages.Load(), Deliveries: q.deliveries.Load(), Quarantined: q.aside.Load(),
		Commits: q.commits.Load(), Operations: q.operations.Load(), Waiting: q.w.waiting()}
}

// Room says why new mail would be refused: the database has no room, has lost its
// standby, or has not answered for a while.
func (q *Store) Room() error {
	if err := q.closedError(); err != nil {
		return err
	}
	// Now and then a message is let through to see, or nothing would where none waits.
	if at := time.Duration(q.w.full.Load()); at != 0 && q.clock()-at < fullWait {
		return fmt.Errorf("%w: the database says that its disk is full", relay.ErrNoSpace)
	}
	if since := q.w.downSince(); !since.IsZero() && time.Since(since) > q.opt.Timing.GiveUp {
		return errors.New("the database cannot be reached")
	}
	if q.hasNone() {
		return errNoPart
	}
	return q.state.Load().refuses(q.opt.AllowAsync)
}

// closedError is nil while the store takes operations.
func (q *Store) closedError() error {
	if why := q.failed.Load(); why != nil {
		return fmt.Errorf("%w: %w", relay.ErrClosed, *why)
	}
	select {
	case <-q.ending:
		return relay.ErrClosed
	default:
		return nil
	}
}

// replaced ends the use of this store: it owns nothing any more.
func (q *Store) replaced() {
	err := fmt.Errorf("node %d: %w", q.node, queue.ErrReplaced)
	if q.failed.CompareAndSwap(nil, &err) && q.opt.Fatal != nil {
		q.opt.Fatal(err)
	}
}

// Close commits what was handed over and leaves the nodes, so that others may take the
// mail at once. A database that cannot be reached is waited for no longer than 5 s.
func (q *Store) Close() error {
	q.endOnce.Do(func() {
		late := time.AfterFunc(5*time.Second, q.cancel) // before the gate: who is in it may wait for the writer
		q.gate.Lock()
		close(q.ending)
		q.gate.Unlock()
		q.done.Wait()
		if q.failed.Load() == nil {
			q.ended = q.leave()
		}
		late.Stop()
		q.cancel()
		q.closePools()
	})
	return q.ended
}

// crash is for tests: what is under way is never heard of again.
func (q *Store) crash() {
	q.endOnce.Do(func() {
		q.cancel()
		q.gate.Lock()
		close(q.ending)
		q.gate.Unlock()
		q.done.Wait()
		q.closePools()
	})
}

// clock is the time since the store was opened, which only this process reads.
func (q *Store) clock() time.Duration { return time.Since(q.opened) }

// beaten notes that the others have seen us at a time of clock, or later.
func (q *Store) beaten(at time.Duration) {
	q.lastBeat.Store(int64(at))
	q.opt.Shares.Renew(q.opened.Add(at + q.opt.Timing.Begin))
}

// seen says whether our beat is fresh enough for an attempt to begin.
func (q *Store) seen() bool {
	return q.clock()-time.Duration(q.lastBeat.Load()) < q.opt.Timing.Begin
}
