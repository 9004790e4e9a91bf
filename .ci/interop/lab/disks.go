package lab

import (
	"fmt"
	"os"
	"strings"
	"syscall"
)

// NewCrasher makes a relay and a sink for itself.
func (w *World) NewCrasher(t *T, name string) (*Relay, *sink) {
	s, err := w.NewSink(name + "-sink")
	t.Must("smtp-sink", err)
	t.Cleanup(s.Close)
	r, err := w.NewRelay(name, []string{Trusted}, CrashText(s, ""))
	t.Must("config", err)
	t.Cleanup(r.Close)
	return r, s
}

// NewSmall makes a relay with 192 MiB of disk whose receiver is down.
func (w *World) NewSmall(t *T, name string) (*Relay, *sink) {
	s, err := w.NewSink(name + "-sink")
	t.Must("smtp-sink", err)
	s.Close() // nobody listens yet: mail stays
	r, err := w.NewRelay(name, []string{Trusted}, CrashText(s, ""))
	t.Must("config", err)
	w.smallDisk(t, r, "192m")
	t.Must("start", r.Up())
	return r, s
}

// smallDisk mounts a tmpfs for a relay's data.
func (w *World) smallDisk(t *T, r *Relay, size string) {
	t.Must("mkdir", os.MkdirAll(r.Data(), 0o700))
	if err := syscall.Mount("tmpfs", r.Data(), "tmpfs", 0, "size="+size+",mode=0700"); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		r.Close()
		t.Must("unmount", syscall.Unmount(r.Data(), syscall.MNT_DETACH))
	})
}

// DrainAndResume starts the receiver, and wants everything promised to arrive
// and new mail to be taken.
func (w *World) DrainAndResume(t *T, r *Relay, s *sink, l *load, prefix string) {
	for reply := range l.Refused {
		if reply != "452 4.3.1" {
			t.Errorf("clients were told %q, want only 452 4.3.1: %s", reply, l.Refusals())
		}
	}
	t.Must("smtp-sink", s.Start(w))
	t.Cleanup(s.Close)
	_, lost := l.Settled(w.Ctx, s, Patience)
	if len(lost) > 0 {
		t.Errorf("LOST %d of %d acknowledged messages", len(lost), len(l.Acked))
	}
	w.EmptyQueue(t, r)
	again := StartLoad(w.Ctx, r.Addr(Trusted), prefix+"-again", 1, 2000)
	defer again.End()
	if !Eventually(w.Ctx, Patience, func() bool { return again.AckedCount() > 0 }) {
		t.Errorf("no mail is taken after the queue has drained: %s\n%s", again.Refusals(), r.Proc.Out.Tail(5))
	}
	again.End()
	if _, lost := again.Settled(w.Ctx, s, Patience); len(lost) > 0 {
		t.Errorf("LOST %d messages of after the drain", len(lost))
	}
	t.Notef("%d acknowledged, %d lost", len(l.Acked), len(lost))
}

// EmptyQueue waits until `dawk queue list` has nothing to show.
func (w *World) EmptyQueue(t *T, r *Relay) {
	var out string
	var err error
	if !Eventually(w.Ctx, Patience, func() bool {
		out, err = r.Command("", "queue", "list", "--json")
		return err == nil && countItems(out) == 0
	}) {
		t.Fatalf("the queue does not get empty: %v\n%s", err, LastLines(out, 10))
	}
}

// countItems counts the messages of `queue list --json`.
func countItems(out string) int {
	var n int
	for line := range strings.Lines(out) {
		if s := strings.TrimSpace(line); s != "" && s != "[]" && s != "[" && s != "]" {
			n++
		}
	}
	return n
}

// CrashText sends everything to one sink of its own.
func CrashText(s *sink, more string) string {
	return fmt.Sprintf("[queue]\nretry = [\"1s\"]\nmin_free = \"1MiB\"\n\n[limits]\nmax_message_size = \"1MiB\"\n%s\n[[route]]\nto = [\"*\"]\nvia = [%q]\ntls = \"off\"\n", more, s.Addr())
}
