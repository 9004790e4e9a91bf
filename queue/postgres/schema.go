package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5"

	"dawk/queue"
)

//go:embed schema.sql
var schema string

//go:embed common.sql
var common string

//go:embed keys.sql
var keys string

// layout is the version of schema.sql.
const layout = 5

// upgrades lead from the layout before, by the number of the layout that they make.
var upgrades = map[int]string{2: `
	alter table dawk.beat add column told bigint not null default 0;
	alter table dawk.event add column node smallint, add column id bigint;
	update dawk.event set node = coalesce((select id from dawk.node order by live desc, id limit 1), 1);
	alter table dawk.event alter column node set not null, drop constraint event_pkey, add primary key (node, n)`,
	3: `alter table dawk.beat add column acked bigint not null default 0;
	alter table dawk.cluster add column turn bigint not null default 0`,
	4: common, 5: keys}

// schemaLock is the advisory lock under which the schema is made: "dawk" in ASCII.
const schemaLock = 0x6461776b

// prepareSchema makes the schema if there is none, and gives the directory number of the
// cluster. The error wraps queue.ErrNewer where a later version made it.
func prepareSchema(ctx context.Context, c *pgx.Conn) (dir uint32, err error) {
	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, schemaLock); err != nil {
			return err
		}
		var there, ours bool
		if err := tx.QueryRow(ctx, `select to_regnamespace('dawk') is not null, to_regclass('dawk.cluster') is not null`).Scan(&there, &ours); err != nil {
			return err
		}
		if !ours {
			if there {
				var n int
				if err := tx.QueryRow(ctx, `select count(*) from pg_class where relnamespace = to_regnamespace('dawk')`).Scan(&n); err != nil {
					return err
				}
				if n > 0 {
					return errors.New("its schema dawk belongs to another program; name a database of its own in dsn_file")
				}
			} else if _, err := tx.Exec(ctx, `create schema dawk`); err != nil {
				return fmt.Errorf("make the schema dawk: %w; the role needs the right CREATE on the database", err)
			}
			if _, err := tx.Exec(ctx, schema+common+keys); err != nil {
				return fmt.Errorf("make the tables: %w", err)
			}
			dir := 1 + rand.N(int32(1<<20-1)) // 20 bits, as relay.QueueID has it; zero is nobody's
			if _, err := tx.Exec(ctx, `insert into dawk.cluster (layout, dir) values ($1, $2)`, layout, dir); err != nil {
				return err
			}
			if _, err := tx.Exec(ctx, `insert into dawk.part (part) select generate_series(0, $1)`, queue.Partitions-1); err != nil {
				return err
			}
		}
		var is int
		if err := tx.QueryRow(ctx, `select layout, dir from dawk.cluster`).Scan(&is, &dir); err != nil {
			return err
		}
		if is > layout {
			return fmt.Errorf("%w: its layout is %d, this one reads %d", queue.ErrNewer, is, layout)
		}
		for is < layout {
			is++
			if _, err := tx.Exec(ctx, upgrades[is]); err != nil {
				return fmt.Errorf("upgrade the tables to layout %d: %w", is, err)
			}
			if _, err := tx.Exec(ctx, `update dawk.cluster set layout = $1`, is); err != nil {
				return err
			}
		}
		return nil
	})
	return dir, err
}
