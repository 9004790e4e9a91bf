package boltstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"dawk/queue/boltstore"
	"dawk/relay"
)

// The child process runs a queue under load and tells on its standard output
// what was promised: "accepted ID size", "ended ID", "deferred ID notice", and
// before it settles "ending ID" or "deferring ID notice".
// At the n-th time that it reaches its failpoint it kills itself.
func child(point string) {
	nth, _ := strconv.ParseInt(os.Getenv("DAWK_QUEUE_NTH"), 10, 64)
	if point == "cycles" {
		cycles(nth)
	}
	opt := small(os.Getenv("DAWK_QUEUE_DIR"))
	most, _ := strconv.ParseInt(os.Getenv("DAWK_QUEUE_MOST"), 10, 64)
	var reached, answered atomic.Int64
	enough := make(chan struct{})
	opt.Hook = func(p string) error {
		if p == "answered" && answered.Add(1) == most {
			fmt.Println("error the child never came to its failpoint", point)
			os.Exit(1)
		}
		if point == "stop" && p == "answered" && reached.Add(1) == nth {
			close(enough)
		}
		if p == point && reached.Add(1) == nth {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return nil
	}
	q, err := boltstore.Open(opt)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(os.Stdout, format+"\n", args...)
	}
	entries := make(chan relay.Entry, 100000)
	q.Watch(func(all []relay.Entry) {
		for _, e := range all {
			entries <- e
		}
	})
	for i := range 6 {
		go produce(q, i, say)
	}
	if point == "stop" {
		go func() {
			<-enough
			if err := q.Close(); err != nil {
				say("error %v", err)
			}
			os.Exit(0)
		}()
	}
	if strings.HasPrefix(point, "compact") {
		go func() {
			for q.Compact(context.Background()) == nil {
			}
		}()
	}
	consume(q, entries, say)
}

// cycles runs children one after the other in the same directory, and dies.
func cycles(nth int64) {
	for _, point := range []string{"journal.title", "journaled", "replayed", "loaded", "journal", "stop", "checkpoint", "journal.title",
		"checkpointed", "stop", "compact.renamed", "stop"} {
		n := nth
		switch point {
		case "journal.title", "replayed", "loaded", "compact.renamed", "checkpoint", "checkpointed":
			n = 1
		}
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "DAWK_QUEUE_CHILD="+point, fmt.Sprint("DAWK_QUEUE_NTH=", n), "DAWK_QUEUE_MOST=1000")
		cmd.Stdout = os.Stdout
		cmd.Run()
	}
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

func produce(q *boltstore.Store, worker int, say func(string, ...any)) {
	for n := 0; ; n++ {
		size := []int{300, 900, 3000, 40000}[(worker+n)%4]
		d, err := q.NewDraft()
		if err != nil {
			return
		}
		d.Write(body(d.ID().String(), size))
		m := &relay.Message{ID: d.ID(), Arrival: time.Now()}
		m.Recipients = []relay.Recipient{{Path: mailbox("a@example.org")}}
		if err := q.Enqueue(context.Background(), d, m); err != nil {
			return
		}
		say("accepted %s %d", m.ID, size)
	}
}

// consume ends two of three Deliveries, and defers the third with a notice.
func consume(q *boltstore.Store, entries chan relay.Entry, say func(string, ...any)) {
	n := 0
	for e := range entries {
		n++
		s := relayed(e.ID, e.Job, 0)
		before, after := fmt.Sprintf("ending %s", e.ID), fmt.Sprintf("ended %s", e.ID)
		if n%3 == 0 {
			notice := relay.Message{ID: q.NextID(), Arrival: time.Now(), Notice: true}
			notice.Recipients = []relay.Recipient{{Path: mailbox("sender@example.com")}}
			s.Outcomes[0].Action = relay.ActionDelayed
			s.Next = relay.State{Due: time.Now().Add(time.Hour), Attempts: 1}
			s.Attempt = &relay.Attempt{N: 1, At: time.Now(), Outcomes: s.Outcomes}
			s.Notices = []relay.Notice{{Message: notice, Content: body(notice.ID.String(), 500)}}
			before, after = fmt.Sprintf("deferring %s %s", e.ID, notice.ID), fmt.Sprintf("deferred %s %s", e.ID, notice.ID)
		}
		say("%s", before)
		q.Settle(s, func(err error) {
			if err == nil {
				say("%s", after)
			}
		})
	}
}

// promises is what a child said before it died, and what it was about to do.
type promises struct {
	accepted            map[relay.QueueID]int // → size
	ending, ended       map[relay.QueueID]bool
	deferring, deferred map[relay.QueueID]relay.QueueID // → notice
}

// tooMuch is what a child says when its failpoint is nowhere on its way.
const tooMuch = 20000

// runChild starts a child and kills it after it said enough, if it does not
// kill itself before.
func runChild(t *testing.T, dir, point string, nth, enough int) promises {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "DAWK_QUEUE_CHILD="+point, "DAWK_QUEUE_DIR="+dir, fmt.Sprintf("DAWK_QUEUE_NTH=%d", nth))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := newPromises()
	lines := bufio.NewReader(out)
	for said := 0; ; said++ {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut off is no promise
		}
		if said == enough || said == tooMuch {
			cmd.Process.Kill()
			if said == tooMuch {
				t.Errorf("the child never came to its failpoint %q", point)
			}
		}
		p.hear(t, line)
	}
	cmd.Wait()
	if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed: %v", cmd.ProcessState)
	}
	return p
}

func newPromises() promises {
	return promises{map[relay.QueueID]int{}, map[relay.QueueID]bool{}, map[relay.QueueID]bool{},
		map[relay.QueueID]relay.QueueID{}, map[relay.QueueID]relay.QueueID{}}
}

// hear takes in a line that a child said.
func (p promises) hear(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if f[0] == "error" {
		t.Fatal(line)
	}
	id, err := relay.ParseQueueID(f[1])
	if err != nil {
		t.Fatal(err)
	}
	switch f[0] {
	case "accepted":
		p.accepted[id], _ = strconv.Atoi(f[2])
	case "ending":
		p.ending[id] = true
	case "ended":
		p.ended[id] = true
	case "deferring":
		p.deferring[id], _ = relay.ParseQueueID(f[2])
	case "deferred":
		p.deferred[id], _ = relay.ParseQueueID(f[2])
	}
}

// kept checks every promise against the directory, and that nothing that is
// left over stays.
func (p promises) kept(t *testing.T, dir string) {
	t.Helper()
	q := mustOpen(t, small(dir))
	sound(t, q)
	for id, size := range p.accepted {
		got, err := contentOf(q, id)
		switch {
		case p.ended[id] && err == nil:
			t.Errorf("%s was ended and is still there", id)
		case err != nil && !p.ending[id]:
			t.Errorf("%s was accepted and is lost: %v", id, err)
		case err == nil && string(got) != string(body(id.String(), size)):
			t.Errorf("%s: its %d octets differ from the %d accepted", id, len(got), size)
		}
	}
	for id, notice := range p.deferring {
		item, err := q.Item(id)
		if err != nil || len(item.Attempts[0]) != item.Deliveries[0].Attempts {
			t.Errorf("%s was being deferred: %+v, %v", id, item, err)
			continue
		}
		done := item.Deliveries[0].Attempts == 1
		got, err := contentOf(q, notice)
		switch {
		case p.deferred[id] == notice && !done:
			t.Errorf("%s was deferred, and that is lost", id)
		case done && err != nil && !p.ending[notice]:
			t.Errorf("%s was deferred, but its notice is not there: %v", id, err)
		case !done && err == nil:
			t.Errorf("%s was not deferred, but its notice is there", id)
		case err == nil && string(got) != string(body(notice.String(), 500)):
			t.Errorf("notice %s differs", notice)
		}
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
	r, err := boltstore.VerifyDir(context.Background(), dir, nil)
	if err != nil || len(r.Problems) > 0 {
		t.Errorf("offline: %v %v", err, r.Problems)
	}
}

func TestKillAtFailpoint(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process for each failpoint")
	}
	for _, point := range []string{"draft.created", "draft.write", "draft.sync", "draft.synced", "names", "commit", "journal", "journaled",
		"committed", "answered", "checkpoint", "checkpointed", "unlink", "compact.copied", "compact.renamed"} {
		for _, nth := range []int{1, 7, 40} {
			t.Run(fmt.Sprintf("%s/%d", point, nth), func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data")
				runChild(t, dir, point, nth, -1).kept(t, dir)
			})
		}
	}
}

// TestKillAtRandom kills from outside, while commits are under way.
func TestKillAtRandom(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts processes")
	}
	dir := filepath.Join(t.TempDir(), "data")
	for round := range 6 {
		runChild(t, dir, "none", 1, 40+37*round).kept(t, dir)
	}
}
