package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dawk/queue"
)

// SQLSTATEs that decide something (PostgreSQL's manual, appendix A; DWK01 is ours).
const (
	codeFenced   = "DWK01"
	codeDiskFull = "53100"
	codeLimit    = "53400" // configuration_limit_exceeded: a quota
	codeProtocol = "08P01" // protocol_violation: PgBouncer says so of the parameters that our sessions have
	// division_by_zero: a writer's group with new mail, where synchronous_standby_names is empty
	codeNoStandby = "22012"
)

// Unreachable says whether err means that there was nobody to ask: another try may help.
func Unreachable(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return passing(server)
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) || isConnect(err)
}

func isConnect(err error) bool {
	var c *pgconn.ConnectError
	return errors.As(err, &c)
}

// passing says whether a server's error ends by itself: it stops, starts, has no
// connection to spare, was promoted or demoted, or somebody held a lock.
func passing(e *pgconn.PgError) bool {
	switch e.Code {
	case "57P01", "57P02", "57P03", "57P05", // shutdown, crash, cannot connect now, idle session
		"53300", "25006", "25P02", "25P03", // too many connections, read-only, aborted, idle in transaction
		"40001", "40P01", "55P03", "57014": // serialization, deadlock, lock timeout, cancelled
		return true
	}
	return strings.HasPrefix(e.Code, "08")
}

func codeOf(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// state is what the database must be (docs/postgres.md).
type state struct {
	version  int // server_version_num
	primary  string
	standby  bool // it is one itself
	unsafe   []string
	encoding string
	names    string   // synchronous_standby_names
	synced   []string // standbys that a commit waits for and that are there
	blind    bool     // the role may not see what standbys do
	waiting  int      // sessions of ours whose commits have waited for a standby for a second
}

// examine asks the database what it is.
func examine(ctx context.Context, c querier) (*state, error) {
	var st state
	var fsync, pages, sync string
	err := c.QueryRow(ctx, `select current_setting('server_version_num')::int, pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'),
		current_setting('server_encoding'), current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
		coalesce(host(inet_server_addr()) || ':' || inet_server_port(), 'local'),
		not pg_has_role(current_user, 'pg_monitor', 'usage'),
		(select count(*) from pg_stat_activity where application_name like 'dawk/%' and wait_event = 'SyncRep' and clock_timestamp() - query_start > interval '1 s')`).
		Scan(&st.version, &st.standby, &fsync, &pages, &st.encoding, &st.names, &sync, &st.primary, &st.blind, &st.waiting)
	if err != nil {
		return nil, err
	}
	if fsync != "on" {
		st.unsafe = append(st.unsafe, "fsync is off")
	}
	if pages != "on" {
		st.unsafe = append(st.unsafe, "full_page_writes is off")
	}
	rows, err := c.Query(ctx, `select application_name from pg_stat_replication where sync_state in ('sync', 'quorum') order by 1`)
	if err != nil {
		return nil, err
	}
	st.synced, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return &st, err
}

type querier interface {
	QueryRow(context.Context, string, ...any) pgx.Row
	Query(context.Context, string, ...any) (pgx.Rows, error)
}

// oldest is the first version of PostgreSQL that is tested.
const oldest = 150000

// refuses says why no mail may be taken with a database like this; nil: it may.
func (s *state) refuses(allowAsync bool) error {
	switch {
	case s.version < oldest:
		return fmt.Errorf("the database is PostgreSQL %d; dawk needs 15 or later", s.version/10000)
	case s.standby:
		return errors.New("the database is a standby that takes no writes; name all hosts in dsn_file, so that the primary is found")
	case s.encoding != "UTF8":
		return fmt.Errorf("the database has the encoding %s; make one with UTF8", s.encoding)
	case len(s.unsafe) > 0:
		return fmt.Errorf("the database may lose what it has confirmed: %s", strings.Join(s.unsafe, " and "))
	case allowAsync:
		return nil
	case s.names == "":
		return errors.New("the database has no synchronous standby: a commit would be lost with its machine; set synchronous_standby_names, or queue.allow_async = true")
	case len(s.synced) == 0 && s.blind:
		return errors.New("the database does not say whether its standby is there: grant pg_monitor to dawk's role")
	case len(s.synced) == 0:
		return fmt.Errorf("no synchronous standby of the database is connected (synchronous_standby_names = %q)", s.names)
	}
	return nil
}

func partOf(key uint64) int16 { return int16(key % queue.Partitions) }
