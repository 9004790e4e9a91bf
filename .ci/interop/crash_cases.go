package main

import (
	"dawk/.ci/interop/lab"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"
)

func crashCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "kill -9 under load", Run: func(t *lab.T, w *lab.World) { killNine(t, w, "kill9", w.Set.Rounds, 2000) }},
		{Name: "kill -9 under load, bodies in files", Run: func(t *lab.T, w *lab.World) { killNine(t, w, "kill9-files", max(1, w.Set.Rounds/3), 2000, 400_000) }},
		{Name: "SIGTERM under load", Run: sigterm},
		{Name: "SIGTERM, slow receiver", Run: sigtermSlow},
		{Name: "two SIGTERMs", Run: secondSignal},
		{Name: "power cut under load", Run: powerCut},
	}
}

// killNine: eight clients, a relay that dies at a random moment of every
// round. What was acknowledged arrives; what arrives twice was on its way
// when the relay died.
func killNine(t *lab.T, w *lab.World, name string, rounds int, sizes ...int) {
	r, s := w.NewCrasher(t, name)
	killRelay(t, w, r, s, name, rounds, sizes...)
}

// killRelay does it with a relay that is there.
func killRelay(t *lab.T, w *lab.World, r *lab.Relay, s *lab.Sink, name string, rounds int, sizes ...int) *lab.Load {
	random := rand.New(rand.NewPCG(w.Set.Seed, 0))
	var starts []time.Time
	begin := func() {
		starts = append(starts, time.Now())
		t.Must("start", r.Up())
	}
	begin()
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), name, 8, sizes...)
	t.Cleanup(l.End)
	for range rounds {
		before := l.AckedCount()
		if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > before }) {
			t.Fatalf("nobody is served after a restart:\n%s", r.Proc.Out.Tail(5))
		}
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		if !r.Proc.Running() {
			t.Fatalf("dawk ended by itself:\n%s", r.Proc.Out.Tail(10))
		}
		r.Proc.Kill() // may take a while: a process in the middle of fdatasync ends after it
		// The sink still reads what the dead relay had sent; that is this life's.
		if !lab.Eventually(w.Ctx, lab.Patience, s.Idle) {
			t.Fatalf("smtp-sink does not finish what the dead relay had sent")
		}
		begin()
	}
	l.End()
	copies, lost := l.Settled(w.Ctx, s, lab.Patience)
	w.EmptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages, e.g. %s", len(lost), len(l.Acked), lost[0])
	}
	duplicates := w.JudgeCopies(t, l, copies, starts)
	t.Notef("%d rounds: %d sent, %d acknowledged, %d arrived, %d lost, %d twice (each across a kill)",
		rounds, l.Attempts, len(l.Acked), len(copies), len(lost), duplicates)
	return l
}

// sigterm: an orderly end under load tells code 0, and nothing is lost or
// doubled.
func sigterm(t *lab.T, w *lab.World) {
	r, s := w.NewCrasher(t, "sigterm")
	var slowest time.Duration
	const rounds = 5
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), "term", 8, 2000)
	t.Cleanup(l.End)
	for i := range rounds + 1 {
		t.Must("start", r.Up())
		if i == rounds {
			break
		}
		before := l.AckedCount()
		if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > before+50 }) {
			t.Fatalf("nobody is served:\n%s", r.Proc.Out.Tail(5))
		}
		code, took, err := r.Stop()
		t.Must("stop", err)
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, r.Proc.Out.Tail(5))
		}
		slowest = max(slowest, took)
	}
	l.End()
	copies, lost := l.Settled(w.Ctx, s, lab.Patience)
	w.EmptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.Acked))
	}
	for m, at := range copies {
		if len(at) > 1 {
			t.Errorf("%s arrived %d times after orderly stops", m, len(at))
		}
	}
	t.Notef("%d stops under load: %d acknowledged, %d lost, slowest stop %s; clients were told %s",
		rounds, len(l.Acked), len(lost), slowest.Round(time.Millisecond), l.Refusals())
}

// sigtermSlow: deliveries that take a second are waited for: they end before
// the relay does, and are not made again.
func sigtermSlow(t *lab.T, w *lab.World) {
	s, err := w.NewSink("slow-sink", "-w", "1")
	t.Must("smtp-sink", err)
	t.Cleanup(s.Close)
	r, err := w.NewRelay("slow", []string{lab.Trusted}, lab.CrashText(s, ""))
	t.Must("config", err)
	t.Cleanup(r.Close)
	t.Must("start", r.Up())
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), "slow", 4, 2000)
	t.Cleanup(l.End)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > 30 }) {
		t.Fatalf("nobody is served:\n%s", r.Proc.Out.Tail(5))
	}
	code, took, err := r.Stop()
	t.Must("stop", err)
	if code != 0 {
		t.Errorf("exit code %d after %s:\n%s", code, took, r.Proc.Out.Tail(5))
	}
	l.End()
	t.Must("start", r.Up())
	copies, lost := l.Settled(w.Ctx, s, lab.Patience)
	w.EmptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.Acked))
	}
	for m, at := range copies {
		if len(at) > 1 {
			t.Errorf("%s arrived %d times", m, len(at))
		}
	}
	t.Notef("%d acknowledged, %d lost, stopped in %s", len(l.Acked), len(lost), took.Round(time.Millisecond))
}

// secondSignal: a receiver that never answers keeps a stop waiting; a second
// signal ends it at once, and the mail is still there afterwards.
func secondSignal(t *lab.T, w *lab.World) {
	s, err := w.NewSink("second-sink", "-w", "60") // answers DATA after a minute
	t.Must("smtp-sink", err)
	t.Cleanup(s.Close)
	r, err := w.NewRelay("second", []string{lab.Trusted}, lab.CrashText(s, ""))
	t.Must("config", err)
	t.Cleanup(r.Close)
	t.Must("start", r.Up())
	marker := newMarker()
	_, err = lab.SendCurl(w, lab.Errand{Addr: r.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"someone@" + lab.SinkDomain}, Input: lab.SimpleMessage(marker)})
	t.Must("curl", err)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool {
		found, err := s.Partial()
		return err == nil && found > 0
	}) {
		t.Fatalf("the sink was not reached:\n%s", r.Proc.Out.Tail(5))
	}
	t.Must("SIGTERM", r.Proc.Cmd.Process.Signal(syscall.SIGTERM))
	// Signals do not queue: the second counts once the first was seen.
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return !lab.Greets(r.Addr(lab.Trusted)) }) {
		t.Fatalf("it still takes mail after SIGTERM:\n%s", r.Proc.Out.Tail(5))
	}
	if !r.Proc.Running() {
		t.Fatalf("it did not wait for the delivery that was going on:\n%s", r.Proc.Out.Tail(5))
	}
	start := time.Now()
	_, _ = r.Proc.Signal(syscall.SIGTERM, 20*time.Second) // the code is free: it was told to end at once
	if r.Proc.Running() || !strings.Contains(r.Proc.Out.String(), "second signal: ending at once") {
		t.Errorf("it ran on for %s after the second signal:\n%s", time.Since(start), r.Proc.Out.Tail(5))
	}
	s.Close()
	s.Args = nil
	t.Must("smtp-sink", s.Start(w))
	t.Must("start", r.Up())
	w.Arrived(t, s, marker, 1)
	t.Notef("ended after %s", time.Since(start).Round(time.Millisecond))
}
