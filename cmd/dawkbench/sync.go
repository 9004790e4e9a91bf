package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"dawk/cmd/dawkbench/load"
)

// A relay that says 250 before the message is on stable storage has another,
// easier, task: comparing it with one that keeps its word says nothing.

// probes is how many messages the check sends, one after the other.
const probes = 5

// syncCalls are the calls that put something on stable storage.
const syncCalls = "fsync,fdatasync,sync_file_range,syncfs,sync,msync"

// errNoSync is what is not compared.
var errNoSync = errors.New("does not sync before 250: not compared")

// checkSync sends single messages under strace and demands that within each
// acceptance, between MAIL and 250, a sync call ended.
func checkSync(ctx context.Context, r *running, sink *load.Sink, w *work, first int, observe *load.Ledger) error {
	if _, err := exec.LookPath("strace"); err != nil {
		return checkFlushes(ctx, r, w, first, observe)
	}
	trace, err := attach(ctx, r, syncCalls)
	if err != nil {
		return err
	}
	var windows [][2]time.Time
	for i := range probes {
		taken := sink.Messages.Load()
		began := time.Now()
		if err := one(ctx, r, w, first+i, observe); err != nil {
			return errors.Join(err, trace.end())
		}
		windows = append(windows, [2]time.Time{began, time.Now()})
		// What delivery syncs must not fall into the next acceptance.
		for end := time.Now().Add(2 * time.Second); sink.Messages.Load() == taken && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := trace.end(); err != nil {
		return err
	}
	synced, err := readTrace(trace.file)
	if err != nil {
		return err
	}
	for _, w := range windows {
		if !within(synced, w[0], w[1]) {
			return fmt.Errorf("%s %w (strace saw no sync call between MAIL and 250)", r.name, errNoSync)
		}
	}
	return nil
}

func within(at []time.Time, from, to time.Time) bool {
	for _, t := range at {
		if !t.Before(from) && !t.After(to) {
			return true
		}
	}
	return false
}

// checkFlushes is the weaker check where there is no strace: the disk must
// have been flushed at least once for each message.
func checkFlushes(ctx context.Context, r *running, w *work, first int, observe *load.Ledger) error {
	before, ok := flushes()
	if !ok {
		return fmt.Errorf("%s: neither strace nor the disk's count of flushes is there to see whether it syncs before 250", r.name)
	}
	for i := range probes {
		if err := one(ctx, r, w, first+i, observe); err != nil {
			return err
		}
	}
	if after, _ := flushes(); after-before < probes {
		return fmt.Errorf("%s %w (%d messages, %d flushes of the disk)", r.name, errNoSync, probes, after-before)
	}
	return nil
}

func one(ctx context.Context, r *running, w *work, id int, ledger *load.Ledger) error {
	cfg := w.source(r.addr, id, 1, 1)
	cfg.Acked = ledger.Acked
	sent, err := load.Send(ctx, cfg)
	if err == nil && sent.Acked != 1 {
		err = fmt.Errorf("%s did not take a message: %v %v", r.name, sent.Refused, sent.Errors)
	}
	return err
}

// tracer is strace on all processes of a relay, and on those that they start.
type tracer struct {
	cmd  *exec.Cmd
	file string
}

func attach(ctx context.Context, r *running, calls string) (*tracer, error) {
	t := &tracer{file: filepath.Join(r.dir, "strace")}
	args := []string{"-f", "-ttt", "-T", "-e", "signal=none", "-e", "trace=" + calls, "-o", t.file}
	for _, s := range tree(r.roots) {
		args = append(args, "-p", strconv.Itoa(s.pid))
	}
	t.cmd = exec.CommandContext(ctx, "strace", args...)
	said, err := t.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	// It says for each process that it is attached.
	lines := bufio.NewScanner(said)
	for range len(args[9:]) / 2 {
		if !lines.Scan() {
			return nil, errors.Join(errors.New("strace could not attach"), t.cmd.Wait())
		}
		if strings.Contains(lines.Text(), "not permitted") {
			return nil, errors.Join(errors.New(lines.Text()), t.end())
		}
	}
	go func() {
		for lines.Scan() {
		}
	}()
	return t, nil
}

// end detaches.
func (t *tracer) end() error {
	if err := t.cmd.Process.Signal(syscall.SIGINT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	_ = t.cmd.Wait() // it ends by the signal
	return nil
}

// readTrace gives the times at which sync calls ended well.
func readTrace(file string) ([]time.Time, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var ends []time.Time
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if at, ok := parseTrace(lines.Text()); ok {
			ends = append(ends, at)
		}
	}
	return ends, nil
}

// parseTrace reads "PID 1700000000.123456 fdatasync(7) = 0 <0.000321>", and
// the second half of a call that another thread interrupted in the listing,
// "PID 1700000000.123456 <... fdatasync resumed>) = 0 <0.000321>", whose time
// is that of its end.
func parseTrace(line string) (end time.Time, ok bool) {
	f := strings.Fields(line)
	if len(f) < 4 || !strings.Contains(line, ") = 0 ") && !strings.Contains(line, ")  = 0 ") && !strings.Contains(line, "= 0 <") {
		return end, false
	}
	at, err := strconv.ParseFloat(f[1], 64)
	if err != nil {
		return end, false
	}
	end = time.UnixMicro(int64(at * 1e6))
	if strings.Contains(line, " resumed>") {
		return end, true
	}
	took, err := strconv.ParseFloat(strings.Trim(f[len(f)-1], "<>"), 64)
	return end.Add(time.Duration(took * 1e9)), err == nil
}
