package lab

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
	Args []string
	proc *process
}

func (w *World) NewSink(name string, args ...string) (*sink, error) {
	dir, err := w.Subdir(name)
	if err != nil {
		return nil, err
	}
	s := &sink{port: w.FreePort(), dir: dir, Args: args}
	return s, s.Start(w)
}

func (s *sink) Addr() string { return "127.0.0.1:" + strconv.Itoa(s.port) }

func (s *sink) Start(w *World) error {
	args := append([]string{"-u", "nobody", "-d", s.dir + "/m."}, s.Args...)
	cmd := exec.Command("smtp-sink", append(args, s.Addr(), "128")...)
	cmd.Dir = s.dir
	var err error
	if s.proc, err = StartProcess(cmd); err != nil {
		return err
	}
	if !Eventually(w.Ctx, Patience, func() bool { return Greets(s.Addr()) }) {
		return fmt.Errorf("smtp-sink does not greet on %s: %s", s.Addr(), s.proc.Out)
	}
	return nil
}

func (s *sink) Close() { s.proc.Kill() }

// Arrival is a message as the receiver stored it, less what the receiver
// itself wrote in front.
type Arrival struct {
	File    string
	at      time.Time // last written
	From    string    // MAIL's argument, or Return-Path
	Rcpt    []string
	Content []byte // lines end in LF
	Trace   []byte // what the receiver put in front
}

// Arrivals gives every stored message that satisfies keep; keep sees the raw
// file.
func (s *sink) Arrivals(keep func([]byte) bool) ([]Arrival, error) {
	return readArrivals(s.dir, keep, parseSink)
}

// readArrivals reads the files of dir. A file that vanishes or is still
// growing is the next call's business.
func readArrivals(dir string, keep func([]byte) bool, parse func([]byte) (Arrival, bool)) ([]Arrival, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var found []Arrival
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
			a.File, a.at = name, info.ModTime()
			found = append(found, a)
		}
	}
	return found, nil
}

// parseSink takes off smtp-sink's own lines: X-Client-Addr to X-Rcpt-Args, a
// Received field of three lines, and an empty line after the message.
func parseSink(raw []byte) (Arrival, bool) {
	var a Arrival
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
			a.From = value
		case "X-Rcpt-Args":
			a.Rcpt = append(a.Rcpt, value)
		default:
			if !bytes.HasPrefix(line, []byte("Received: from ")) {
				return a, false
			}
			for range 2 { // the field's continuation lines
				if _, after, ok = bytes.Cut(after, []byte("\n")); !ok {
					return a, false
				}
			}
			a.Trace = raw[:len(raw)-len(after)]
			a.Content, ok = bytes.CutSuffix(after, []byte("\n"))
			// Before that comes the last line of the message: without it, the
			// message is still on its way, or was cut off.
			return a, ok && bytes.HasSuffix(a.Content, []byte("\n"))
		}
		rest = after
	}
}

// Partial counts the files of transactions that have begun.
func (s *sink) Partial() (int, error) {
	entries, err := os.ReadDir(s.dir)
	return len(entries), err
}

// Idle says that no client is connected and nothing that one sent is unread:
// the kernel has no connection to the sink's port that is established or waits
// for the sink to close it.
func (s *sink) Idle() bool {
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

// Receiver stores mail in files.
type Receiver interface {
	Arrivals(keep func([]byte) bool) ([]Arrival, error)
}

// Arrived waits until want messages with marker have arrived at a receiver.
func (w *World) Arrived(t *T, from Receiver, marker string, want int) []Arrival {
	var found []Arrival
	var err error
	Eventually(w.Ctx, Patience, func() bool {
		found, err = from.Arrivals(Contains(marker))
		return err == nil && len(found) >= want
	})
	if err != nil || len(found) != want {
		t.Fatalf("%d messages with %s arrived, want %d (%v); the relay's last lines:\n%s",
			len(found), marker, want, err, w.Said())
	}
	return found
}

func Contains(marker string) func([]byte) bool {
	return func(raw []byte) bool { return strings.Contains(string(raw), marker) }
}
