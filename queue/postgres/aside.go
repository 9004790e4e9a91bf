package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"dawk/relay"
)

// setAside keeps rows that cannot be read where nobody looks for mail, and gives the error that
// says so: one Delivery, or, where the message cannot be read or no other Delivery is left, all
// of the message. It runs between two groups of the writer, so that the last other Delivery
// does not end meanwhile.
func (q *Store) setAside(ctx context.Context, id ref, whole bool) error {
	err := relay.ErrClosed
	q.w.do(func() { whole, err = q.moveAside(ctx, id, whole) })
	if err != nil {
		return fmt.Errorf("a damaged message could not be set aside: %w", err)
	}
	q.log.Error("a message cannot be read; its rows are in dawk.aside", "id", q.name(id.key), "delivery", id.job, "all_of_it", whole)
	return fmt.Errorf("%w: its rows are in dawk.aside", relay.ErrCorrupt)
}

// moves are the statements that set rows aside. $1 is the key, $2 the partition, $3 the number
// of the Delivery or -1 for all; a message goes only where no Delivery of it is left.
var moves = []struct{ kind, statement string }{
	{"delivery", `with gone as (delete from dawk.job where part = $2::smallint and key = $1 and $3::int in (-1, job) returning row) %s row from gone`},
	{"attempt", `with gone as (delete from dawk.hist where $2::smallint >= 0 and key = $1 and $3::int in (-1, job) and job < 65535 returning n, row) %s row from gone order by n`},
	{"message", `with gone as (delete from dawk.msg where $2::smallint >= 0 and key = $1 and $3::int = -1 returning head || coalesce(body, '') as row) %s row from gone`},
	{"content", `with gone as (delete from dawk.chunk where $2::smallint >= 0 and key = $1 and $3::int = -1 returning n, data) %s data from gone order by n`},
}

func (q *Store) moveAside(ctx context.Context, id ref, whole bool) (all bool, err error) {
	changed := make(map[string]int64)
	err = pgx.BeginFunc(ctx, q.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select dawk.fence($1, $2)`, q.node, q.epoch); err != nil {
			return err
		}
		job, part, key := int32(id.job), partOf(id.key), int64(id.key)
		if !whole {
			if err := tx.QueryRow(ctx, `select not exists (select from dawk.job where part = $2 and key = $1 and job <> $3)`, key, part, job).Scan(&whole); err != nil {
				return err
			}
		}
		if whole {
			job = -1
		}
		for _, m := range moves {
			into := fmt.Sprintf("insert into dawk.aside (key, kind, why, row) select $1::bigint, '%s', 'it could not be read, or what it belongs to',", m.kind)
			tag, err := tx.Exec(ctx, fmt.Sprintf(m.statement, into), key, part, job)
			if err != nil {
				return err
			}
			changed[m.kind] = tag.RowsAffected()
		}
		return nil
	})
	if err == nil {
		q.cache.Forget(id.key)
		for _, n := range changed {
			q.aside.Add(n)
		}
		q.deliveries.Add(-changed["delivery"])
		q.messages.Add(-changed["message"])
	}
	return whole, err
}
