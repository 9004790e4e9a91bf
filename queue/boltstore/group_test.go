package boltstore_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"dawk/queue/boltstore"
	"dawk/relay"
)

// Whoever comes while a group is made durable shares the next: that is what makes
// the queue fast, so it is held to the exact number. Large bodies are a record of the
// journal too, and no commit of queue.db with two syncs and all its pages.
func TestWhatWaitsTogetherIsOneCommit(t *testing.T) {
	for _, c := range []struct{ n, size int }{{100, 3000}, {20, 250_000}} {
		opt := boltstore.Options{Dir: t.TempDir(), MinFree: 1, Journal: 32 << 20}
		busy, free := make(chan bool), make(chan bool)
		var once sync.Once
		opt.Hook = func(point string) error {
			if point == "commit" {
				once.Do(func() { busy <- true; <-free })
			}
			return nil
		}
		q := mustOpen(t, opt)
		errs := make(chan error, c.n+1)
		enqueue := func() { _, err := put(q, body("x", c.size), "a@example.org"); errs <- err }
		go enqueue()
		<-busy
		before := q.Stats().Commits
		for range c.n {
			go enqueue()
		}
		for q.Handed() < c.n {
			runtime.Gosched()
		}
		free <- true
		var failed error
		for range c.n + 1 {
			failed = errors.Join(failed, <-errs)
		}
		if commits := q.Stats().Commits - before; commits != 2 || failed != nil {
			t.Errorf("%d commits (%v), want that under way and one for the %d others", commits, failed, c.n)
		}
		if written := q.JournalWritten(); written < int64(c.n*c.size) {
			t.Errorf("%d octets went into the journal, of %d bodies of %d", written, c.n, c.size)
		}
	}
}

// What became of a message costs no commit of its own while others come. Time
// stands still here while anybody works, so that the wait for company, 10 ms,
// is as long as it takes.
func TestSettlementRidesWithTheNextMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := mustOpen(t, small(t.TempDir()))
		id := mustPut(t, q, body("x", 300), "a@example.org")
		before := q.Stats().Commits
		for range 10 {
			settled := make(chan error, 1)
			q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionRelayed}}}, func(err error) { settled <- err })
			id = mustPut(t, q, body("x", 300), "a@example.org")
			if err := <-settled; err != nil {
				t.Fatal(err)
			}
		}
		if commits := q.Stats().Commits - before; commits != 10 {
			t.Errorf("%d commits for 10 messages and the outcomes of those before them", commits)
		}
	})
}

// Whoever is told that a commit is done can rely on the scheduler knowing what
// it made: an operator's act on a message finds the Deliveries that have just
// parted from it.
func TestWatchComesBeforeTheAnswer(t *testing.T) {
	q := mustOpen(t, small(t.TempDir()))
	var told []relay.Entry // by the writer, which calls done as well
	q.Watch(func(all []relay.Entry) { told = append(told, all...) })
	id := mustPut(t, q, body("x", 300), "a@example.org", "b@example.org")
	s := relay.Settlement{ID: id, Split: []relay.Split{{Destination: "route:b", Recipients: []int{1}}}}
	known := make(chan int, 1)
	q.Settle(s, func(error) { known <- len(told) })
	if n := <-known; n != 2 {
		t.Errorf("%d Deliveries were told of at the answer, want the first and the one that parted", n)
	}
}
