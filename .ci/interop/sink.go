package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sink is Postfix's smtp-sink: it accepts everything and writes each message
// to a file of its own.
type sink struct {
	port int
	dir  string
	args []string
	proc *process
}

func (w *world) newSink(name string, args ...string) (*sink, error) {
	dir, err := w.subdir(name)
	if err != nil {
		return nil, err
	}
	s := &sink{port: w.freePort(), dir: dir, args: args}
	return s, s.start(w)
}

func (s *sink) addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *sink) start(w *world) error {
	args := append([]string{"-u", "nobody", "-d", s.dir + "/m."}, s.args...)
	cmd := exec.Command("smtp-sink", append(args, s.addr(), "128")...)
	cmd.Dir = s.dir
	var err error
	if s.proc, err = startProcess(cmd); err != nil {
		return err
	}
	if !eventually(w.ctx, patience, func() bool { return greets(s.addr()) }) {
		return fmt.Errorf("smtp-sink does not greet on %s: %s", s.addr(), s.proc.out)
	}
	return nil
}

func (s *sink) close() { s.proc.kill() }

// arrival is a message as the receiver stored it, less what the receiver
// itself wrote in front.
type arrival struct {
	file    string
	at      time.Time // last written
	from    string    // MAIL's argument, or Return-Path
	rcpt    []string
	content []byte // lines end in LF
	trace   []byte // what the receiver put in front
}

// arrivals gives every stored message that satisfies keep; keep sees the raw
// file.
func (s *sink) arrivals(keep func([]byte) bool) ([]arrival, error) {
	return readArrivals(s.dir, keep, parseSink)
}

// readArrivals reads the files of dir. A file that vanishes or is still
// growing is the next call's business.
func readArrivals(dir string, keep func([]byte) bool, parse func([]byte) (arrival, bool)) ([]arrival, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var found []arrival
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		raw, err := os.ReadFile(name)
		if err != nil || !keep(raw) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue
		}
		if a, ok := parse(raw); ok {
			a.file, a.at = name, info.ModTime()
			found = append(found, a)
		}
	}
	return found, nil
}

// parseSink takes off smtp-sink's own lines: X-Client-Addr to X-Rcpt-Args, a
// Received field of three lines, and an empty line after the message.
func parseSink(raw []byte) (arrival, bool) {
	var a arrival
	rest := raw
	for {
		line, after, ok := bytes.Cut(rest, []byte("\n"))
		if !ok {
			return a, false
		}
		name, value, _ := strings.Cut(string(line), ": ")
		switch name {
		case "X-Client-Addr", "X-Client-Proto", "X-Helo-Args":
		case "X-Mail-Args":
			a.from = value
		case "X-Rcpt-Args":
			a.rcpt = append(a.rcpt, value)
		default:
			if !bytes.HasPrefix(line, []byte("Received: from ")) {
				return a, false
			}
			for range 2 { // the field's continuation lines
				if _, after, ok = bytes.Cut(after, []byte("\n")); !ok {
					return a, false
				}
			}
			a.trace = raw[:len(raw)-len(after)]
			a.content, ok = bytes.CutSuffix(after, []byte("\n"))
			// Before that comes the last line of the message: without it, the
			// message is still on its way, or was cut off.
			return a, ok && bytes.HasSuffix(a.content, []byte("\n"))
		}
		rest = after
	}
}

// partial counts the files of transactions that have begun.
func (s *sink) partial() (int, error) {
	entries, err := os.ReadDir(s.dir)
	return len(entries), err
}

// idle says that no client is connected and nothing that one sent is unread:
// the kernel has no connection to the sink's port that is established or waits
// for the sink to close it.
func (s *sink) idle() bool {
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		return false
	}
	local := fmt.Sprintf(":%04X", s.port)
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line) // number, local address, remote address, state
		if len(f) > 3 && strings.HasSuffix(f[1], local) && (f[3] == "01" || f[3] == "08") {
			return false
		}
	}
	return true
}
