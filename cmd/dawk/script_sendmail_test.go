package main_test

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// smCommand runs sendmail with the script's configuration and standard input
// from FILE, and expects an exit status. \r and \0 in FILE are themselves.
//
//	sm STATUS FILE [arguments]
func smCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sm STATUS FILE [arguments]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	cmd := exec.Command("sendmail", append([]string{"-C", ts.Getenv("CONF")}, args[2:]...)...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdin = strings.NewReader(escapes.Replace(ts.ReadFile(args[1])))
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	status := 0
	var exit *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &exit):
		status = exit.ExitCode()
	case err != nil:
		ts.Fatalf("sendmail: %v", err)
	}
	if status != want {
		ts.Fatalf("sendmail %v ended with status %d, not %d", args[2:], status, want)
	}
}
