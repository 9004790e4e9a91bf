package common

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"dawk/queue/postgres"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay/limits"
)

// tables opens a database with the tables.
func tables(t *testing.T, s *postgrestest.Server) func() *Common {
	t.Helper()
	q, err := postgres.Open(t.Context(), postgres.Options{DSN: s.DSN(), Dir: t.TempDir(), AllowAsync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	return func() *Common {
		pool, err := pgxpool.New(t.Context(), s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return New(pool)
	}
}

func TestCommon(t *testing.T) {
	postgrestest.Need(t)
	s := postgrestest.Start(t)
	node := tables(t, s)
	t.Run("quotas", func(t *testing.T) { testQuotas(t, node(), node()) })
	t.Run("keys", func(t *testing.T) { testKeys(t, s, node(), node()) })
	t.Run("windows", func(t *testing.T) { testWindows(t, s, node()) })
	t.Run("purses", func(t *testing.T) { testPurses(t, s, node) })
}

// testQuotas: two relays count the same quotas, all of them or none, and what was used drains.
func testQuotas(t *testing.T, a, b *Common) {
	quotas := []limits.Quota{{Amount: 10, Size: 10, Period: time.Hour}, {Amount: 3600, Size: 20, Period: time.Hour}, {}}
	for i, c := range []struct {
		by   *Common
		n    []int
		over int
	}{{a, []int{6, 6, 6}, -1}, {b, []int{6, 6, 6}, 0}, {b, []int{3, 15, 0}, 1}, {b, []int{4, 1, 0}, -1}, {a, []int{1, 0, 0}, 0}, {a, []int{-2, -2, 0}, -1}, {b, []int{2, 0, 9}, -1}} {
		got, err := c.by.Spend("Shop", quotas, c.n)
		if err != nil || got.Over != c.over || len(got.Used) != 3 {
			t.Fatalf("step %d: %+v, %v; want %d", i, got, err, c.over)
		}
		if got.Used[0] > 10.001 || got.Used[2] != 0 {
			t.Errorf("step %d: used %v", i, got.Used)
		}
	}
	got, err := a.Spend("other", quotas, []int{10, 10, 10})
	if err != nil || got.Over >= 0 {
		t.Errorf("another user: %+v, %v", got, err)
	}
	first := got.Used[1]
	for got.Used[1] >= first { // 3600 an hour
		if got, err = b.Spend("other", quotas, []int{0, 0, 0}); err != nil {
			t.Fatal(err)
		}
	}
}

// testWindows: what was taken counts for the whole span and the slot in which it may be used, and
// no longer; what is given back does not count.
func testWindows(t *testing.T, s *postgrestest.Server, c *Common) {
	l := limits.Limit{Name: "w", Most: 10, Per: time.Hour}
	take := func(want, owed, back int, slot int64) (int, int64) {
		t.Helper()
		n, slot, wait, err := c.take(t.Context(), l, want, owed, back, slot)
		if err != nil || n < want && wait <= 0 || wait > l.Per+3*l.Slot() {
			t.Fatalf("%d, wait %v: %v", n, wait, err)
		}
		return n, slot
	}
	n, slot := take(6, 0, 0, 0)
	if m, _ := take(6, 0, 0, 0); n != 6 || m != 4 {
		t.Errorf("%d and %d of 10", n, m)
	}
	if n, _ := take(5, 0, 3, slot); n != 3 {
		t.Errorf("%d after 3 were given back", n)
	}
	// By the clock of the database: as if an hour and a slot had passed, and then two.
	s.Exec("update dawk.budget set slot = slot - 61 where name = 'w'")
	if n, _ := take(1, 0, 0, 0); n != 0 {
		t.Error("what was taken may still be in use within the span")
	}
	s.Exec("update dawk.budget set slot = slot - 1 where name = 'w'")
	if n, _ := take(1, 12, 0, 0); n != 0 {
		t.Error("more than the limit is owed, and more is given")
	}
	if n, _ := take(1, 0, 0, 0); n != 0 {
		t.Error("what was owed is not counted")
	}
}

// testPurses: several relays, some of which die with what they hold, never use more than the limit
// in any span, and use most of it.
func testPurses(t *testing.T, s *postgrestest.Server, node func() *Common) {
	l := limits.Limit{Name: "p", Most: 60, Per: 3 * time.Second}
	var mu sync.Mutex
	type span struct{ before, after time.Time } // it was used within
	var used []span
	var all sync.WaitGroup
	var enough atomic.Bool
	for i := range 3 {
		all.Go(func() {
			for lives := 0; !enough.Load(); lives++ {
				ctx, die := context.WithCancel(t.Context())
				p := NewPurses(node(), slog.New(slog.DiscardHandler))
				done := make(chan struct{})
				go func() { defer close(done); p.Run(ctx) }()
				for n := 0; !enough.Load() && (i == 0 || n < 15); { // the first lives on
					before := time.Now()
					if wait := p.Take(l, 1); !wait.IsZero() {
						time.Sleep(max(time.Millisecond, min(time.Until(wait), 50*time.Millisecond)))
						continue
					}
					mu.Lock()
					used = append(used, span{before, time.Now()})
					enough.Store(len(used) >= 150)
					mu.Unlock()
					n++
				}
				die()
				<-done
			}
		})
	}
	all.Wait()
	slices.SortFunc(used, func(a, b span) int { return a.before.Compare(b.before) })
	for i, first := range used {
		n := 0
		for _, o := range used[i:] {
			if o.after.Sub(first.before) < l.Per {
				n++
			}
		}
		if n > l.Most {
			t.Fatalf("%d within %v", n, l.Per)
		}
	}
	t.Logf("%d used in %v", len(used), used[len(used)-1].after.Sub(used[0].before).Round(time.Millisecond))
}

// testKeys: a key is claimed by one relay, and what was kept for it is known to all, for a day; one
// whose relay died is free after ten minutes.
func testKeys(t *testing.T, s *postgrestest.Server, a, b *Common) {
	claim := func(c *Common, key, value string, claimed bool) {
		t.Helper()
		v, got, err := c.ClaimKey("shop", key)
		if string(v) != value || got != claimed || err != nil {
			t.Fatalf("%q: %q, %v, %v; want %q, %v", key, v, got, err, value, claimed)
		}
	}
	claim(a, "x", "", true)
	claim(b, "x", "", false)
	if err := a.FinishKey("shop", "x", []byte("done")); err != nil {
		t.Fatal(err)
	}
	claim(b, "x", "done", false)
	if err := b.AbandonKey("shop", "x"); err != nil { // it was finished
		t.Fatal(err)
	}
	claim(a, "x", "done", false)
	claim(a, "y", "", true)
	if err := a.AbandonKey("shop", "y"); err != nil {
		t.Fatal(err)
	}
	claim(b, "y", "", true)
	s.Exec("update dawk.key set at = at - interval '9 minutes'")
	claim(a, "y", "", false)
	s.Exec("update dawk.key set at = at - interval '2 minutes'")
	claim(a, "x", "done", false)
	claim(a, "y", "", true)
	claim(b, "y", "", false)
	s.Exec("update dawk.key set at = at - interval '1 day'")
	claim(a, "x", "", true)
}
