package main

import (
	"dawk/cmd/dawk/internal/cli"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts run the program as "dawk": the test binary is it.
func TestMain(m *testing.M) {
	if raceDetector && os.Getenv("GORACE") == "" {
		// With the race detector a program waits for a second before it ends, in case
		// another goroutine races just then. The scripts start dawk a thousand times, and
		// it ends its goroutines first.
		os.Setenv("GORACE", "atexit_sleep_ms=20")
	}
	testscript.Main(m, map[string]func(){
		"dawk":       func() { os.Exit(cli.Run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"sendmail":   func() { os.Exit(cli.RunSendmail(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"mailq":      func() { os.Exit(cli.RunSendmail(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"newaliases": func() { os.Exit(cli.RunSendmail(os.Args[0], os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}
