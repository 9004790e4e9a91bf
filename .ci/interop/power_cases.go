package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"dawk/.ci/interop/lab"
	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	vocabulary "dawk/relay"
)

// powerCut records what the relay writes and syncs under load, and what it
// answers its clients, and then lets the power fail at moments of that record:
// of what no sync covered, any part may be on the disk. Every message that was
// acknowledged by then must be there.
//
// No next host is reachable, so that nothing leaves.
func powerCut(t *lab.T, w *lab.World) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("strace is not installed")
	}
	r, err := w.NewRelay("power", []string{lab.Trusted}, "[queue]\nretry = [\"1h\"]\nmin_free = \"1MiB\"\n\n[[route]]\nto = [\"*\"]\nvia = [\"127.0.0.1:9\"]\ntls = \"off\"\n")
	t.Must("config", err)
	t.Cleanup(r.Close)
	t.Must("start", r.Up())
	trace := filepath.Join(r.Dir, "trace")
	tracer, err := lab.StartProcess(exec.Command(strace, append(queuetest.StraceArgs(trace), "-p", strconv.Itoa(r.Proc.Cmd.Process.Pid))...))
	t.Must("strace", err)
	t.Cleanup(tracer.Kill)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return strings.Contains(tracer.Out.String(), "attached") || !tracer.Running() }) || !tracer.Running() {
		t.Skipf("strace may not attach here: %s", tracer.Out.Tail(2))
	}
	m, err := queuetest.NewMachine(r.Data())
	t.Must("the data directory", err)
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), "power", 8, 2000, 2000, 2000, 300_000)
	t.Cleanup(l.End)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > 200 }) {
		t.Fatalf("nobody is served:\n%s", r.Proc.Out.Tail(5))
	}
	r.Proc.Kill()
	l.End()
	if _, err := tracer.Wait(lab.Patience); err != nil {
		t.Fatalf("strace does not end: %v", err)
	}
	calls, err := queuetest.ReadTrace(trace)
	t.Must("the record", err)
	t.Must("remove the record", os.Remove(trace))

	disks := 4 * w.Set.Rounds
	random := rand.New(rand.NewPCG(w.Set.Seed, 1))
	at := make(map[int]int)
	for range disks {
		at[random.IntN(len(calls))]++
	}
	var promised []vocabulary.QueueID
	m.Heard = func(_ int64, text string) {
		if _, name, ok := strings.Cut(text, "queued as "); ok && strings.HasPrefix(text, "250 ") {
			if id, err := vocabulary.ParseQueueID(strings.Fields(name)[0]); err == nil {
				promised = append(promised, id)
			}
		}
	}
	lost := 0
	for i, c := range calls {
		t.Must("the record", m.Do(c))
		for ; at[i] > 0; at[i]-- {
			dir := filepath.Join(r.Dir, "disk")
			n, err := m.Cut(random, dir)
			t.Must("a disk", err)
			lost += n
			if err := allThere(w, dir, promised); err != nil {
				t.Fatalf("the power failed at call %d of %d: %v", i, len(calls), err)
			}
			t.Must("remove a disk", os.RemoveAll(dir))
		}
	}
	if len(promised) < 100 || lost == 0 {
		t.Errorf("the record is too poor: %d acknowledged, %d pages lost", len(promised), lost)
	}
	t.Notef("%d acknowledged, %d disks, %d unsynced pages lost or torn, 0 messages missing", len(promised), disks, lost)
}

// allThere opens a disk and looks for all that was promised.
func allThere(w *lab.World, dir string, promised []vocabulary.QueueID) error {
	q, err := boltstore.Open(boltstore.Options{Dir: dir, MinFree: 1})
	if err != nil {
		return err
	}
	for _, id := range promised {
		c, err := q.Content(id)
		if err != nil {
			q.Close()
			return fmt.Errorf("an acknowledged message is lost: %w", err)
		}
		c.Close()
	}
	if err := q.Close(); err != nil {
		return err
	}
	report, err := boltstore.VerifyDir(w.Ctx, dir, nil)
	for _, p := range report.Problems {
		if !strings.Contains(p, "the next start removes it") { // such a file was never promised
			return fmt.Errorf("the queue is not sound: %s", p)
		}
	}
	return err
}
