// Package common is what the relays on one database count and know together, beside the queue: what
// users have used of their quotas ([Common.Spend]), what was taken of limits that hold in any span
// of time ([Purses]), and idempotency keys ([Common.ClaimKey]).
//
// The database counts, by its own clock; those of the relays are not asked. So a limit holds
// whoever dies, and what was counted outlasts every relay. A Purses has a lock, and a goroutine
// that runs in Run.
package common

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"dawk/relay/limits"
)

// patience is how long the database may take for one answer.
const patience = 10 * time.Second

// Common is the tables of one database. Its methods may be called by several goroutines.
type Common struct{ pool *pgxpool.Pool }

// New uses a database whose tables package postgres has made.
func New(pool *pgxpool.Pool) *Common { return &Common{pool} }

// local commits without waiting for a standby: where the primary dies, what was counted in its
// last moments may be forgotten.
const local = `select set_config('synchronous_commit', 'local', true)`

// Spend counts n in all quotas of a user, or in none where one lacks room; below 0 gives back.
// Its error is that of the database.
func (c *Common) Spend(user string, quotas []limits.Quota, n []int) (s limits.Spent, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var amount, size, secs, want []float64
	for i, q := range quotas {
		amount, size, secs, want = append(amount, float64(q.Amount)), append(size, float64(q.Size)), append(secs, max(1, q.Period.Seconds())), append(want, float64(n[i]))
	}
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		b.Queue(local)
		b.Queue(`select over, used from dawk.spend($1, $2, $3, $4, $5)`, strings.ToLower(user), amount, size, secs, want).
			QueryRow(func(r pgx.Row) error { return r.Scan(&s.Over, &s.Used) })
		return tx.SendBatch(ctx, b).Close()
	})
	if err != nil {
		return s, fmt.Errorf("the quotas of %q: %w", user, err)
	}
	s.Over-- // it counts from 1
	return s, nil
}
