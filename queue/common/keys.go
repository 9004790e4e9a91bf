package common

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ClaimKey claims an idempotency key of a user for a message that is about to be taken, or gives
// what FinishKey kept for it; neither: another relay works on its message. One that died while it
// did is waited for, for ten minutes.
func (c *Common) ClaimKey(user, key string) (value []byte, claimed bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from dawk.key where at < now() - interval '1 day'`); err != nil {
			return err
		}
		err := tx.QueryRow(ctx, `insert into dawk.key as k (owner, key) values ($1, $2) on conflict (owner, key) do update set at = now()
			where k.value is null and k.at < now() - interval '10 minutes' returning true`, user, key).Scan(&claimed)
		if !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
		err = tx.QueryRow(ctx, `select value from dawk.key where owner = $1 and key = $2`, user, key).Scan(&value)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // given up just now: whoever asks again gets it
		}
		return err
	})
	if err != nil {
		return nil, false, fmt.Errorf("claim an idempotency key: %w", err)
	}
	return value, claimed, nil
}

// FinishKey keeps what became of a key that was claimed.
func (c *Common) FinishKey(user, key string, value []byte) error {
	return c.exec("keep an idempotency key", `update dawk.key set value = $3, at = now() where owner = $1 and key = $2`, user, key, value)
}

// AbandonKey gives up a key that was claimed and not finished.
func (c *Common) AbandonKey(user, key string) error {
	return c.exec("give an idempotency key up", `delete from dawk.key where owner = $1 and key = $2 and value is null`, user, key)
}

func (c *Common) exec(what, query string, args ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := c.pool.Exec(ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
