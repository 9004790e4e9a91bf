package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"time"
)

func crashCases() []testCase {
	return []testCase{
		{"kill -9 under load", func(t *T, w *world) { killNine(t, w, "kill9", w.set.rounds, 2000) }},
		{"kill -9 under load, bodies in files", func(t *T, w *world) { killNine(t, w, "kill9-files", max(1, w.set.rounds/3), 2000, 400_000) }},
		{"SIGTERM under load", sigterm},
		{"SIGTERM, slow receiver", sigtermSlow},
		{"two SIGTERMs", secondSignal},
		{"power cut under load", powerCut},
	}
}

// crashText sends everything to one sink of its own.
func crashText(s *sink, more string) string {
	return fmt.Sprintf("[queue]\nretry = [\"1s\"]\nmin_free = \"1MiB\"\n\n[limits]\nmax_message_size = \"1MiB\"\n%s\n[[route]]\nto = [\"*\"]\nvia = [%q]\ntls = \"off\"\n", more, s.addr())
}

// newCrasher makes a relay and a sink for itself.
func (w *world) newCrasher(t *T, name string) (*relay, *sink) {
	s, err := w.newSink(name + "-sink")
	t.must("smtp-sink", err)
	t.Cleanup(s.close)
	r, err := w.newRelay(name, []string{trusted}, crashText(s, ""))
	t.must("config", err)
	t.Cleanup(r.close)
	return r, s
}

// killNine: eight clients, a relay that dies at a random moment of every
// round. What was acknowledged arrives; what arrives twice was on its way
// when the relay died.
func killNine(t *T, w *world, name string, rounds int, sizes ...int) {
	r, s := w.newCrasher(t, name)
	random := rand.New(rand.NewPCG(w.set.seed, 0))
	var starts []time.Time
	begin := func() {
		starts = append(starts, time.Now())
		t.must("start", r.up())
	}
	begin()
	l := startLoad(w.ctx, r.addr(trusted), name, 8, sizes...)
	t.Cleanup(l.end)
	for range rounds {
		before := l.ackedCount()
		if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > before }) {
			t.Fatalf("nobody is served after a restart:\n%s", r.proc.out.tail(5))
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		if !r.proc.running() {
			t.Fatalf("dawk ended by itself:\n%s", r.proc.out.tail(10))
		}
		r.proc.kill() // may take a while: a process in the middle of fdatasync ends after it
		// The sink still reads what the dead relay had sent; that is this life's.
		if !eventually(w.ctx, patience, s.idle) {
			t.Fatalf("smtp-sink does not finish what the dead relay had sent")
		}
		begin()
	}
	l.end()
	copies, lost := l.settled(w.ctx, s, patience)
	w.emptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages, e.g. %s", len(lost), len(l.acked), lost[0])
	}
	duplicates := w.judgeCopies(t, l, copies, starts)
	t.Notef("%d rounds: %d sent, %d acknowledged, %d arrived, %d lost, %d twice (each across a kill)",
		rounds, l.attempts, len(l.acked), len(copies), len(lost), duplicates)
}

// judgeCopies wants every second copy to come from a later life of the relay
// than the first: within one life nothing may be sent twice.
func (w *world) judgeCopies(t *T, l *load, copies map[string][]time.Time, starts []time.Time) (duplicates int) {
	life := func(at time.Time) int {
		i, _ := slices.BinarySearchFunc(starts, at, time.Time.Compare)
		return i
	}
	for m, at := range copies {
		slices.SortFunc(at, time.Time.Compare)
		for i := 1; i < len(at); i++ {
			duplicates++
			if life(at[i-1]) == life(at[i]) {
				t.Errorf("%s arrived twice in one life of the relay (number %d), at %s and %s:\n%s", m, life(at[i]),
					at[i-1].Format(time.RFC3339Nano), at[i].Format(time.RFC3339Nano), w.logOf(l.id[m]))
				continue
			}
		}
		if len(at) < 2 {
			continue
		}
		// The log tells of what is settled, and what is settled is not sent again.
		if lines := w.logOf(l.id[m]); strings.Count(lines, "msg=relayed ") > 1 {
			t.Errorf("%s was settled more than once:\n%s", m, lines)
		}
	}
	return duplicates
}

// sigterm: an orderly end under load tells code 0, and nothing is lost or
// doubled.
func sigterm(t *T, w *world) {
	r, s := w.newCrasher(t, "sigterm")
	var slowest time.Duration
	const rounds = 5
	l := startLoad(w.ctx, r.addr(trusted), "term", 8, 2000)
	t.Cleanup(l.end)
	for i := range rounds + 1 {
		t.must("start", r.up())
		if i == rounds {
			break
		}
		before := l.ackedCount()
		if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > before+50 }) {
			t.Fatalf("nobody is served:\n%s", r.proc.out.tail(5))
		}
		code, took, err := r.stop()
		t.must("stop", err)
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, r.proc.out.tail(5))
		}
		slowest = max(slowest, took)
	}
	l.end()
	copies, lost := l.settled(w.ctx, s, patience)
	w.emptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.acked))
	}
	for m, at := range copies {
		if len(at) > 1 {
			t.Errorf("%s arrived %d times after orderly stops", m, len(at))
		}
	}
	t.Notef("%d stops under load: %d acknowledged, %d lost, slowest stop %s; clients were told %s",
		rounds, len(l.acked), len(lost), slowest.Round(time.Millisecond), l.refusals())
}

// sigtermSlow: deliveries that take a second are waited for: they end before
// the relay does, and are not made again.
func sigtermSlow(t *T, w *world) {
	s, err := w.newSink("slow-sink", "-w", "1")
	t.must("smtp-sink", err)
	t.Cleanup(s.close)
	r, err := w.newRelay("slow", []string{trusted}, crashText(s, ""))
	t.must("config", err)
	t.Cleanup(r.close)
	t.must("start", r.up())
	l := startLoad(w.ctx, r.addr(trusted), "slow", 4, 2000)
	t.Cleanup(l.end)
	if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > 30 }) {
		t.Fatalf("nobody is served:\n%s", r.proc.out.tail(5))
	}
	code, took, err := r.stop()
	t.must("stop", err)
	if code != 0 {
		t.Errorf("exit code %d after %s:\n%s", code, took, r.proc.out.tail(5))
	}
	l.end()
	t.must("start", r.up())
	copies, lost := l.settled(w.ctx, s, patience)
	w.emptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.acked))
	}
	for m, at := range copies {
		if len(at) > 1 {
			t.Errorf("%s arrived %d times", m, len(at))
		}
	}
	t.Notef("%d acknowledged, %d lost, stopped in %s", len(l.acked), len(lost), took.Round(time.Millisecond))
}

// secondSignal: a receiver that never answers keeps a stop waiting; a second
// signal ends it at once, and the mail is still there afterwards.
func secondSignal(t *T, w *world) {
	s, err := w.newSink("second-sink", "-w", "60") // answers DATA after a minute
	t.must("smtp-sink", err)
	t.Cleanup(s.close)
	r, err := w.newRelay("second", []string{trusted}, crashText(s, ""))
	t.must("config", err)
	t.Cleanup(r.close)
	t.must("start", r.up())
	marker := newMarker()
	_, err = sendCurl(w, errand{addr: r.addr(trusted), mode: trusted, from: userName,
		to: []string{"someone@" + sinkDomain}, input: simpleMessage(marker)})
	t.must("curl", err)
	if !eventually(w.ctx, patience, func() bool {
		found, err := s.partial()
		return err == nil && found > 0
	}) {
		t.Fatalf("the sink was not reached:\n%s", r.proc.out.tail(5))
	}
	t.must("SIGTERM", r.proc.cmd.Process.Signal(syscall.SIGTERM))
	// Signals do not queue: the second counts once the first was seen.
	if !eventually(w.ctx, patience, func() bool { return !greets(r.addr(trusted)) }) {
		t.Fatalf("it still takes mail after SIGTERM:\n%s", r.proc.out.tail(5))
	}
	if !r.proc.running() {
		t.Fatalf("it did not wait for the delivery that was going on:\n%s", r.proc.out.tail(5))
	}
	start := time.Now()
	_, _ = r.proc.signal(syscall.SIGTERM, 20*time.Second) // the code is free: it was told to end at once
	if r.proc.running() || !strings.Contains(r.proc.out.String(), "second signal: ending at once") {
		t.Errorf("it ran on for %s after the second signal:\n%s", time.Since(start), r.proc.out.tail(5))
	}
	s.close()
	s.args = nil
	t.must("smtp-sink", s.start(w))
	t.must("start", r.up())
	w.arrived(t, s, marker, 1)
	t.Notef("ended after %s", time.Since(start).Round(time.Millisecond))
}
