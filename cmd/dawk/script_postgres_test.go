package main_test

import (
	"os"

	"github.com/rogpeppe/go-internal/testscript"

	"dawk/queue/postgres/postgrestest"
)

// postgresCommand starts a server for the script alone; the file dsn says how to
// reach it.
func postgresCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 || args[0] != "start" {
		ts.Fatalf("usage: postgres start")
	}
	s := postgrestest.Start(scriptT{ts})
	ts.Check(os.WriteFile(ts.MkAbs("dsn"), []byte(s.DSN()+"\n"), 0o600))
}

// scriptT is a script as its servers see it.
type scriptT struct{ *testscript.TestScript }

func (scriptT) Helper()            {}
func (t scriptT) Cleanup(f func()) { t.Defer(f) }
