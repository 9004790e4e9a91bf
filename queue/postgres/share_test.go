package postgres

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay"
	"dawk/relay/limits/share"
)

//go:embed testdata/layout1.sql
var layout1 string

// testUpgrade: the tables of the first layout become those of this one, with what is in them.
func testUpgrade(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	home, err := homeOf(opt.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s.ExecIn(dsn, "create schema dawk; "+layout1+fmt.Sprintf(`
		insert into dawk.cluster (layout, dir) values (1, 77);
		insert into dawk.part (part) select generate_series(0, 255);
		insert into dawk.node values (3, 1, false, '%s', 'host', '');
		insert into dawk.beat values (3, 1, 0);
		insert into dawk.event (n, row) values (7, 'unreadable')`, home))
	q := open(t, opt)
	if q.node != 3 || q.dirID != 77 || q.Outbox().Last() != 7 {
		t.Errorf("node %d, directory %d, last event %d", q.node, q.dirID, q.Outbox().Last())
	}
	mustEnqueue(t, q, 10)
	if got := s.ExecIn(dsn, "select layout from dawk.cluster")[0]; got != fmt.Sprint(layout) {
		t.Errorf("the layout is %s", got)
	}
}

// testFairShares: what a dead node leaves is divided among the living.
func testFairShares(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	var all []*Store
	for range 3 {
		all = append(all, open(t, options(dsn, t.TempDir())))
	}
	shares := func(of ...*Store) (all []int) {
		for _, q := range of {
			all = append(all, len(q.parts()))
		}
		return all
	}
	const third = queue.Partitions / 3
	eventually(t, "a third each", func() bool { return slices.Min(shares(all...)) >= third })
	if err := all[0].Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a half each", func() bool { return slices.Min(shares(all[1:]...)) == queue.Partitions/2 })
}

// testEventsOfTheDead: another node tells what a dead one had still to tell, with the IDs that
// it would have told, and does not tell the rest again.
func testEventsOfTheDead(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	a, b := open(t, options(dsn, t.TempDir())), open(t, options(dsn, t.TempDir()))
	tell := func(q *Store) {
		t.Helper()
		q.Outbox().SetLimits(relay.OutboxLimits{MaxBytes: 1 << 20, Keep: time.Hour})
		done := make(chan error, 1)
		q.Settle(relay.Settlement{Events: []relay.Event{{Time: time.Now(), Kind: relay.EventAccepted}}}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	events := func(q *Store, after uint64) (ids []string, last uint64) {
		for e, err := range q.Outbox().Events(after) {
			if err != nil || e.Number <= last {
				t.Fatalf("event %d after %d: %v", e.Number, last, err)
			}
			ids, last = append(ids, e.ID), e.Number
		}
		return ids, last
	}
	tell(a)
	_, told := events(a, 0)
	a.Outbox().Told(told)
	tell(a)
	tell(a)
	left, _ := events(a, told)
	tell(b)
	_, before := events(b, 0)
	woken := make(chan struct{}, 100)
	b.Outbox().Watch(func() { woken <- struct{}{} })
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	<-woken
	if got, _ := events(b, before); !slices.Equal(got, left) {
		t.Errorf("it tells %q; left were %q", got, left)
	}
}

// testBusyPartitions: a node that joins gets its share although mail waits in all of it, and
// the mail goes along.
func testBusyPartitions(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	var mu sync.Mutex
	waits := make(map[relay.QueueID]bool)
	watch := func(all []relay.Entry) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range all {
			waits[e.ID] = true
		}
	}
	opt.Forget = func(_ context.Context, match func(relay.QueueID) bool) error {
		mu.Lock()
		defer mu.Unlock()
		for id := range waits {
			if match(id) {
				delete(waits, id)
			}
		}
		return nil
	}
	a := open(t, opt)
	a.Watch(watch)
	for range queue.Partitions {
		mustEnqueue(t, a, 1)
	}
	other := options(dsn, t.TempDir())
	b := open(t, other)
	eventually(t, "half of it", func() bool { return len(entries(t, b)) == queue.Partitions/2 })
	mu.Lock()
	for id := range waits {
		if !a.owns(id.Key) {
			t.Errorf("%s is on two schedules", id)
		}
	}
	if len(waits) != queue.Partitions/2 {
		t.Errorf("%d messages stayed", len(waits))
	}
	mu.Unlock()
	for id := range entries(t, b) {
		if err := end(a, id); err == nil {
			t.Error("a node settled what another has")
		}
		if err := end(b, id); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "what is counted", func() bool { return a.Stats().Messages == queue.Partitions/2 && b.Stats().Messages == 0 })
}

// testShares: a node that joins has nothing of a limit until the other has acknowledged it, and
// has all of it when the other is dead.
func testShares(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	keep := func() (Options, *share.Shares) {
		opt := options(dsn, t.TempDir())
		opt.Shares = share.New(nil)
		return opt, opt.Shares
	}
	agree := func(s *share.Shares) { s.Acknowledge(s.Latest()) }
	opt, mine := keep()
	opt.Timing.Dead = 500 * time.Millisecond
	a := open(t, opt)
	eventually(t, "all of it", func() bool { agree(mine); return mine.Of("x", 10) == 10 })
	opt, yours := keep()
	opt.Timing.Dead = 500 * time.Millisecond
	open(t, opt)
	eventually(t, "that both know of both", func() bool { agree(yours); return mine.Of("x", 10) == 5 })
	if n := yours.Of("x", 10); n != 0 {
		t.Errorf("it has %d before the other has acknowledged that", n)
	}
	eventually(t, "a half", func() bool { agree(mine); agree(yours); return yours.Of("x", 10) == 5 })
	a.crash()
	eventually(t, "what the dead had", func() bool { agree(yours); return yours.Of("x", 10) == 10 })
	eventually(t, "the end of the lease of the dead", func() bool { return mine.Of("x", 10) == 0 })
}
