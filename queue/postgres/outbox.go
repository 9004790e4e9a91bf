package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue"
	"dawk/queue/record"
	"dawk/relay"
)

// eventsAtOnce is how many events one page of Outbox.Events has.
const eventsAtOnce = 256

// outbox is the queue.Outbox in the table event, of the events of this node. The writer's
// goroutine alone gives numbers, so that they grow in the order of the commits.
type outbox struct {
	q *Store

	mu     sync.Mutex
	limits relay.OutboxLimits
	last   uint64 // number that was given to an event
	bytes  int64  // of all rows
	told   uint64
	lost   uint64
	lostAt time.Time
	watch  func()

	looked time.Time // for events of the dead; the mover's
}

// Outbox implements queue.Store.
func (q *Store) Outbox() queue.Outbox { return &q.outbox }

// load reads how far the numbers are.
func (o *outbox) load(ctx context.Context) error {
	return o.q.pool.QueryRow(ctx, `select coalesce(max(n), 0), coalesce(sum(length(row)), 0) from dawk.event where node = $1`, o.q.node).Scan(&o.last, &o.bytes)
}

// SetLimits implements queue.Outbox.
func (o *outbox) SetLimits(l relay.OutboxLimits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.limits = l
}

// Watch implements queue.Outbox.
func (o *outbox) Watch(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watch = f
}

// Last implements queue.Outbox.
func (o *outbox) Last() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// Told implements queue.Outbox.
func (o *outbox) Told(number uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = max(o.told, number)
}

func (o *outbox) toldTo() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(o.told)
}

// OutboxStats implements queue.Outbox.
func (o *outbox) OutboxStats() queue.OutboxStats {
	o.mu.Lock()
	defer o.mu.Unlock()
	return queue.OutboxStats{Bytes: o.bytes, Lost: o.lost, LostAt: o.lostAt}
}

// eventRow is an event on its way into the table.
type eventRow struct {
	n   uint64
	row []byte
}

// of are the events of an operation, which get their numbers once.
func (o *outbox) of(op *op) []eventRow {
	if !op.drawn {
		op.drawn = true
		if op.in != nil {
			op.events = o.rows(nil, op.in.told)
		} else {
			for _, n := range op.notices {
				op.events = o.rows(op.events, n.told)
			}
			op.events = o.rows(op.events, op.s.Events)
		}
	}
	return op.events
}

// rows gives numbers to those of events that are kept. What there is no room for is lost,
// and mail goes on.
func (o *outbox) rows(all []eventRow, events []relay.Event) []eventRow {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.limits.MaxBytes <= 0 {
		return all
	}
	for i := range events {
		if !slices.Contains(relay.OutboxKinds(), events[i].Kind) {
			continue
		}
		n := o.next()
		row := record.AppendEvent(nil, eventKey(n), &events[i])
		if o.bytes+int64(len(row)) > o.limits.MaxBytes {
			o.lost++
			o.lostAt = time.Now()
			continue
		}
		o.last = n
		o.bytes += int64(len(row))
		all = append(all, eventRow{n, row})
	}
	return all
}

// next is the next number. No other node gives the same one, so that what it makes an ID of is
// one event's alone.
func (o *outbox) next() uint64 {
	n := max(o.last+1, uint64(time.Now().UnixMicro()))
	return n + (uint64(o.q.node)+256-n%256)%256
}

// adopt has this node tell what dead ones had still to tell. It is for the mover.
func (o *outbox) adopt(ctx context.Context) error {
	if time.Since(o.looked) < o.q.opt.Timing.Check {
		return nil
	}
	for more := true; more; {
		var left bool
		if err := o.q.pool.QueryRow(ctx, `select exists (`+untold+`)`).Scan(&left); err != nil {
			return err
		}
		more = false
		if !left {
			break
		}
		var err error
		// No number may become visible after a higher one.
		o.q.w.do(func() { more, err = o.renumber(ctx) })
		if err != nil {
			return err
		}
	}
	o.looked = time.Now()
	return nil
}

// untold are the events that dead nodes had still to tell.
const untold = `select e.node, e.n, length(e.row) from dawk.event e join dawk.beat b on b.id = e.node join dawk.node d on d.id = e.node
	where not d.live and e.n > b.told`

// renumber gives some of them to this node, and says whether there were any.
func (o *outbox) renumber(ctx context.Context) (some bool, err error) {
	var nodes []int16
	var were, are []int64
	var bytes int64
	last := o.Last()
	err = pgx.BeginFunc(ctx, o.q.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select dawk.fence($1, $2)`, o.q.node, o.q.epoch); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, untold+` order by e.node, e.n limit 10000 for update of e`)
		if err != nil {
			return err
		}
		var node int16
		var n, size int64
		o.mu.Lock()
		defer o.mu.Unlock()
		if _, err = pgx.ForEachRow(rows, []any{&node, &n, &size}, func() error {
			o.last = o.next()
			nodes, were, are = append(nodes, node), append(were, n), append(are, int64(o.last))
			bytes += size
			return nil
		}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `update dawk.event e set node = $1, n = u.now, id = coalesce(e.id, e.n)
			from unnest($2::smallint[], $3::bigint[], $4::bigint[]) as u(node, n, now) where e.node = u.node and e.n = u.n`, o.q.node, nodes, were, are)
		return err
	})
	if err != nil || len(are) == 0 {
		return false, err
	}
	o.q.log.Info("events that a dead node had still to tell are told by this one", "events", len(are))
	o.mu.Lock()
	o.bytes += bytes
	watch := o.watch
	o.mu.Unlock()
	if watch != nil && o.Last() > last {
		watch()
	}
	return true, nil
}

// drop gives back the room of events that were not kept. Their numbers are not used again.
func (o *outbox) drop(rows []eventRow) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range rows {
		o.bytes -= int64(len(e.row))
	}
}

func eventKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// committed wakes who waits for events.
func (o *outbox) committed(rows []eventRow) {
	o.mu.Lock()
	watch := o.watch
	o.mu.Unlock()
	if watch != nil && len(rows) > 0 {
		watch()
	}
}

// prune takes out what everybody was told of and what is old, or in the way. The newest
// stays: its number is where the next process goes on.
func (o *outbox) prune(ctx context.Context) error {
	o.mu.Lock()
	told, limits, bytes := o.told, o.limits, o.bytes
	o.mu.Unlock()
	if told == 0 {
		return nil
	}
	before := time.Now().Add(-limits.Keep)
	if bytes > limits.MaxBytes/8*7 { // before new events are lost
		before = time.Now()
	}
	b := &pgx.Batch{}
	b.Queue(`select set_config('synchronous_commit', 'local', true)`) // where the standby is away it must not wait
	b.Queue(`with gone as (delete from dawk.event where node = $3 and n in
		(select n from dawk.event where node = $3 and n <= $1 and at < $2 and n < (select max(n) from dawk.event where node = $3) order by n limit 10000) returning length(row) as l)
		select coalesce(sum(l), 0) from gone`, int64(told), before, o.q.node)
	b.Queue(`delete from dawk.event e using dawk.node d, dawk.beat b where d.id = e.node and b.id = d.id and not d.live and e.n <= b.told and e.at < $1`, time.Now().Add(-limits.Keep))
	r := o.q.beats.SendBatch(ctx, b)
	_, err := r.Exec()
	var gone int64
	if err == nil {
		err = r.QueryRow().Scan(&gone)
	}
	if e := r.Close(); err == nil {
		err = e
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= gone
	return err
}

// Events implements queue.Outbox.
func (o *outbox) Events(after uint64) iter.Seq2[relay.OutboxEvent, error] {
	return func(yield func(relay.OutboxEvent, error) bool) {
		for {
			page, err := o.page(after)
			if err != nil {
				yield(relay.OutboxEvent{}, fmt.Errorf("read the outbox: %w", err))
				return
			}
			for _, e := range page {
				if after = e.Number; !yield(e, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (o *outbox) page(after uint64) (all []relay.OutboxEvent, err error) {
	ctx, cancel := context.WithTimeout(o.q.ctx, readTimeout)
	defer cancel()
	rows, err := o.q.pool.Query(ctx, `select n, coalesce(id, n), row from dawk.event where node = $3 and n > $1 order by n limit $2`, int64(after), eventsAtOnce, o.q.node)
	if err != nil {
		return nil, err
	}
	var n, id int64
	var row []byte
	_, err = pgx.ForEachRow(rows, []any{&n, &id, &row}, func() error {
		e, err := record.DecodeEvent(eventKey(uint64(id)), row)
		if err != nil {
			o.q.log.Error("an event in the outbox cannot be read", "number", n)
			return nil
		}
		all = append(all, relay.OutboxEvent{Number: uint64(n), ID: "evt_" + o.q.name(uint64(id)).String(), Event: e})
		return nil
	})
	return all, err
}
