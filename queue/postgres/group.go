package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"dawk/queue/change"
	"dawk/queue/recent"
	"dawk/queue/record"
	"dawk/relay"
)

// ref names a Delivery.
type ref struct {
	key uint64
	job uint16
}

// view is what a group needs to know of what is stored.
type view struct {
	jobs map[ref]*relay.Delivery
	next map[uint64]int // number of the next Delivery that parts; only where some do
	bad  map[ref]error
}

// group is what one transaction changes.
type group struct {
	q *Store
	*view

	in      []*incoming
	mail    bool                    // some of it is new, not a notice
	put     map[ref]*relay.Delivery // nil: it has ended
	parted  map[uint64]int          // changed numbers of view.next
	history []histRow
	rows    []relay.DigestRow
	listed  []uint64
	events  []eventRow
	undo    []*op // messages that were refused while their commit was unknown

	entries              []relay.Entry
	settled              []ref
	fresh                []*recent.Message
	messages, deliveries int64 // more or less than before
	uncounted            bool  // they were counted otherwise
}

type histRow struct {
	ref
	n   uint64
	row []byte
}

// prepare works out what ops change. What must be read for it is read once and comes
// back as known for another try.
func (w *writer) prepare(ops []*op, known *view) (*group, *view, error) {
	if known == nil {
		var err error
		if known, err = w.look(ops); err != nil {
			return nil, nil, err
		}
	}
	g := &group{q: w.q, view: &view{jobs: make(map[ref]*relay.Delivery), next: known.next, bad: known.bad},
		put: make(map[ref]*relay.Delivery), parted: make(map[uint64]int), undo: w.abandoned}
	for r, d := range known.jobs {
		g.jobs[r] = d
	}
	for _, o := range ops {
		if o.in != nil {
			g.mail = true
			o.err = g.insert(o.in)
		} else {
			o.err = g.settle(o)
		}
		if o.err == nil {
			g.events = append(g.events, g.q.outbox.of(o)...)
		}
	}
	return g, known, nil
}

// look reads the Deliveries that ops settle, but for those of mail that was just
// accepted and never settled.
func (w *writer) look(ops []*op) (*view, error) {
	v := &view{jobs: make(map[ref]*relay.Delivery), next: make(map[uint64]int), bad: make(map[ref]error)}
	var parts []int16
	var keys []int64
	var jobs []int32
	var splits []int64
	for _, o := range ops {
		if o.s == nil || o.s.ID.IsZero() {
			continue
		}
		r := ref{o.s.ID.Key, o.s.Job}
		if _, d := w.q.cache.Get(r.key, r.job); d != nil {
			v.jobs[r] = d
		} else {
			parts, keys, jobs = append(parts, partOf(r.key)), append(keys, int64(r.key)), append(jobs, int32(r.job))
		}
		if len(o.s.Split) > 0 {
			splits = append(splits, int64(r.key))
		}
	}
	if len(keys)+len(splits) == 0 {
		return v, nil
	}
	ctx, cancel := context.WithTimeout(w.q.ctx, sendTimeout)
	defer cancel()
	c, err := w.connected(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.readJobs(ctx, c, w.q.dirID, parts, keys, jobs); err != nil {
		return nil, err
	}
	return v, v.readNext(ctx, c, splits)
}

func (v *view) readJobs(ctx context.Context, c *pgx.Conn, dir uint32, parts []int16, keys []int64, jobs []int32) error {
	rows, err := c.Query(ctx, `select j.key, j.job, j.row from dawk.job j
		join unnest($1::smallint[], $2::bigint[], $3::int[]) as u(part, key, job) on j.part = u.part and j.key = u.key and j.job = u.job`, parts, keys, jobs)
	if err != nil {
		return err
	}
	var key int64
	var job int32
	var row []byte
	_, err = pgx.ForEachRow(rows, []any{&key, &job, &row}, func() error {
		r := ref{uint64(key), uint16(job)}
		d, err := record.DecodeDelivery(record.DeliveryKey(r.key, r.job), row, dir)
		if err != nil {
			v.bad[r] = fmt.Errorf("%w: its row in job", relay.ErrCorrupt)
			return nil
		}
		v.jobs[r] = d
		return nil
	})
	return err
}

// readNext reads how many Deliveries messages have had.
func (v *view) readNext(ctx context.Context, c *pgx.Conn, keys []int64) error {
	if len(keys) == 0 {
		return nil
	}
	rows, err := c.Query(ctx, `select key, max(n) from (
		select key, n from dawk.hist where key = any($1) and job = 65535 union all
		select key, job + 1 from dawk.job where part = any(array(select k & 255 from unnest($1::bigint[]) k)) and key = any($1) union all
		select key, job + 1 from dawk.hist where key = any($1) and job < 65535) x group by key`, keys)
	if err != nil {
		return err
	}
	var key, n int64
	_, err = pgx.ForEachRow(rows, []any{&key, &n}, func() error {
		v.next[uint64(key)] = int(n)
		return nil
	})
	return err
}

func (g *group) empty() bool {
	return len(g.events)+len(g.in)+len(g.put)+len(g.history)+len(g.rows)+len(g.listed)+len(g.undo) == 0
}

// incoming is a message on its way into the store: nothing about it can be wrong any more.
type incoming struct {
	msg   *relay.Message
	head  []byte // of its row
	body  []byte // nil: in chunks
	large relay.Content
	jobs  []*relay.Delivery
	told  []relay.Event
	cache *recent.Message
}

// chunkSize is how many octets of a large body are one row.
const chunkSize = 256 << 10

// incoming makes the row of a message.
func (q *Store) incoming(msg *relay.Message, c relay.Content) (*incoming, error) {
	m, jobs, err := change.Accepted(msg, q.opt.Destination)
	if err != nil {
		return nil, err
	}
	in := &incoming{msg: m, jobs: jobs, told: msg.Events}
	l := record.Layout{File: c.Size(), Deliveries: len(jobs)}
	if l.FileCRC, err = checksum(c); err != nil {
		return nil, err
	}
	if c.Size() > int64(q.opt.InlineLimit) {
		in.large = c
	} else {
		in.body = make([]byte, c.Size())
		if _, err := io.ReadFull(io.NewSectionReader(c, 0, c.Size()), in.body); err != nil {
			return nil, err
		}
	}
	in.head = record.EncodeMessage(m, l, nil)
	if in.large == nil {
		byJob := make(map[uint16]*relay.Delivery, len(jobs))
		for _, d := range jobs {
			byJob[d.Job] = d
		}
		in.cache = &recent.Message{Msg: m, Head: in.body, Layout: l, Jobs: byJob}
	}
	return in, nil
}

// errElsewhere is an operation on what another node owns.
var errElsewhere = errors.New("another node has this part of the queue")

func (g *group) insert(in *incoming) error {
	if !g.q.takes(in.msg.ID.Key) {
		return errElsewhere
	}
	g.in = append(g.in, in)
	g.messages++
	for _, d := range in.jobs {
		g.add(d)
	}
	if in.cache != nil {
		g.fresh = append(g.fresh, in.cache)
	}
	return nil
}

func (g *group) add(d *relay.Delivery) {
	g.put[ref{d.ID.Key, d.Job}] = d
	g.jobs[ref{d.ID.Key, d.Job}] = d
	g.deliveries++
	g.entries = append(g.entries, d.Entry)
}

// settle works out what a settlement changes: all of it, or nothing and an error.
func (g *group) settle(o *op) error {
	s := o.s
	for _, n := range o.notices {
		if !g.q.takes(n.msg.ID.Key) {
			return errElsewhere
		}
	}
	if !s.ID.IsZero() {
		if err := g.advance(o); err != nil {
			return err
		}
	}
	for _, n := range o.notices {
		g.insert(n)
	}
	g.rows = append(g.rows, s.Rows...)
	for _, id := range s.Listed {
		if id.Dir == g.q.dirID {
			g.listed = append(g.listed, id.Key)
		}
	}
	return nil
}

func (g *group) advance(o *op) error {
	s := o.s
	r := ref{s.ID.Key, s.Job}
	if err := g.bad[r]; err != nil {
		return err
	}
	stored := g.jobs[r]
	if stored == nil || s.ID.Dir != g.q.dirID {
		return relay.ErrNotFound
	}
	if !g.q.owns(r.key) {
		return errElsewhere
	}
	d := *stored
	d.Open = append([]relay.Open(nil), stored.Open...)
	parted, err := change.Advance(&d, s, func() int { return g.nextJob(r.key) })
	if err != nil {
		return err
	}
	for _, p := range parted {
		g.add(p)
		g.parted[r.key] = int(p.Job) + 1
	}
	if len(d.Open) > 0 {
		g.put[r], g.jobs[r] = &d, &d
	} else {
		g.put[r] = nil
		delete(g.jobs, r)
		g.deliveries--
	}
	if a, ok := change.History(s); ok {
		if o.moment == 0 {
			o.moment = g.q.moments.Next() // grows, and stays the same when this is sent again
		}
		n := o.moment
		g.history = append(g.history, histRow{r, n, record.EncodeAttempt(record.AttemptKey(r.key, r.job, uint32(n)), &a)})
	}
	g.settled = append(g.settled, r)
	return nil
}

// nextJob is the lowest number that no Delivery of the message ever had.
func (g *group) nextJob(key uint64) int {
	n := max(g.next[key], g.parted[key])
	for r := range g.jobs {
		if r.key == key {
			n = max(n, int(r.job)+1)
		}
	}
	return n
}
