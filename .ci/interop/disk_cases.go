package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

func diskCases() []testCase {
	return []testCase{
		{"fdatasync fails with EIO", func(t *T, w *world) { syncFails(t, w, "EIO", "", 2000) }},
		{"fdatasync fails with EIO once", func(t *T, w *world) { syncFails(t, w, "EIO", ":when=1", 2000) }},
		{"fdatasync fails with EIO, bodies in files", func(t *T, w *world) { syncFails(t, w, "EIO", "", 400_000) }},
		{"fdatasync fails with ENOSPC", func(t *T, w *world) { syncFails(t, w, "ENOSPC", "", 2000) }},
		{"disk runs full of mail", fullOfMail},
		{"disk filled by somebody else", fullByOthers},
	}
}

// syncFails makes every fdatasync of a running relay fail, under load. A
// failed sync is never retried: whether the last commit is on the disk is
// unknown, and nothing that follows may be promised.
func syncFails(t *T, w *world, errno, when string, size int) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skipf("strace is not installed")
	}
	name := fmt.Sprintf("sync-%s%s-%d", strings.ToLower(errno), strings.Trim(when, ":"), size)
	r, s := w.newCrasher(t, name)
	t.must("start", r.up())
	l := startLoad(w.ctx, r.addr(trusted), name, 4, size)
	t.Cleanup(l.end)
	if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > 100 }) {
		t.Fatalf("nobody is served:\n%s", r.proc.out.tail(5))
	}
	tracer, err := startProcess(exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-p", strconv.Itoa(r.proc.cmd.Process.Pid),
		"-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error="+errno+when))
	t.must("strace", err)
	t.Cleanup(tracer.kill)
	code, err := r.proc.wait(patience)
	if err != nil && !tracer.running() {
		t.Skipf("strace may not attach here: %s", tracer.out.tail(2))
	}
	t.must("the relay's end", err)
	before := l.ackedCount() // nothing is acknowledged by a relay that has ended
	if code <= 0 {
		t.Errorf("exit code %d, want a failure:\n%s", code, r.proc.out.tail(5))
	}
	mark := filepath.Join(r.data(), "suspect")
	if _, err := os.Stat(mark); err != nil {
		t.Errorf("the queue is not marked suspect: %v\n%s", err, r.proc.out.tail(5))
	}
	first := r.proc.out.tail(3)
	t.must("restart", r.up())
	if _, err := os.Stat(mark); err == nil {
		t.Errorf("the mark is still there after the restart:\n%s", r.proc.out.tail(8))
	}
	if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > before }) {
		t.Fatalf("nobody is served after the restart:\n%s", r.proc.out.tail(5))
	}
	l.end()
	_, lost := l.settled(w.ctx, s, patience)
	w.emptyQueue(t, r)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.acked))
	}
	for reply := range l.refused {
		if !strings.HasPrefix(reply, "451 ") && !strings.HasPrefix(reply, "421 ") {
			t.Errorf("clients were told %q, want only 451 and 421", reply)
		}
	}
	t.Notef("exit code %d, %d acknowledged, %d lost, clients were told %s", code, len(l.acked), len(lost), l.refusals())
	if w.set.verbose {
		t.Notef("last words: %s", first)
	}
}

// smallDisk mounts a tmpfs for a relay's data.
func (w *world) smallDisk(t *T, r *relay, size string) {
	t.must("mkdir", os.MkdirAll(r.data(), 0o700))
	if err := syscall.Mount("tmpfs", r.data(), "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		r.close()
		t.must("unmount", syscall.Unmount(r.data(), syscall.MNT_DETACH))
	})
}

// newSmall makes a relay with 192 MiB of disk whose receiver is down.
func (w *world) newSmall(t *T, name string) (*relay, *sink) {
	s, err := w.newSink(name + "-sink")
	t.must("smtp-sink", err)
	s.close() // nobody listens yet: mail stays
	r, err := w.newRelay(name, []string{trusted}, crashText(s, ""))
	t.must("config", err)
	w.smallDisk(t, r, "192m")
	t.must("start", r.up())
	return r, s
}

// fullOfMail: the receiver is down and mail comes until the disk is full.
// Clients hear 452 4.3.1 and nothing else; when the receiver is back the queue
// drains and mail is taken again, without anybody's help.
func fullOfMail(t *T, w *world) {
	r, s := w.newSmall(t, "fulldisk")
	l := startLoad(w.ctx, r.addr(trusted), "full", 4, 200_000, 2000, 500_000)
	t.Cleanup(l.end)
	full := eventually(w.ctx, patience, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.refused["452 4.3.1"] > 20 || !r.proc.running()
	})
	if !full || !r.proc.running() {
		t.Fatalf("after %d messages the disk is not full, or dawk has ended: %s\n%s", l.ackedCount(), l.refusals(), r.proc.out.tail(8))
	}
	l.end()
	held := l.ackedCount()
	w.drainAndResume(t, r, s, l, "full")
	t.Notef("%d messages of 2 to 500 kB taken before the disk was full; clients were told %s", held, l.refusals())
}

// fullByOthers: another program takes the last octet while mail comes, so that
// real writes fail; then it gives the space back.
func fullByOthers(t *T, w *world) {
	r, s := w.newSmall(t, "filleddisk")
	l := startLoad(w.ctx, r.addr(trusted), "fill", 4, 20_000, 400_000)
	t.Cleanup(l.end)
	if !eventually(w.ctx, patience, func() bool { return l.ackedCount() > 50 }) {
		t.Fatalf("nobody is served:\n%s", r.proc.out.tail(5))
	}
	hog := filepath.Join(r.data(), "somebody-elses-file")
	t.must("hog", fillDisk(hog))
	full := eventually(w.ctx, patience, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.refused["452 4.3.1"] > 20 || !r.proc.running()
	})
	if !full || !r.proc.running() {
		t.Fatalf("the disk is not full, or dawk has ended: %s\n%s", l.refusals(), r.proc.out.tail(8))
	}
	l.end()
	t.must("remove", os.Remove(hog))
	w.drainAndResume(t, r, s, l, "fill")
	t.Notef("clients were told %s", l.refusals())
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

// drainAndResume starts the receiver, and wants everything promised to arrive
// and new mail to be taken.
func (w *world) drainAndResume(t *T, r *relay, s *sink, l *load, prefix string) {
	for reply := range l.refused {
		if reply != "452 4.3.1" {
			t.Errorf("clients were told %q, want only 452 4.3.1: %s", reply, l.refusals())
		}
	}
	t.must("smtp-sink", s.start(w))
	t.Cleanup(s.close)
	_, lost := l.settled(w.ctx, s, patience)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.acked))
	}
	w.emptyQueue(t, r)
	again := startLoad(w.ctx, r.addr(trusted), prefix+"-again", 1, 2000)
	defer again.end()
	if !eventually(w.ctx, patience, func() bool { return again.ackedCount() > 0 }) {
		t.Errorf("no mail is taken after the queue has drained: %s\n%s", again.refusals(), r.proc.out.tail(5))
	}
	again.end()
	if _, lost := again.settled(w.ctx, s, patience); len(lost) > 0 {
		t.Errorf("LOST %d messages of after the drain", len(lost))
	}
	t.Notef("%d acknowledged, %d lost", len(l.acked), len(lost))
}
