package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay"
)

// testDiskRoom: where nothing but new mail comes, a disk that has room again is noticed.
func testDiskRoom(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	q := open(t, options(dsn, t.TempDir()))
	s.ExecIn(dsn, `create function no_room() returns trigger language plpgsql as $$ begin raise exception 'no space left' using errcode = '53100'; end $$;
		create trigger full_disk before insert on dawk.msg for each statement execute function no_room()`)
	if _, err := enqueue(t, q, 10); !errors.Is(err, relay.ErrNoSpace) {
		t.Fatal(err)
	}
	s.ExecIn(dsn, "drop trigger full_disk on dawk.msg")
	for late := time.Now().Add(time.Minute); ; time.Sleep(fullWait / 10) {
		if _, err := enqueue(t, q, 10); err == nil {
			break
		} else if time.Now().After(late) {
			t.Fatalf("there is room, and still: %v", err)
		}
	}
	if err := q.Room(); err != nil {
		t.Error(err)
	}
}

// testNumbersOfEvents: a number is not given again after all events have gone and the
// relay was started again.
func testNumbersOfEvents(t *testing.T, s *postgrestest.Server) {
	opt := options(database(t, s), t.TempDir())
	q := open(t, opt)
	tell := func() {
		t.Helper()
		q.Outbox().SetLimits(relay.OutboxLimits{MaxBytes: 1 << 20})
		done := make(chan error, 1)
		q.Settle(relay.Settlement{Events: []relay.Event{{Time: time.Now(), Kind: relay.OutboxKinds()[0]}}}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	tell()
	tell()
	last := q.Outbox().Last()
	q.Outbox().Told(last)
	if err := q.outbox.prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	q = open(t, opt)
	if got := q.Outbox().Last(); got != last {
		t.Errorf("the last number is %d, it was %d", got, last)
	}
	tell()
	n := 0
	for e, err := range q.Outbox().Events(last) {
		if n++; err != nil || e.Number <= last {
			t.Errorf("%d: %v", e.Number, err)
		}
	}
	if n != 1 {
		t.Errorf("%d events after the last one", n)
	}
}

// openWithStandby opens a store that saw a standby when it last looked at the database: without,
// commits wait for none where one server is enough.
func openWithStandby(t testing.TB, opt Options) *Store {
	t.Helper()
	opt.Timing.Check = time.Hour
	q := open(t, opt)
	begun := q.state.Load()
	eventually(t, "the one look at the database", func() bool { return q.state.Load() != begun })
	had := *q.state.Load()
	had.synced = []string{"nobody"}
	q.state.Store(&had)
	return q
}

// testCancelledWait: the operator cancels a commit that waits for a standby, and the
// server says that it is done: the client is not told so. What waits when the store is
// closed has an unknown outcome.
func testCancelledWait(t *testing.T, s *postgrestest.Server) {
	q := openWithStandby(t, options(database(t, s), t.TempDir()))
	names := func(to string) {
		s.Exec("alter system set synchronous_standby_names = '" + to + "'")
		s.Exec("select pg_reload_conf()")
		eventually(t, "a reload", func() bool { return s.Exec("show synchronous_standby_names")[0] == to })
	}
	t.Cleanup(func() { names("") })
	names("nobody")
	waits := "from pg_stat_activity where application_name like 'dawk/%' and wait_event = 'SyncRep'"
	start := func() <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := enqueue(t, q, 10)
			done <- err
		}()
		eventually(t, "a commit that waits", func() bool { return s.Exec("select count(*) " + waits)[0] == "1" })
		return done
	}
	done := start()
	s.Exec("select pg_cancel_backend(pid) " + waits)
	select {
	case err := <-done:
		t.Fatalf("no standby has it, and the answer is %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	names("")
	if err := <-done; err != nil {
		t.Error(err)
	}
	names("nobody")
	done = start()
	q.Close()
	if err := <-done; !errors.Is(err, relay.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// testHalfSent: a connection breaks in the middle of a group, and the server does not
// notice. What it holds does not keep the message out.
func testHalfSent(t *testing.T, s *postgrestest.Server) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var armed atomic.Bool
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			up, err := net.Dial("tcp", s.Address())
			if err != nil {
				c.Close()
				continue
			}
			t.Cleanup(func() { up.Close() })
			go func() { // to the client
				buf := make([]byte, 64<<10)
				for {
					n, err := up.Read(buf)
					if err != nil {
						break
					}
					c.Write(buf[:n])
				}
				c.Close()
			}()
			go func() { // to the server, which is not told of the end
				buf := make([]byte, 64<<10)
				for sent := 0; ; {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					if armed.Load() {
						if sent += n; sent > 600<<10 && armed.CompareAndSwap(true, false) {
							c.Close()
							return
						}
					}
					up.Write(buf[:n])
				}
			}()
		}
	}()
	opt := options(database(t, s)+fmt.Sprintf(" host=127.0.0.1 port=%d sslmode=disable", l.Addr().(*net.TCPAddr).Port), t.TempDir())
	opt.Timing.GiveUp = 15 * time.Second
	q := open(t, opt)
	mustEnqueue(t, q, 10)
	armed.Store(true)
	mustEnqueue(t, q, 3<<20)
}

// TestStandbyRemoved: mail is refused by the first commit that would not wait for a
// standby, not when the database is looked at the next time.
func TestStandbyRemoved(t *testing.T) {
	postgrestest.Need(t)
	a := postgrestest.Start(t)
	a.Exec("alter system set synchronous_standby_names = 'b'")
	a.Standby("b", "synchronous_standby_names=")
	a.Exec("select pg_reload_conf()")
	eventually(t, "a standby", func() bool {
		return a.Exec("select count(*) from pg_stat_replication where sync_state = 'sync'")[0] == "1"
	})
	opt := options(a.DSN(), t.TempDir())
	opt.AllowAsync, opt.Timing.Check = false, time.Hour
	q := open(t, opt)
	begun := q.state.Load()
	eventually(t, "the one look at the database", func() bool { return q.state.Load() != begun })
	id := mustEnqueue(t, q, 10)
	a.Exec("alter system set synchronous_standby_names = ''")
	a.Exec("select pg_reload_conf()")
	eventually(t, "the change", func() bool { return a.Exec("show synchronous_standby_names")[0] == "" })
	taken := []relay.QueueID{id} // each backend hears of the change by a signal of its own; until then the standby has it
	eventually(t, "a refusal without a standby", func() bool {
		more, err := enqueue(t, q, 10)
		if err == nil {
			taken = append(taken, more)
		} else if !errors.Is(err, relay.ErrClosed) {
			t.Errorf("without a standby: %v", err)
		}
		return err != nil
	})
	for _, id := range taken {
		if err := end(q, id); err != nil {
			t.Errorf("a settlement: %v", err)
		}
	}
	if n := a.Exec("select count(*) from dawk.msg")[0]; n != "0" {
		t.Errorf("%s messages are stored", n)
	}
}

// testSameConfiguration: two machines with the same name and the same paths are two.
func testSameConfiguration(t *testing.T, s *postgrestest.Server) {
	base := t.TempDir()
	opt := options(database(t, s), filepath.Join(base, "data"))
	opt.Sole = true
	q := open(t, opt)
	if err := os.Rename(opt.Dir, filepath.Join(base, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if other, err := Open(t.Context(), opt); !errors.Is(err, queue.ErrHeld) {
		t.Errorf("beside one that works: %v", err)
		if err == nil {
			other.Close()
		}
	}
	mustEnqueue(t, q, 10)
}

// testBusyReaders: while all connections for reading are taken the node beats, and is
// not thought dead.
func testBusyReaders(t *testing.T, s *postgrestest.Server) {
	q := open(t, options(database(t, s), t.TempDir()))
	for range q.pool.Config().MaxConns {
		c, err := q.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
	before := q.lastBeat.Load()
	for late := time.Now().Add(time.Minute); q.lastBeat.Load() < before+int64(300*time.Millisecond); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("no beat for 5 s")
		}
	}
}

// testAdoptionInterrupted: what Watch could not be told of is told with the next look.
func testAdoptionInterrupted(t *testing.T, s *postgrestest.Server) {
	opt := options(database(t, s), t.TempDir())
	opt.Timing.Look = time.Hour
	q := open(t, opt)
	d, err := q.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	m := &relay.Message{ID: d.ID(), Arrival: time.Now()}
	const many = 6000
	for i := range many {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: mailbox(t, fmt.Sprintf("to@host%d.example.com", i))})
	}
	if err := q.Enqueue(t.Context(), d, m); err != nil {
		t.Fatal(err)
	}
	part := partOf(m.ID.Key)
	q.mu.Lock()
	q.owned[part] = ownership{}
	q.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	told := make(map[uint16]bool)
	q.Watch(func(all []relay.Entry) {
		for _, e := range all {
			told[e.Job] = true
		}
		cancel()
	})
	if err := q.adopt(ctx, []int16{part}); err == nil {
		t.Fatal("it was not interrupted")
	}
	if err := q.adopt(t.Context(), []int16{part}); err != nil {
		t.Fatal(err)
	}
	if len(told) != many {
		t.Errorf("told of %d Deliveries of %d", len(told), many)
	}
}

// testClaimReplaced: a node that was replaced begins nothing, also with what it has in memory.
func testClaimReplaced(t *testing.T, s *postgrestest.Server) {
	q := open(t, options(database(t, s), t.TempDir()))
	id := mustEnqueue(t, q, 10)
	q.replaced()
	if _, err := q.Claim(id, 0); !errors.Is(err, relay.ErrClosed) || !errors.Is(err, queue.ErrReplaced) {
		t.Errorf("%v", err)
	}
}

// testKeysAboveBeat: keys begin above all that are stored, also where the last beat was lost.
func testKeysAboveBeat(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	q := open(t, opt)
	id := mustEnqueue(t, q, 10)
	q.crash()
	const ahead = 3600_000_000 &^ 255 // an hour: the clock of the node that died
	s.ExecIn(dsn, fmt.Sprintf("update dawk.beat set high = 0; update dawk.msg set key = key + %d", ahead))
	q = open(t, opt)
	if next := q.NextID(); next.Key <= id.Key+ahead {
		t.Errorf("%d is not above %d", next.Key, id.Key+ahead)
	}
}

// testSilentHost: the first host of several has vanished without a word, and the next
// one is used within seconds.
func testSilentHost(t *testing.T, s *postgrestest.Server) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(s.Address())
	if err != nil {
		t.Fatal(err)
	}
	dsn := database(t, s) + fmt.Sprintf(" host=127.0.0.1,127.0.0.1 port=%d,%s sslmode=disable", l.Addr().(*net.TCPAddr).Port, port)
	ctx, cancel := context.WithTimeout(t.Context(), sendTimeout)
	defer cancel()
	opt := options(dsn, t.TempDir())
	q, err := Open(ctx, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	mustEnqueue(t, q, 10)
}
