// Package dsn reads how a database is reached.
package dsn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"dawk/relay/durable"
)

// connectTimeout is for one host, unless the DSN has connect_timeout.
const connectTimeout = 3 * time.Second

// Parse reads what dsn_file holds. The error shows nothing of it. Writes go to the primary, whichever of the hosts
// it is.
func Parse(dsn string) (*pgx.ConnConfig, error) {
	c, err := pgx.ParseConfig(strings.TrimSpace(dsn))
	if err != nil {
		return nil, errors.New("it is neither a URL nor keywords as libpq reads them; write postgres://USER:PASSWORD@HOST/DATABASE") // the error could name the password
	}
	if c.ValidateConnect == nil {
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "dawk"
	}
	// Those of the database, or of the role, might end the same group again and again.
	c.RuntimeParams["lock_timeout"], c.RuntimeParams["statement_timeout"] = "5s", "0"
	c.RuntimeParams["idle_in_transaction_session_timeout"] = "0"
	if c.ConnectTimeout == 0 { // or a machine that is gone would use up the time of the next host
		c.ConnectTimeout = connectTimeout
	}
	return c, nil
}

// Read reads a file that says how to reach a database. Its error shows nothing of
// what the file holds.
func Read(path string) (string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return "", durable.Unreadable(path, err)
	}
	if st.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("others may read %s, which holds a password: chmod 0600 %s", path, path)
	}
	if st.Size() > 64<<10 {
		return "", fmt.Errorf("%s has %d octets; more than 64 KiB cannot be meant", path, st.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return "", durable.Unreadable(path, err)
	}
	_, err = Parse(string(data))
	return string(data), err
}
