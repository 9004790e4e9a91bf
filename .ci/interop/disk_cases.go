package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

func diskCases() []lab.TestCase {
	return []lab.TestCase{
		{Name: "fdatasync fails with EIO", Run: func(t *lab.T, w *lab.World) { syncFails(t, w, "EIO", "", 2000) }},
		{Name: "fdatasync fails with EIO once", Run: func(t *lab.T, w *lab.World) { syncFails(t, w, "EIO", ":when=1", 2000) }},
		{Name: "fdatasync fails with EIO, bodies in files", Run: func(t *lab.T, w *lab.World) { syncFails(t, w, "EIO", "", 400_000) }},
		{Name: "fdatasync fails with ENOSPC", Run: func(t *lab.T, w *lab.World) { syncFails(t, w, "ENOSPC", "", 2000) }},
		{Name: "disk runs full of mail", Run: fullOfMail},
		{Name: "disk filled by somebody else", Run: fullByOthers},
	}
}

// syncFails makes every fdatasync of a running relay fail, under load. A
// failed sync is never retried: whether the last commit is on the disk is
// unknown, and nothing that follows may be promised.
func syncFails(t *lab.T, w *lab.World, errno, when string, size int) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("strace is not installed")
	}
	name := fmt.Sprintf("sync-%s%s-%d", strings.ToLower(errno), strings.Trim(when, ":"), size)
	r, s := w.NewCrasher(t, name)
	t.Must("start", r.Up())
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), name, 4, size)
	t.Cleanup(l.End)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > 100 }) {
		t.Fatalf("nobody is served:\n%s", r.Proc.Out.Tail(5))
	}
	tracer, err := lab.StartProcess(exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(r.Proc.Cmd.Process.Pid),
		"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error="+errno+when))
	t.Must("strace", err)
	t.Cleanup(tracer.Kill)
	code, err := r.Proc.Wait(lab.Patience)
	if err != nil && !tracer.Running() {
		t.Skipf("strace may not attach here: %s", tracer.Out.Tail(2))
	}
	t.Must("the relay's end", err)
	before := l.AckedCount() // nothing is acknowledged by a relay that has ended
	if code <= 0 {
		t.Errorf("exit code %d, want a failure:\n%s", code, r.Proc.Out.Tail(5))
	}
	mark := filepath.Join(r.Data(), "suspect")
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the queue is not marked suspect: %v\n%s", err, r.Proc.Out.Tail(5))
	}
	first := r.Proc.Out.Tail(3)
	t.Must("restart", r.Up())
	if _, err := os.Stat(mark); err == nil {
		t.Errorf("the mark is still there after the restart:\n%s", r.Proc.Out.Tail(8))
	}
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > before }) {
		t.Fatalf("nobody is served after the restart:\n%s", r.Proc.Out.Tail(5))
	}
	l.End()
	_, lost := l.Settled(w.Ctx, s, lab.Patience)
	w.EmptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.Acked))
	}
	for reply := range l.Refused {
		if !strings.HasPrefix(reply, "451 ") && !strings.HasPrefix(reply, "421 ") {
			t.Errorf("clients were told %q, want only 451 and 421", reply)
		}
	}
	t.Notef("exit code %d, %d acknowledged, %d lost, clients were told %s", code, len(l.Acked), len(lost), l.Refusals())
	if w.Set.Verbose {
		t.Notef("last words: %s", first)
	}
}

// fullOfMail: the receiver is down and mail comes until the disk is full.
// Clients hear 452 4.3.1 and nothing else; when the receiver is back the queue
// drains and mail is taken again, without anybody's help.
func fullOfMail(t *lab.T, w *lab.World) {
	r, s := w.NewSmall(t, "fulldisk")
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), "full", 4, 200_000, 2000, 500_000)
	t.Cleanup(l.End)
	full := lab.Eventually(w.Ctx, lab.Patience, func() bool {
		l.Mu.Lock()
		defer l.Mu.Unlock()
		return l.Refused["452 4.3.1"] > 20 || !r.Proc.Running()
	})
	if !full || !r.Proc.Running() {
		t.Fatalf("after %d messages the disk is not full, or dawk has ended: %s\n%s", l.AckedCount(), l.Refusals(), r.Proc.Out.Tail(8))
	}
	l.End()
	held := l.AckedCount()
	w.DrainAndResume(t, r, s, l, "full")
	t.Notef("%d messages of 2 to 500 kB taken before the disk was full; clients were told %s", held, l.Refusals())
}

// fullByOthers: another program takes the last octet while mail comes, so that
// real writes fail; then it gives the space back.
func fullByOthers(t *lab.T, w *lab.World) {
	r, s := w.NewSmall(t, "filleddisk")
	l := lab.StartLoad(w.Ctx, r.Addr(lab.Trusted), "fill", 4, 20_000, 400_000)
	t.Cleanup(l.End)
	if !lab.Eventually(w.Ctx, lab.Patience, func() bool { return l.AckedCount() > 50 }) {
		t.Fatalf("nobody is served:\n%s", r.Proc.Out.Tail(5))
	}
	hog := filepath.Join(r.Data(), "somebody-elses-file")
	t.Must("hog", fillDisk(hog))
	full := lab.Eventually(w.Ctx, lab.Patience, func() bool {
		l.Mu.Lock()
		defer l.Mu.Unlock()
		return l.Refused["452 4.3.1"] > 20 || !r.Proc.Running()
	})
	if !full || !r.Proc.Running() {
		t.Fatalf("the disk is not full, or dawk has ended: %s\n%s", l.Refusals(), r.Proc.Out.Tail(8))
	}
	l.End()
	t.Must("remove", os.Remove(hog))
	w.DrainAndResume(t, r, s, l, "fill")
	t.Notef("clients were told %s", l.Refusals())
}

// fillDisk writes until the file system is full.
func fillDisk(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for block := make([]byte, 1<<16); ; {
		if _, err := f.Write(block); err != nil {
			if len(block) == 1 {
				return nil // full to the last octet
			}
			block = block[:len(block)/2]
		}
	}
}
