package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// startProfile samples the stacks of a relay with perf, from outside: what is
// measured is the program that users run, with nothing switched on in it. file
// is for perf report; "" samples nothing.
func startProfile(ctx context.Context, roots []int, file string) (stop func() error, err error) {
	if file == "" || len(roots) == 0 {
		return func() error { return nil }, nil
	}
	var pids []string
	for _, s := range tree(roots) {
		pids = append(pids, strconv.Itoa(s.pid))
	}
	// Go keeps frame pointers; 499 does not beat in time with anything.
	cmd := exec.CommandContext(ctx, "perf", "record", "-q", "-e", "cpu-clock", "-F", "499", "--call-graph", "fp",
		"-o", file, "-p", strings.Join(pids, ","))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("perf: %w", err)
	}
	return func() error {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		_ = cmd.Wait() // it ends by the signal
		return nil
	}, nil
}
