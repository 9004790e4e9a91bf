package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue"
	"dawk/relay"
)

// mover is the goroutine that takes and gives partitions: what it does may take long, and the
// keeper's beats must not wait for it.
type mover struct {
	q     *Store
	freed time.Time // since when it sees partitions that nobody alive has; zero: there are none
}

// division is who has which partition, as the keeper saw it.
type division struct {
	parts []part
	live  map[int16]bool
}

const (
	// othersTake is how long partitions of the dead are left to those who have fewer.
	othersTake = 2 * time.Second
	// forgetWithin is how long attempts that are under way may keep a partition from being
	// handed over.
	forgetWithin = 8 * time.Second
	// failedMove is how long the mover rests after an error.
	failedMove = time.Second
)

func (m *mover) run() {
	for {
		select {
		case d := <-m.q.moves:
			if err := m.share(d); err != nil && m.q.closedError() == nil {
				m.q.log.Warn("work of other nodes could not be taken; it is tried again", "error", err)
				m.q.w.rest(failedMove)
			}
		case <-m.q.ending:
			return
		}
	}
}

// share takes what nobody alive has, asks for what is fair, and lets go of what others
// wait for.
func (m *mover) share(d division) error {
	q, has := m.q, make(map[int16]int) // partitions of the living
	var ours []int16
	free := 0
	for id, is := range d.live {
		if is {
			has[id] = 0
		}
	}
	for _, p := range d.parts {
		switch {
		case p.Node == nil || !d.live[*p.Node]:
			free++
			continue
		case *p.Node == q.node:
			ours = append(ours, p.Part)
		}
		has[*p.Node]++
	}
	ctx, cancel := context.WithTimeout(q.ctx, time.Minute) // what is adopted may be much
	defer cancel()
	if most := m.mayTake(free, has); most > 0 && !q.leaving.Load() {
		err := pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) (err error) {
			if _, err = tx.Exec(ctx, `select dawk.fence($1, $2)`, q.node, q.epoch); err == nil {
				ours, err = q.unowned(ctx, tx, has[q.node]+most)
			}
			return err
		})
		if err != nil {
			return err
		}
		has[q.node] = len(ours)
	}
	if err := q.adopt(ctx, ours); err != nil {
		return err
	}
	if err := q.outbox.adopt(ctx); err != nil {
		return err
	}
	divide := m.ask
	if q.leaving.Load() {
		divide = m.offer
	}
	if err := divide(ctx, d.parts, has); err != nil {
		return err
	}
	m.giveAway(ctx, d.parts)
	return nil
}

// mayTake is how many of the free partitions are for us: a fair share, and all of them when the
// others have not taken theirs.
func (m *mover) mayTake(free int, has map[int16]int) int {
	if free == 0 {
		m.freed = time.Time{}
		return 0
	}
	if m.freed.IsZero() {
		m.freed = time.Now()
	}
	if time.Since(m.freed) >= othersTake {
		return free
	}
	n := max(1, len(has))
	return min(free, (queue.Partitions+n-1)/n-has[m.q.node])
}

// ask wants partitions of who has more than a fair share, if we have less than one.
func (m *mover) ask(ctx context.Context, parts []part, has map[int16]int) error {
	q, fair := m.q, queue.Partitions/max(1, len(has))
	missing := fair - has[q.node]
	for _, p := range parts {
		if p.Want != nil && *p.Want == q.node {
			missing--
		}
	}
	var wanted []int16
	for _, p := range parts {
		if missing > len(wanted) && p.Want == nil && p.Node != nil && has[*p.Node] > fair {
			has[*p.Node]--
			wanted = append(wanted, p.Part)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	_, err := q.pool.Exec(ctx, `update dawk.part set want = $1 where part = any($2) and want is null`, q.node, wanted)
	return err
}

// giveAway hands over the partitions that others have wanted for a while, in which no new
// mail has gone meanwhile.
func (m *mover) giveAway(ctx context.Context, parts []part) {
	q := m.q
	var rested []int16
	q.mu.Lock()
	for _, p := range parts {
		o := &q.owned[p.Part]
		if !o.ours || p.Want == nil {
			o.wanted = 0
			continue
		}
		if o.wanted != *p.Want {
			o.wanted, o.since = *p.Want, time.Now()
		} else if time.Since(o.since) >= q.opt.Timing.Rest || q.leaving.Load() {
			rested = append(rested, p.Part)
		}
	}
	q.mu.Unlock()
	if len(rested) == 0 {
		return
	}
	q.close(rested, true)
	q.w.do(func() {}) // what is on its way into them is in them now
	if q.opt.Forget == nil || q.forget(ctx, rested) {
		q.w.do(func() { q.handOver(rested) })
	}
	q.close(rested, false)
}

// forget has the scheduler give up what lies in partitions. If it does not, it is told
// of all that again.
func (q *Store) forget(ctx context.Context, parts []int16) bool {
	ctx, cancel := context.WithTimeout(ctx, forgetWithin)
	defer cancel()
	err := q.opt.Forget(ctx, func(id relay.QueueID) bool { return slices.Contains(parts, partOf(id.Key)) })
	if err != nil {
		q.log.Info("attempts that are under way keep partitions from being handed over; it is tried again", "error", err)
		q.untold = append(q.untold, parts...)
	}
	return err == nil
}

// close refuses new mail into some partitions that are ours, or takes it again.
func (q *Store) close(parts []int16, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range parts {
		if q.owned[p].ours {
			q.owned[p].closed = closed
		}
	}
}

// handOver gives parts to who wants them: where the scheduler could not be asked, only
// those that are empty. It runs in the writer's goroutine, and returns when it knows
// which are still ours.
func (q *Store) handOver(parts []int16) {
	try := func(f func(ctx context.Context) error) error {
		ctx, cancel := context.WithTimeout(q.ctx, sendTimeout)
		defer cancel()
		return f(ctx)
	}
	err := try(func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
			b := &pgx.Batch{}
			b.Queue(`select dawk.fence($1, $2)`, q.node, q.epoch)
			b.Queue(`update dawk.part p set node = want, want = null where part = any($1) and node = $2 and want in (select id from dawk.node where live)
				and ($3 or not exists (select from dawk.job j where j.part = p.part) and not exists (select from dawk.digest d where d.part = p.part))`,
				parts, q.node, q.opt.Forget != nil)
			return tx.SendBatch(ctx, b).Close()
		})
	})
	if err != nil {
		q.log.Warn("partitions that another node wants could not be handed over", "error", err)
	}
	var ours []int16
	for {
		err := try(func(ctx context.Context) error {
			rows, err := q.pool.Query(ctx, `select part from dawk.part where part = any($1) and node = $2`, parts, q.node)
			if err == nil {
				ours, err = pgx.CollectRows(rows, pgx.RowTo[int16])
			}
			return err
		})
		if err == nil {
			break
		}
		if !q.w.rest(time.Second) {
			return
		}
	}
	q.mu.Lock()
	for _, p := range parts {
		if !slices.Contains(ours, p) {
			q.owned[p] = ownership{}
		}
	}
	q.mu.Unlock()
	if q.opt.Forget != nil {
		q.untold = append(q.untold, ours...)
	}
	if err := q.recount(q.ctx); err != nil {
		q.log.Warn("the statistics count mail that another node has now", "error", err)
	}
}
