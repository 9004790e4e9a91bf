package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue"
	"dawk/relay"
)

// highAhead is how far the keys that a node may give are written ahead, so that who
// takes its work never gives one twice, whatever its clock says.
const highAhead = 10 * time.Second

// homeFile is the file in Options.Dir that says which directory it is.
const homeFile = "postgres.home"

// homeOf names a data directory: by chance, since two machines may have the same paths
// and the same configuration, and by the machine, since directories are copied.
func homeOf(dir string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, homeFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(data) == 0 {
		data = []byte(rand.Text() + "\n")
		err = os.WriteFile(path, data, 0o600)
	}
	return host + ":" + strings.TrimSpace(string(data)), err
}

// join gives this process a number and an epoch of its own, and what nobody has. Whoever
// was here under the number before can commit nothing more.
func (q *Store) join(ctx context.Context, c *pgx.Conn) error {
	if q.opt.Sole {
		// Until c is closed nobody else joins, so that of two who wait one comes in.
		var first bool
		if err := c.QueryRow(ctx, `select pg_try_advisory_lock($1)`, schemaLock+1).Scan(&first); err != nil {
			return err
		}
		if !first {
			return fmt.Errorf("%w: another one that stands by is about to take over", queue.ErrHeld)
		}
		if err := q.displace(ctx, c); err != nil {
			return err
		}
	}
	for {
		number, err := q.number(ctx, c)
		if err != nil {
			return err
		}
		err = q.joinAs(ctx, c, number)
		if !errors.Is(err, errTaken) {
			return err
		}
		if q.opt.Node != 0 {
			return fmt.Errorf("%w: node number %d is used by another relay, whose beat moves; give this one a number of its own in [cluster] node", queue.ErrHeld, q.opt.Node)
		}
	}
}

// displace takes the work of the other nodes, all of which must be dead.
func (q *Store) displace(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, `select n.id, n.epoch, n.live, b.acked, b.n, 0::bigint, n.name from dawk.node n join dawk.beat b using (id) where n.live and n.home <> $1`, q.home)
	if err != nil {
		return err
	}
	others, err := pgx.CollectRows(rows, pgx.RowToStructByPos[node])
	if err != nil {
		return err
	}
	for _, o := range others {
		epoch, err := q.observe(ctx, c, o.ID)
		if errors.Is(err, errTaken) {
			return fmt.Errorf("%w: node %d on %s works", queue.ErrHeld, o.ID, o.Name)
		} else if err != nil {
			return err
		}
		o.Epoch = epoch
		if err := q.takeOver(ctx, c, o); err != nil {
			return err
		}
	}
	return nil
}

// errTaken is a number that another process has joined under meanwhile.
var errTaken = errors.New("this number is taken")

// number chooses ours: the one that is configured, the one that this data directory had,
// or the lowest that nobody alive has.
func (q *Store) number(ctx context.Context, c *pgx.Conn) (int16, error) {
	if q.opt.Node != 0 {
		return int16(q.opt.Node), nil
	}
	var n int16
	err := c.QueryRow(ctx, `select coalesce((select min(id) from dawk.node where home = $1),
		(select min(i) from generate_series(1, 255) i where not exists (select from dawk.node where id = i and live)))`, q.home).Scan(&n)
	return n, err
}

func (q *Store) joinAs(ctx context.Context, c *pgx.Conn, number int16) error {
	epoch, err := q.observe(ctx, c, number)
	if err != nil {
		return err
	}
	terminate(ctx, c, number, epoch)
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `insert into dawk.node as n (id, epoch, live, home, name, version) values ($1, 1, true, $3, $4, $5)
			on conflict (id) do update set epoch = n.epoch + 1, live = true, home = $3, name = $4, version = $5 where n.epoch = $2
			returning epoch`, number, epoch, q.home, q.opt.Name, q.opt.Version).Scan(&q.epoch)
		if errors.Is(err, pgx.ErrNoRows) {
			return errTaken
		} else if err != nil {
			return err
		}
		q.node = number
		_, err = tx.Exec(ctx, `insert into dawk.beat (id, n, high) values ($1, 1, 0) on conflict (id) do update set n = dawk.beat.n + 1`, number)
		if err != nil {
			return err
		}
		parts, err := q.unowned(ctx, tx, queue.Partitions)
		if err != nil {
			return err
		}
		// Before the first key is given, or who comes after a crash might begin where we did.
		_, err = tx.Exec(ctx, `update dawk.beat set high = greatest(high, $2) where id = $1`, number, q.highest())
		q.beaten(q.clock())
		q.take(parts)
		return err
	})
}

// highest is what the keys that we give until the next beat stay below.
func (q *Store) highest() int64 {
	return max(int64(q.ids.Last()), time.Now().UnixMicro()) + highAhead.Microseconds()
}

// unowned takes, in a transaction, partitions that nobody alive has, until we have as many as
// most, and gives all that are ours. Keys that were given there are never given again.
func (q *Store) unowned(ctx context.Context, tx pgx.Tx, most int) ([]int16, error) {
	var high int64
	// What is stored may be above the last beat, which commits locally and may be late.
	err := tx.QueryRow(ctx, `select greatest((select max(b.high) from dawk.beat b join dawk.node n using (id) where n.id = $1 or not n.live),
		(select max(key) from dawk.msg), 0)`, q.node).Scan(&high)
	if err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `update dawk.part set node = $1, want = null where part in
		(select part from dawk.part where node is null or node = $1 or node in (select id from dawk.node where not live)
		order by node is distinct from $1, part limit $2 for update) returning part`, q.node, most)
	if err != nil {
		return nil, err
	}
	parts, err := pgx.CollectRows(rows, pgx.RowTo[int16])
	q.above(uint64(high))
	return parts, err
}

// observe waits until it is sure that nobody else is alive under a number, and gives the
// epoch of whoever was the last. The same data directory needs no waiting: its lock
// says that there is no other.
func (q *Store) observe(ctx context.Context, c *pgx.Conn, number int16) (epoch int64, err error) {
	began := time.Now()
	for first := int64(-1); ; {
		var live bool
		var home string
		var n int64
		err := c.QueryRow(ctx, `select n.epoch, n.live, n.home, b.n from dawk.node n join dawk.beat b using (id) where id = $1`, number).Scan(&epoch, &live, &home, &n)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return 0, nil
		case err != nil:
			return 0, err
		case !live || home == q.home:
			return epoch, nil
		case first < 0:
			first = n
		case n != first:
			return 0, errTaken
		case time.Since(began) > q.opt.Timing.Dead:
			return epoch, nil
		}
		select {
		case <-time.After(q.opt.Timing.Look):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// terminate ends the connections of a node that is thought dead: one that stopped in
// the middle of a pipeline would hold its row until the kernel notices. The fence
// protects in any case, so that an error does not matter.
func terminate(ctx context.Context, c execer, node int16, epoch int64) {
	c.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()`, sessionName(node, epoch))
}

// leave lets go of everything, so that others may have it at once.
func (q *Store) leave() error {
	ctx, cancel := context.WithTimeout(q.ctx, 5*time.Second)
	defer cancel()
	return pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(`select dawk.fence($1, $2)`, q.node, q.epoch)
		b.Queue(`update dawk.beat set high = $2, told = greatest(told, $3) where id = $1`, q.node, int64(q.ids.Last()), q.outbox.toldTo())
		b.Queue(`update dawk.part set want = null where want = $1`, q.node)
		b.Queue(`update dawk.node set live = false where id = $1 and epoch = $2`, q.node, q.epoch)
		return tx.SendBatch(ctx, b).Close()
	})
}

// adopt makes partitions ours in memory, and tells Watch of what waits in them.
func (q *Store) adopt(ctx context.Context, parts []int16) error {
	fresh := q.foreign(parts)
	if len(fresh)+len(q.untold) == 0 {
		return nil
	}
	if err := q.count(ctx, fresh); err != nil { // before there can be new mail in them
		return err
	}
	var high int64 // a partition that was handed over has keys by another clock
	if err := q.pool.QueryRow(ctx, `select max(high) from dawk.beat`).Scan(&high); err != nil {
		return err
	}
	q.above(uint64(high))
	q.take(fresh)
	q.untold = append(q.untold, fresh...)
	batch := make([]relay.Entry, 0, 1024)
	err := q.entries(ctx, q.untold, func(e relay.Entry) bool {
		if batch = append(batch, e); len(batch) == cap(batch) {
			q.tell(batch)
			batch = make([]relay.Entry, 0, 1024)
		}
		return true
	})
	q.tell(batch)
	if err == nil { // else all of them again with the next look
		q.untold = nil
		q.opt.Adopted()
	}
	return err
}
