package postgres

import (
	"context"
	"github.com/jackc/pgx/v5"
	"time"
)

// hangUp drops a connection that failed.
func (w *writer) hangUp() {
	if w.conn != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		w.conn.Close(ctx)
		cancel()
		w.conn = nil
	}
}

// connected is the connection, made anew if it was lost. It is for a context that ends.
func (w *writer) connected(ctx context.Context) (*pgx.Conn, error) {
	if w.conn != nil && !w.conn.IsClosed() {
		return w.conn, nil
	}
	c, err := pgx.ConnectConfig(ctx, w.config.Copy())
	if err != nil {
		return nil, err
	}
	if w.pid != 0 {
		w.q.pool.Reset() // its idle connections have most likely broken too
		// Where the server has not noticed that the last connection broke, what it was in
		// the middle of would hold its rows against us.
		c.Exec(ctx, `select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and application_name = $2 and pid <> pg_backend_pid()`, w.pid, w.q.session())
	}
	w.conn, w.pid = c, c.PgConn().PID()
	return c, nil
}
