package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// What one 4 KiB message may cost, from the client's MAIL to the receiver's
// last reply. These are counts and not timings: they are the same on each
// machine, but for the few that are spread over many messages (a commit's, a
// new connection's), for which there is a little room. Whoever adds a feature
// that costs more raises them knowingly; docs/internals/performance.md says what they
// stand for.
const (
	maxAllocations = 325 // of about 313; source and sink included
	maxAllocated   = 48 << 10

	// What became of a message rides with the commit of the next one, or has its
	// own where that comes later: it then costs this in addition.
	commitAllocations = 100 // of about 93
	commitAllocated   = 12 << 10

	// What the whole relay keeps in memory when no mail waits; the collector
	// doubles it. of about 1.2 MiB, source and sink included.
	maxLive      = 2 << 20
	livePerProcs = 64 << 10 // of about 26 KiB, for each processor
)

func TestCostOfAMessage(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates too")
	}
	// The collector empties the pools, the more often the more processors fill
	// them: without it the counts are those of the code.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	const n = 500
	g := newRig(t)
	g.send(t, 200, 1)
	before, commits := memory(), g.instance.Commits()
	g.send(t, n, 1)
	after := memory()
	commits = g.instance.Commits() - commits

	objects, octets := (after.Mallocs-before.Mallocs)/n, (after.TotalAlloc-before.TotalAlloc)/n
	more := uint64(max(commits, n) - n) // commits of their own
	mostObjects, mostOctets := maxAllocations+more*commitAllocations/n, maxAllocated+more*commitAllocated/n
	t.Logf("%d allocations, %d octets, %.2f commits a message", objects, octets, float64(commits)/n)
	if objects > mostObjects || octets > mostOctets {
		t.Errorf("a message takes %d allocations of %d octets, more than %d of %d", objects, octets, mostObjects, mostOctets)
	}
	// With one client each message is a commit, or the 250 was a lie; what
	// became of it rides with the next one's, or waits 10 ms and has its own.
	if commits < n || commits > 2*n+1 {
		t.Errorf("%d commits for %d messages that were sent one after the other", commits, n)
	}
}

func TestRelayWithoutMailKeepsLittleMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector needs memory of its own")
	}
	runtime.GC()
	before := int64(memory().HeapAlloc) // of the packages that these tests import
	g := newRig(t)
	g.send(t, 800, 1)
	runtime.GC()
	runtime.GC() // pools give up what they hold at the second
	limit := int64(maxLive + livePerProcs*runtime.GOMAXPROCS(0))
	if live := int64(memory().HeapAlloc) - before; live > limit {
		t.Errorf("%d octets are kept after the last message has left, more than %d", live, limit)
	} else {
		t.Logf("%d octets are kept", live)
	}
}

func memory() (m runtime.MemStats) {
	runtime.ReadMemStats(&m)
	return m
}
