package postgres

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/queue/queuetest"
)

// quick is how often nodes of tests look at each other. Long enough that a busy machine
// does not make a dead node of one that lives.
var quick = Timing{Beat: 100 * time.Millisecond, Look: 50 * time.Millisecond, Dead: 5 * time.Second, Begin: time.Minute, Rest: 200 * time.Millisecond}

// database is a new one of a server.
func database(t testing.TB, s *postgrestest.Server) string {
	t.Helper()
	name := fmt.Sprintf("q%d", time.Now().UnixNano())
	s.Exec("create database " + name)
	return s.DSN() + " dbname=" + name
}

func options(dsn, dir string) Options {
	return Options{DSN: dsn, Dir: dir, Name: "host", AllowAsync: true, Timing: quick, InlineLimit: 1000}
}

// harness crashes by forgetting a Store whose sessions are cut.
type harness struct {
	opt  Options
	open *Store
}

func (h *harness) Open() (queue.Store, error) {
	var err error
	h.open, err = Open(context.Background(), h.opt)
	return h.open, err
}

func (h *harness) Crash() error {
	h.open.crash()
	return nil
}

// TestConformance runs what every store must do against a real server.
func TestConformance(t *testing.T) {
	postgrestest.Need(t)
	s := postgrestest.Start(t)
	// Each step is a round trip and a commit: by default fewer histories than in memory.
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		if err := flag.Set("rapid.checks", "3"); err != nil {
			t.Fatal(err)
		}
		defer flag.Set("rapid.checks", f.DefValue)
	}
	base := t.TempDir()
	n := 0
	queuetest.Run(t, func() queuetest.Harness {
		n++
		h := &harness{opt: options(database(t, s), filepath.Join(base, fmt.Sprint(n)))}
		return queuetest.Harness{Open: h.Open, Crash: h.Crash}
	})
}
