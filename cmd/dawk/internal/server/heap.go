package server

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// heapEvery is how often the depth of the queue is looked at for gcPercent.
const heapEvery = 5 * time.Second

// boundHeap makes the garbage collector run earlier while the queue is deep,
// until ctx ends. What the scheduler knows of a million Deliveries is 100 MiB
// that live on: with Go's default as much again may be garbage before it is
// collected. A GOGC in the environment is obeyed instead.
func (s *Server) boundHeap(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	tick := time.NewTicker(heapEvery)
	defer tick.Stop()
	for now := 100; ; {
		if want := gcPercent(s.queue.Stats().Deliveries); want != now {
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// gcPercent is the GOGC for a queue of so many Deliveries. Collecting more
// often costs little there: the scheduler's entries hold no pointers, so that
// they are not looked at.
func gcPercent(deliveries int64) int {
	if deliveries < 200_000 {
		return 100
	}
	return 60
}
