package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dawk/queue"
	"dawk/relay/limits/share"
)

// keeper is the goroutine that beats, watches the other nodes, and looks at the database.
type keeper struct {
	q     *Store
	seen  map[int16]observation // of the others; made anew after every look that failed
	beat  time.Time             // of the last one
	check time.Time
	acked int64  // as the last beat told
	said  string // what is wrong with the database, as last logged
}

// observation is the last beat of another node, and when it was first seen.
type observation struct {
	epoch, n int64
	since    time.Time
}

type execer interface {
	Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
}

func newKeeper(q *Store) *keeper { return &keeper{q: q, seen: make(map[int16]observation)} }

func (k *keeper) run() {
	t := time.NewTicker(k.q.opt.Timing.Look)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-k.q.ending:
			return
		}
		if k.q.opt.pause != nil {
			k.q.opt.pause()
		}
		k.tick()
	}
}

// tick does what is due. The look at the others comes after the beat: who cannot beat
// must not judge.
func (k *keeper) tick() {
	q, now := k.q, time.Now()
	ctx, cancel := context.WithTimeout(q.ctx, 2*time.Second)
	defer cancel()
	if now.Sub(k.beat) >= q.opt.Timing.Beat || k.acked != q.opt.Shares.Acked() {
		if err := k.sendBeat(ctx); err != nil {
			k.failed(err)
			return
		}
		k.beat = now
	}
	if now.Sub(k.check) >= q.opt.Timing.Check {
		st, err := examine(ctx, q.beats)
		if err != nil {
			k.failed(err)
			return
		}
		k.check = now
		q.state.Store(st)
		if err := st.refuses(q.opt.AllowAsync); err != nil {
			k.say("the database is not as it must be: no mail is taken", err)
		} else {
			k.say("", nil)
		}
		if err := q.outbox.prune(ctx); err != nil {
			k.failed(err)
			return
		}
	}
	if err := k.look(ctx); err != nil {
		k.failed(err)
	}
}

// failed begins all observations anew: a beat that could not be read may have moved.
func (k *keeper) failed(err error) {
	if k.q.ctx.Err() != nil || errors.Is(err, queue.ErrReplaced) {
		return
	}
	clear(k.seen)
	k.say("the database cannot be asked", err)
}

// say logs what is wrong once, and that it is right again.
func (k *keeper) say(what string, err error) {
	text := what
	if err != nil {
		text += ": " + err.Error()
	}
	if text == k.said {
		return
	}
	if k.said = text; err != nil {
		k.q.log.Error(what, "error", err)
	} else {
		k.q.log.Info("the database is as it must be again")
	}
}

// sendBeat says that we live. The time is noted before it is sent: the others count
// from later.
func (k *keeper) sendBeat(ctx context.Context) error {
	q, began, acked := k.q, k.q.clock(), k.q.opt.Shares.Acked()
	b := &pgx.Batch{}
	b.Queue(`select set_config('synchronous_commit', 'local', true)`) // it must not wait for a standby
	b.Queue(`update dawk.beat b set n = b.n + 1, high = greatest(b.high, $3), told = greatest(b.told, $4), acked = $5 from dawk.node n
		where b.id = $1 and n.id = b.id and n.epoch = $2 and n.live`, q.node, q.epoch, q.highest(), q.outbox.toldTo(), acked)
	r := q.beats.SendBatch(ctx, b)
	defer r.Close()
	if _, err := r.Exec(); err != nil {
		return err
	}
	tag, err := r.Exec()
	if err != nil {
		return err
	}
	if tag.RowsAffected() == 0 {
		q.replaced()
		return queue.ErrReplaced
	}
	k.acked = acked
	q.beaten(began)
	return r.Close()
}

// node is a row of node with its beat.
type node struct {
	share.Member
	N    int64
	Turn int64 // of all nodes
	Name string
}

// part is a row of part.
type part struct {
	Part       int16
	Node, Want *int16
}

// look takes the work of the dead, and has the mover divide what there is.
func (k *keeper) look(ctx context.Context) error {
	q := k.q
	rows, err := q.beats.Query(ctx, `select n.id, n.epoch, n.live, b.acked, b.n, (select turn from dawk.cluster), n.name from dawk.node n join dawk.beat b using (id) order by 1`)
	if err != nil {
		return err
	}
	nodes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[node])
	if err != nil {
		return err
	}
	live := make(map[int16]bool)
	members, turn := make([]share.Member, 0, len(nodes)), int64(0)
	for i := range nodes {
		n := &nodes[i]
		members, turn = append(members, n.Member), n.Turn
		if n.ID == q.node {
			if n.Epoch != q.epoch || !n.Live {
				q.replaced()
				return queue.ErrReplaced
			}
		} else if n.Live && k.dead(n) {
			if err := q.takeOver(ctx, q.beats, *n); err != nil {
				return err
			}
			n.Live = false
		}
		live[n.ID] = n.Live
	}
	q.opt.Shares.Look(q.node, members, turn)
	if q.opt.Shares.TurnDue() {
		if _, err := q.beats.Exec(ctx, `update dawk.cluster set turn = turn + 1 where turn = $1`, turn); err != nil {
			return err
		}
	}
	if rows, err = q.beats.Query(ctx, `select part, node, want from dawk.part`); err != nil {
		return err
	}
	parts, err := pgx.CollectRows(rows, pgx.RowToStructByPos[part])
	if err != nil {
		return err
	}
	k.members(nodes, parts)
	select {
	case q.moves <- division{parts, live}:
	default: // it is still at work
	}
	return nil
}

// dead says whether a node's beat has not moved for long enough.
func (k *keeper) dead(n *node) bool {
	o, known := k.seen[n.ID]
	if !known || o.n != n.N || o.epoch != n.Epoch {
		k.seen[n.ID] = observation{epoch: n.Epoch, n: n.N, since: time.Now()}
		return false
	}
	return time.Since(o.since) >= k.q.opt.Timing.Dead
}

// takeOver ends the epoch of a dead node: it waits for the commits that hold its row,
// and none can follow. Its partitions are found by the same look.
func (q *Store) takeOver(ctx context.Context, c execer, dead node) error {
	terminate(ctx, c, dead.ID, dead.Epoch)
	tag, err := c.Exec(ctx, `update dawk.node set epoch = epoch + 1, live = false where id = $1 and epoch = $2 and live`, dead.ID, dead.Epoch)
	if err == nil {
		_, err = c.Exec(ctx, `update dawk.part set want = null where want = $1`, dead.ID)
	}
	if err == nil && tag.RowsAffected() > 0 {
		q.log.Warn("a node does not beat any more, and its work is taken", "node", dead.ID)
	}
	return err
}
