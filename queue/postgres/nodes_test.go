package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/relay"
)

func mailbox(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a store, and closes it with the test.
func open(t testing.TB, opt Options) *Store {
	t.Helper()
	q, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.Close() })
	return q
}

// enqueue accepts a message of some octets for one recipient.
func enqueue(t testing.TB, q *Store, size int) (relay.QueueID, error) {
	t.Helper()
	d, err := q.NewDraft()
	if err != nil {
		return relay.QueueID{}, err
	}
	io.WriteString(d, strings.Repeat("x", size))
	d.Prepend([]byte("Subject: test\r\n\r\n"))
	m := &relay.Message{ID: d.ID(), Arrival: time.Now()}
	m.From = mailbox(t, "sender@example.org")
	m.Recipients = []relay.Recipient{{Path: mailbox(t, "to@example.com")}}
	return m.ID, q.Enqueue(t.Context(), d, m)
}

// enqueueTo accepts a message of some octets for several recipients.
func enqueueTo(t testing.TB, q *Store, size int, to ...string) relay.QueueID {
	t.Helper()
	d, err := q.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(d, strings.Repeat("x", size))
	m := &relay.Message{ID: d.ID(), Arrival: time.Now()}
	for _, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: mailbox(t, r)})
	}
	if err := q.Enqueue(t.Context(), d, m); err != nil {
		t.Fatal(err)
	}
	return m.ID
}

func mustEnqueue(t testing.TB, q *Store, size int) relay.QueueID {
	t.Helper()
	id, err := enqueue(t, q, size)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// end settles the one Delivery of a message.
func end(q *Store, id relay.QueueID) error {
	done := make(chan error, 1)
	q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionRelayed}}}, func(err error) { done <- err })
	return <-done
}

// eventually waits for what other goroutines and processes bring about.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for !f() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(what)
		}
	}
}

func entries(t testing.TB, q *Store) map[relay.QueueID]bool {
	t.Helper()
	all := make(map[relay.QueueID]bool)
	for e, err := range q.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		all[e.ID] = true
	}
	return all
}

// TestStore runs what needs a server of its own only now and then against one.
func TestStore(t *testing.T) {
	postgrestest.Need(t)
	s := postgrestest.Start(t)
	for name, test := range map[string]func(*testing.T, *postgrestest.Server){
		"two nodes": testTwoNodes, "replaced": testReplaced, "sole": testSole, "unknown outcome": testUnknownOutcome, "give up": testGiveUp,
		"refusals": testRefusals, "number in use": testNumberInUse, "full disk": testDiskFull, "damage": testDamage,
		"room on the disk": testDiskRoom, "numbers of events": testNumbersOfEvents,
		"cancelled wait": testCancelledWait, "half sent": testHalfSent, "silent host": testSilentHost,
		"shares": testShares, "same configuration": testSameConfiguration, "busy readers": testBusyReaders, "adoption interrupted": testAdoptionInterrupted,
		"upgrade": testUpgrade, "fair shares": testFairShares, "events of the dead": testEventsOfTheDead, "busy partitions": testBusyPartitions,
		"unknown and given up": testUnknownGivenUp, "time limits of others": testTimeLimits, "no space for a draft": testDraftNoSpace,
		"claim of a replaced node": testClaimReplaced, "keys above the beat": testKeysAboveBeat, "cluster": testCluster, "acts": testActs, "give away": testGiveAway, "pooler": testPooler,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

// testSole: while one works another is refused, and has the mail when it is gone.
func testSole(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Sole = true
	a := open(t, opt)
	id := mustEnqueue(t, a, 10)
	other := opt
	other.Dir = t.TempDir()
	if _, err := Open(t.Context(), other); !errors.Is(err, queue.ErrHeld) {
		t.Fatalf("beside one that works: %v", err)
	}
	c, err := pgx.Connect(t.Context(), dsn) // a third, which is about to join
	if err != nil {
		t.Fatal(err)
	}
	c.Exec(t.Context(), "select pg_advisory_lock($1)", schemaLock+1)
	a.crash()
	if _, err := Open(t.Context(), other); !errors.Is(err, queue.ErrHeld) {
		t.Errorf("behind another one that stands by: %v", err)
	}
	c.Exec(t.Context(), "select pg_advisory_unlock($1)", schemaLock+1) // the server may end a session later than its client
	c.Close(t.Context())
	b := open(t, other)
	if e := entries(t, b); !e[id] {
		t.Errorf("node %d has %v", b.node, e)
	}
	if err := end(b, id); err != nil {
		t.Error(err)
	}
}

// testTwoNodes: a second node gets half of the partitions, each has its own mail, both
// show all of it, and what one leaves the other takes.
func testTwoNodes(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	adopted := make(chan struct{}, 100)
	opt.Adopted = func() { adopted <- struct{}{} }
	a := open(t, opt)
	first := mustEnqueue(t, a, 10)
	b := open(t, options(dsn, t.TempDir()))
	if a.node == b.node {
		t.Fatalf("both are node %d", a.node)
	}
	// The one with the message stays where it is until that is delivered.
	eventually(t, "half of the partitions", func() bool { return len(b.parts()) >= queue.Partitions/2-1 })
	eventually(t, "the other half", func() bool { return len(a.parts())+len(b.parts()) == queue.Partitions })
	mine, yours := mustEnqueue(t, b, 10), mustEnqueue(t, a, 10)
	if e := entries(t, b); len(e) != 1 || !e[mine] {
		t.Errorf("the second node has %v", e)
	}
	if e := entries(t, a); len(e) != 2 || !e[first] || !e[yours] {
		t.Errorf("the first node has %v", e)
	}
	n := 0
	for _, err := range b.Items(t.Context(), relay.QueueID{}) {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if n != 3 {
		t.Errorf("a node shows %d messages of 3", n)
	}
	if err := end(b, first); err == nil {
		t.Error("a node settled what another has")
	}
	row := relay.DigestRow{ID: b.NextID()}
	done := make(chan error, 1)
	b.Settle(relay.Settlement{Rows: []relay.DigestRow{row}}, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	told := make(chan relay.QueueID, 10)
	a.Watch(func(all []relay.Entry) {
		for _, e := range all {
			told <- e.ID
		}
	})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != mine {
		t.Errorf("told of %s, left was %s", got, mine)
	}
	<-adopted
	for r, err := range a.DigestRows() {
		if err != nil || r.ID != row.ID {
			t.Errorf("%v, %v", r, err)
		}
		row.ID = relay.QueueID{}
	}
	if !row.ID.IsZero() {
		t.Error("what the other had still to tell is not told of")
	}
	if err := end(a, mine); err != nil {
		t.Error(err)
	}
	if st := a.Stats(); st.Messages != 2 || st.Deliveries != 2 {
		t.Errorf("%+v", st)
	}
}

// testReplaced: a node that stands still is taken for dead, another has its mail, and
// when it wakes it changes nothing, takes nothing, and says so once.
func testReplaced(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Timing.Dead = 500 * time.Millisecond
	fatal := make(chan error, 2)
	opt.Fatal = func(err error) { fatal <- err }
	still, woken := make(chan struct{}), make(chan struct{})
	var stand atomic.Bool
	opt.pause = func() {
		if stand.CompareAndSwap(true, false) {
			close(still)
			<-woken
		}
	}
	a := open(t, opt)
	ids := []relay.QueueID{mustEnqueue(t, a, 10), mustEnqueue(t, a, 400), mustEnqueue(t, a, 300_000)}
	stand.Store(true)
	<-still
	other := options(dsn, t.TempDir())
	other.Timing.Dead = 500 * time.Millisecond
	b := open(t, other)
	eventually(t, "the mail of the dead", func() bool { return len(entries(t, b)) == len(ids) })
	close(woken)
	if err := end(a, ids[0]); !errors.Is(err, relay.ErrClosed) || !errors.Is(err, queue.ErrReplaced) {
		t.Errorf("a settlement of a node that was replaced: %v", err)
	}
	if err := <-fatal; !errors.Is(err, queue.ErrReplaced) {
		t.Errorf("%v", err)
	}
	if _, err := enqueue(t, a, 10); !errors.Is(err, relay.ErrClosed) {
		t.Errorf("new mail of a node that was replaced: %v", err)
	}
	for _, id := range ids {
		if err := end(b, id); err != nil {
			t.Error(err)
		}
	}
	if len(fatal) > 0 {
		t.Error("it said so twice")
	}
}

// proxy stands before a server and can cut what goes through it.
type proxy struct {
	net.Listener
	to     string
	mu     sync.Mutex
	open   []net.Conn
	closed bool
}

func newProxy(t testing.TB, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) serve(c net.Conn) {
	s, err := net.Dial("tcp", p.to)
	p.mu.Lock()
	if err != nil || p.closed {
		p.mu.Unlock()
		c.Close()
		return
	}
	p.open = append(p.open, c, s)
	p.mu.Unlock()
	go func() { io.Copy(s, c); s.Close() }()
	io.Copy(c, s)
	c.Close()
}

// cut ends all connections: what the server has done its client does not hear.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

// shut refuses new connections, or takes them again.
func (p *proxy) shut(closed bool) {
	p.mu.Lock()
	p.closed = closed
	p.mu.Unlock()
	p.cut()
}

// through is dsn by way of a proxy.
func through(p *proxy, dsn string) string {
	return dsn + fmt.Sprintf(" host=127.0.0.1 port=%d sslmode=disable", p.Addr().(*net.TCPAddr).Port)
}

// testUnknownOutcome: connections break again and again while mail comes and goes; what
// was confirmed is there once, and the rest is not there or was said to be unknown.
func testUnknownOutcome(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	p := newProxy(t, s.Address())
	q := open(t, options(through(p, dsn), t.TempDir()))
	var done atomic.Int64
	stop := make(chan struct{})
	var cuts sync.WaitGroup
	cuts.Go(func() {
		for last := int64(0); ; { // as soon as there was progress, so that there is always some
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if n := done.Load(); n > last+4 {
				last = n
				p.cut()
			}
		}
	})
	var kept sync.Map
	var all sync.WaitGroup
	var wrong atomic.Int64
	for range 8 {
		all.Go(func() {
			for i := range 30 {
				id, err := enqueue(t, q, 100*i)
				done.Add(1)
				if err != nil {
					wrong.Add(1)
					continue
				}
				if i%2 == 0 {
					kept.Store(id, true)
				} else if err := end(q, id); err != nil {
					t.Errorf("settle: %v", err)
				}
			}
		})
	}
	all.Wait()
	close(stop)
	cuts.Wait()
	if n := wrong.Load(); n > 0 { // nobody waited for 30 s
		t.Errorf("%d messages were refused", n)
	}
	stored := entries(t, q)
	kept.Range(func(id, _ any) bool {
		if !stored[id.(relay.QueueID)] {
			t.Errorf("%s was confirmed and is not there", id)
		}
		delete(stored, id.(relay.QueueID))
		return true
	})
	for id := range stored {
		t.Errorf("%s is there and was not confirmed, or has ended", id)
	}
	if st := q.Stats(); st.Messages != 120 || st.Deliveries != 120 {
		t.Errorf("%+v", st)
	}
	if n := s.ExecIn(dsn, "select count(*) from dawk.msg")[0]; n != "120" {
		t.Errorf("%s messages are stored", n)
	}
}

// testGiveUp: mail whose commit stays unknown is refused in the end, and what of it was
// stored is taken out; settlements wait.
func testGiveUp(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	p := newProxy(t, s.Address())
	opt := options(through(p, dsn), t.TempDir())
	opt.Timing.GiveUp = 300 * time.Millisecond
	q := open(t, opt)
	id := mustEnqueue(t, q, 10)
	p.shut(true)
	settled := make(chan error, 1)
	q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionRelayed}}}, func(err error) { settled <- err })
	if _, err := enqueue(t, q, 10); !errors.Is(err, relay.ErrClosed) {
		t.Errorf("mail without a database: %v", err)
	}
	eventually(t, "a refusal before the draft", func() bool { return q.Room() != nil })
	p.shut(false)
	if err := <-settled; err != nil {
		t.Errorf("the settlement did not wait: %v", err)
	}
	eventually(t, "room", func() bool { return q.Room() == nil })
	next := mustEnqueue(t, q, 10)
	if e := entries(t, q); len(e) != 1 || !e[next] {
		t.Errorf("%v", e)
	}
	if n := s.ExecIn(dsn, "select count(*) from dawk.msg")[0]; n != "1" {
		t.Errorf("%s messages are stored", n)
	}
}

// TestServerCrash: the server is killed under load and comes back; nobody notices but
// by the wait.
func TestServerCrash(t *testing.T) {
	postgrestest.Need(t)
	s := postgrestest.Start(t)
	q := open(t, options(database(t, s), t.TempDir()))
	var all sync.WaitGroup
	var n atomic.Int64
	for range 4 {
		all.Go(func() {
			for range 50 {
				id, err := enqueue(t, q, 1000)
				if err == nil {
					err = end(q, id)
				}
				if err != nil {
					t.Error(err)
				}
				n.Add(1)
			}
		})
	}
	eventually(t, "some mail", func() bool { return n.Load() > 20 })
	s.Kill()
	s.Run()
	all.Wait()
	if st := q.Stats(); st.Messages != 0 || st.Deliveries != 0 {
		t.Errorf("%+v", st)
	}
}

// TestPromotion: the primary dies under load, its standby is promoted, and everything
// that was confirmed is there.
func TestPromotion(t *testing.T) {
	postgrestest.Need(t)
	a := postgrestest.Start(t, "synchronous_standby_names=b")
	a.Exec("select 1") // it may commit only what changes nothing before there is a standby
	b := a.Standby("b", "synchronous_standby_names=")
	opt := options(fmt.Sprintf("host=127.0.0.1,127.0.0.1 port=%d,%d user=dawk dbname=postgres", a.Port, b.Port), t.TempDir())
	opt.AllowAsync = false
	eventually(t, "a standby", func() bool {
		return a.Exec("select count(*) from pg_stat_replication where sync_state = 'sync'")[0] == "1"
	})
	q := open(t, opt)
	if err := q.Room(); err != nil {
		t.Fatal(err)
	}
	if d := q.Cluster().Database; d.Standby != "b" || d.WaitingFor != "" || d.AllowAsync || d.Primary != a.Address() {
		t.Errorf("the database: %+v", d)
	}
	var all sync.WaitGroup
	var kept sync.Map
	var n atomic.Int64
	for range 4 {
		all.Go(func() {
			for range 60 {
				id, err := enqueue(t, q, 1000)
				if err == nil {
					kept.Store(id, true)
				}
				n.Add(1)
			}
		})
	}
	eventually(t, "some mail", func() bool { return n.Load() > 20 })
	a.Kill()
	b.Promote()
	all.Wait()
	stored := entries(t, q)
	kept.Range(func(id, _ any) bool {
		if !stored[id.(relay.QueueID)] {
			t.Errorf("%s was confirmed and is lost", id)
		}
		return true
	})
	eventually(t, "a complaint that there is no standby any more", func() bool { return q.Room() != nil })
	eventually(t, "that it waits for one", func() bool {
		d := q.Cluster().Database
		return d.WaitingFor == relay.WaitStandby && d.Primary == b.Address()
	})
}

// testRefusals: what cannot keep the promise is refused at the start, in a sentence.
func testRefusals(t *testing.T, s *postgrestest.Server) {
	for name, c := range map[string]struct {
		prepare string
		change  func(*Options)
		want    string
	}{
		"no standby":           {"select 1", func(o *Options) { o.AllowAsync = false }, "no synchronous standby"},
		"a newer layout":       {"create schema dawk; " + strings.Replace(schema, "$$;", "$$; insert into dawk.cluster (layout, dir) values (99, 1);", 1), nil, "newer version of dawk"},
		"a foreign schema":     {"create schema dawk; create table dawk.other (x int)", nil, "belongs to another program"},
		"nobody there":         {"select 1", func(o *Options) { o.DSN = "host=127.0.0.1 port=1 user=dawk dbname=postgres" }, "connect"},
		"not a DSN":            {"select 1", func(o *Options) { o.DSN = "postgres://user:secret@[" }, "neither a URL nor keywords"},
		"another encoding":     {"", nil, "encoding SQL_ASCII"},
		"a role without right": {"drop role if exists nobody; create role nobody login", func(o *Options) { o.DSN = strings.Replace(o.DSN, "user=dawk", "user=nobody", 1) }, "right CREATE"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := database(t, s)
			if c.prepare == "" {
				s.Exec("create database ascii encoding 'SQL_ASCII' template template0")
				dsn = s.DSN() + " dbname=ascii"
			} else {
				s.ExecIn(dsn, c.prepare)
			}
			opt := options(dsn, t.TempDir())
			if c.change != nil {
				c.change(&opt)
			}
			q, err := Open(t.Context(), opt)
			if err == nil {
				q.Close()
				t.Fatal("it was taken")
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%v", err)
			}
		})
	}
}

// testNumberInUse: two relays with one number are one too many.
func testNumberInUse(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Node = 3
	a := open(t, opt)
	if a.node != 3 {
		t.Fatal(a.node)
	}
	opt.Dir = t.TempDir()
	if _, err := Open(t.Context(), opt); !errors.Is(err, queue.ErrHeld) {
		t.Errorf("%v", err)
	}
	mustEnqueue(t, a, 1)
}

// testDiskFull: new mail is refused, settlements wait, and all goes on by itself.
func testDiskFull(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	q := open(t, options(dsn, t.TempDir()))
	id := mustEnqueue(t, q, 10)
	s.ExecIn(dsn, `create function no_room() returns trigger language plpgsql as $$ begin raise exception 'no space left' using errcode = '53100'; end $$;
		create trigger full_disk before insert or delete on dawk.msg for each statement execute function no_room()`)
	if _, err := enqueue(t, q, 10); !errors.Is(err, relay.ErrNoSpace) {
		t.Errorf("%v", err)
	}
	if err := q.Room(); !errors.Is(err, relay.ErrNoSpace) {
		t.Errorf("%v", err)
	}
	settled := make(chan error, 1)
	q.Settle(relay.Settlement{ID: id, Outcomes: []relay.Outcome{{Action: relay.ActionRelayed}}}, func(err error) { settled <- err })
	s.ExecIn(dsn, "drop trigger full_disk on dawk.msg")
	if err := <-settled; err != nil {
		t.Error(err)
	}
	if err := q.Room(); err != nil {
		t.Error(err)
	}
	mustEnqueue(t, q, 10)
}

// testDamage: rows that cannot be read go aside, and the rest is delivered.
func testDamage(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	dir := t.TempDir()
	opt := options(dsn, dir)
	q := open(t, opt)
	bad, lost, good := mustEnqueue(t, q, 10), mustEnqueue(t, q, 5000), mustEnqueue(t, q, 10)
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	s.ExecIn(dsn, fmt.Sprintf("update dawk.msg set head = 'xxxx' where key = %d; update dawk.chunk set data = 'yy' where key = %d", bad.Key, lost.Key))
	q = open(t, opt)
	if _, err := q.Claim(bad, 0); !errors.Is(err, relay.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if _, err := q.Claim(bad, 0); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("a second time: %v", err)
	}
	if c, err := q.Claim(lost, 0); !errors.Is(err, relay.ErrContentLost) || c == nil {
		t.Errorf("%v", err)
	}
	if _, err := q.Claim(good, 0); err != nil {
		t.Error(err)
	}
	if st := q.Stats(); st.Messages != 2 || st.Quarantined == 0 {
		t.Errorf("%+v", st)
	}
	// Where one Delivery of two cannot be read the other goes on; then all of it goes aside.
	two := enqueueTo(t, q, 5000, "to@example.com", "to@example.net")
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	s.ExecIn(dsn, fmt.Sprintf("update dawk.job set row = 'zz' where key = %d and job = 0", two.Key))
	q = open(t, opt)
	if e := entries(t, q); len(e) != 3 || !e[two] {
		t.Errorf("%v", e)
	}
	if _, err := q.Claim(two, 0); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("%v", err)
	}
	if c, err := q.Claim(two, 1); err != nil {
		t.Error(err)
	} else {
		c.Content.Close()
	}
	if st := q.Stats(); st.Messages != 3 || st.Deliveries != 3 {
		t.Errorf("%+v", st)
	}
	s.ExecIn(dsn, fmt.Sprintf("update dawk.job set row = 'zz' where key = %d and job = 1", two.Key))
	if _, err := q.Claim(two, 1); !errors.Is(err, relay.ErrCorrupt) {
		t.Errorf("%v", err)
	}
	if n := s.ExecIn(dsn, fmt.Sprintf("select (select count(*) from dawk.chunk where key = %[1]d) || ' ' || string_agg(kind, ',' order by kind) from (select distinct kind from dawk.aside where key = %[1]d) x", two.Key))[0]; n != "0 content,delivery,message" {
		t.Errorf("chunks and what is aside: %s", n)
	}
}
