package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"dawk/cmd/dawkbench/load"
)

// result is one run of one contender.
type result struct {
	Name    string      `json:"name"`
	Clients int         `json:"clients"`
	Round   int         `json:"round"`
	Counts  load.Counts `json:"counts"`

	AcceptRate float64 `json:"accept_per_second"`      // messages until the last 250
	EndRate    float64 `json:"end_to_end_per_second"`  // messages until the last arrival
	CPU        float64 `json:"cpu_seconds_per_1000"`   // of all the relay's processes, to the end of delivery
	RSS        int64   `json:"peak_rss_bytes"`         // sum over processes
	PSS        int64   `json:"peak_pss_bytes"`         // shared pages divided
	Anonymous  int64   `json:"peak_anonymous_bytes"`   // of it, what is no file's
	Processes  int     `json:"processes"`              // at the peak
	P50        float64 `json:"accept_p50_ms"`          // MAIL to 250
	P99        float64 `json:"accept_p99_ms"`          //
	Flushes    float64 `json:"disk_flushes_per_msg"`   // of the whole machine; -1: not known
	Syncs      float64 `json:"sync_calls_per_message"` // under strace, in a run of its own; -1: not counted
	Outgoing   int64   `json:"connections_to_sink"`
	Resumed    int64   `json:"resumed_to_sink"` // of these, with a TLS session of an earlier one
	Harness    float64 `json:"harness_cpu_seconds_per_1000"`
	Others     float64 `json:"cpu_share_of_others"` // of the machine, neither relay nor harness

	Refused map[string]int `json:"refused,omitempty"`
	Errors  map[string]int `json:"errors,omitempty"`
}

// noisy is the share of the machine that something else may take before a run
// is marked.
const noisy = 0.15

// tailTime is how long after the last arrival a relay is watched: it may be
// settling.
const tailTime = 300 * time.Millisecond

// trial is a started relay with its sink.
type trial struct {
	*running
	sink   *load.Sink
	ledger *load.Ledger
	w      *work
	next   int // number of the next message
}

// begin starts a relay for at most messages messages.
func begin(ctx context.Context, c contender, w *work, dir string, messages int) (*trial, error) {
	t := &trial{w: w, ledger: load.NewLedger(messages, max(1, w.Recipients))}
	cfg, err := w.sink("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cfg.Observe = t.ledger.Observe
	if t.sink, err = load.NewSink(cfg); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, errors.Join(err, t.sink.Close())
	}
	port, err := freePort()
	if err == nil {
		t.running, err = c.start(ctx, dir, port, t.sink.Addr())
	}
	if err != nil {
		return nil, errors.Join(err, t.sink.Close())
	}
	return t, nil
}

// end stops everything and forgets the relay's directory.
func (t *trial) end() error {
	return errors.Join(t.stop(), t.sink.Close(), os.RemoveAll(t.dir))
}

// send sends n messages and gives what the source saw.
func (t *trial) send(ctx context.Context, n, clients int) (*load.Sent, error) {
	cfg := t.w.source(t.addr, t.next, n, clients)
	cfg.Acked = t.ledger.Acked
	t.next += n
	return load.Send(ctx, cfg)
}

// arrived waits until the sink has as many messages, or limit.
func (t *trial) arrived(ctx context.Context, messages int64, limit time.Duration) {
	for end := time.Now().Add(limit); t.sink.Messages.Load() < messages && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
}

// deepen fills the queue with messages that can't be delivered.
func (t *trial) deepen(ctx context.Context) error {
	if t.w.Depth == 0 {
		return nil
	}
	cfg := t.w.source(t.addr, 0, t.w.Depth, 100)
	cfg.Domain, cfg.Recipients, cfg.Sizes, cfg.Pipelining = "dead.bench.test", 1, []load.Size{{Bytes: 1 << 10, Share: 1}}, true
	sent, err := load.Send(ctx, cfg)
	if err == nil && sent.Acked < t.w.Depth {
		err = fmt.Errorf("%s took %d of %d messages that make its queue deep: %v %v", t.name, sent.Acked, t.w.Depth, sent.Refused, sent.Errors)
	}
	return err
}

// plan is how a run goes.
type plan struct {
	clients, round int
	warm           int
	check          bool // that it syncs before 250
	limit          time.Duration
	profile        string // file for perf; "": none
}

// measure is one run: start, check, warm up, send, wait for all, stop.
func measure(ctx context.Context, c contender, w *work, dir string, p plan) (res *result, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	t, err := begin(ctx, c, w, filepath.Join(dir, c.name), probes+p.warm+w.Messages)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if p.check && c.relay {
		if err := checkSync(ctx, t.running, t.sink, w, t.next, t.ledger); err != nil {
			return nil, err
		}
		t.next += probes
	}
	if err := t.deepen(ctx); err != nil {
		return nil, err
	}
	if p.warm > 0 {
		if _, err := t.send(ctx, p.warm, p.clients); err != nil {
			return nil, fmt.Errorf("%s, warming up: %w", c.name, err)
		}
		t.arrived(ctx, int64(t.next), 30*time.Second)
		time.Sleep(tailTime)
	}
	return t.run(ctx, c, p)
}

// run is the part that counts.
func (t *trial) run(ctx context.Context, c contender, p plan) (*result, error) {
	res := &result{Name: c.name, Clients: p.clients, Round: p.round, Syncs: -1, Flushes: -1}
	n := t.w.Messages
	stop, err := startProfile(ctx, t.roots, p.profile)
	if err != nil {
		return nil, err
	}
	outgoing, resumed := t.sink.Connections.Load(), t.sink.Resumed.Load()
	before, err := t.cpu()
	if err != nil {
		return nil, err
	}
	whole, own := readMachine(), ownCPU()
	flushed, canFlush := flushes()
	watch := startSampler(t.roots)
	sent, err := t.send(ctx, n, p.clients)
	if err != nil {
		watch.end()
		return nil, fmt.Errorf("%s with %d clients: %w; refused %v, errors %v", c.name, p.clients, err, sent.Refused, sent.Errors)
	}
	t.ledger.SourceEnded()
	t.ledger.Wait(ctx)
	time.Sleep(tailTime)
	flushedAfter, _ := flushes()
	after, err := t.cpu()
	wholeAfter, ownAfter := readMachine(), ownCPU()
	peak := watch.end()
	if err := errors.Join(err, stop()); err != nil {
		return nil, err
	}
	counts, last := t.ledger.Counts()
	per := func(cpu float64) float64 { return cpu * 1000 / float64(n) }
	res.Counts, res.Refused, res.Errors = counts, sent.Refused, sent.Errors
	res.AcceptRate, res.EndRate = rate(sent.Acked, sent.LastAck.Sub(sent.Began)), rate(sent.Acked, last.Sub(sent.Began))
	res.CPU, res.Harness = per(after-before), per(ownAfter-own)
	res.RSS, res.PSS, res.Anonymous, res.Processes = peak.rss, peak.pss, peak.anon, peak.procs
	res.P50, res.P99 = ms(sent.Percentile(50)), ms(sent.Percentile(99))
	if canFlush {
		res.Flushes = float64(flushedAfter-flushed) / float64(n)
	}
	res.Outgoing, res.Resumed = t.sink.Connections.Load()-outgoing, t.sink.Resumed.Load()-resumed
	busy, total := wholeAfter.busy-whole.busy, wholeAfter.total-whole.total
	if total > 0 {
		res.Others = max(0, busy-(after-before)-(ownAfter-own)) / total
	}
	if fault := counts.Fault(); fault != "" {
		return res, fmt.Errorf("%s with %d clients: %s: %+v", c.name, p.clients, fault, counts)
	}
	// Whoever takes only a part of the work has an easier one.
	if c.relay && sent.Acked < n {
		return res, fmt.Errorf("%s with %d clients: %w", c.name, p.clients, notTaken(sent, n))
	}
	return res, nil
}

// countSyncs runs a few messages under strace and gives sync calls a message.
func countSyncs(ctx context.Context, c contender, w *work, dir string, clients, messages int) (n float64, err error) {
	t, err := begin(ctx, c, w, filepath.Join(dir, c.name), 2*messages)
	if err != nil {
		return -1, err
	}
	defer func() { err = errors.Join(err, t.end()) }()
	if _, err := t.send(ctx, messages, clients); err != nil {
		return -1, err
	}
	t.arrived(ctx, int64(messages), time.Minute)
	trace, err := attach(ctx, t.running, syncCalls)
	if err != nil {
		return -1, err
	}
	if _, err := t.send(ctx, messages, clients); err != nil {
		return -1, errors.Join(err, trace.end())
	}
	t.arrived(ctx, 2*int64(messages), time.Minute)
	time.Sleep(tailTime)
	if err := trace.end(); err != nil {
		return -1, err
	}
	ends, err := readTrace(trace.file)
	return float64(len(ends)) / float64(messages), err
}

// ownCPU is what this process has used, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
