package boltstore_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"dawk/relay"
)

// The price of a commit is two syncs. Whoever comes while one is under way
// shares the next: that is what makes the queue fast, so it is held to the
// exact number.
func TestWhatWaitsTogetherIsOneCommit(t *testing.T) {
	const n = 100
	opt := small(t.TempDir())
	busy, free := make(chan bool), make(chan bool)
	var once sync.Once
	opt.Hook = func(point string) error {
		if point == "commit" {
			once.Do(func() { busy <- true; <-free })
		}
		return nil
	}
	q := mustOpen(t, opt)
	errs := make(chan error, n+1)
	enqueue := func() { _, err := put(q, body("x", 3000), "a@example.org"); errs <- err }
	go enqueue()
	<-busy
	before := q.Stats().Commits
	for range n {
		go enqueue()
	}
	for q.Handed() < n {
		runtime.Gosched()
	}
	free <- true
	var failed error
	for range n + 1 {
		failed = errors.Join(failed, <-errs)
	}
	if commits := q.Stats().Commits - before; commits != 2 || failed != nil {
		t.Errorf("%d commits (%v), want that under way and one for the %d others", commits, failed, n)
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
