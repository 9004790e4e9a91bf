package queue_test

import (
	"errors"
	"runtime"
	"sync"
	"testing"
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
