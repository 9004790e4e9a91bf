package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
	"dawk/queue/postgres/wish"
	"dawk/relay"
)

// testCluster: every node tells of all, of who fell silent, and of what the database lacks.
func testCluster(t *testing.T, s *postgrestest.Server) {
	p := newProxy(t, s.Address())
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Name = "a.example.org"
	a := open(t, opt)
	opt = options(through(p, dsn), t.TempDir())
	opt.Name, opt.Timing.Dead = "b.example.org", time.Hour
	b := open(t, opt)

	node := func(q, other *Store) (n relay.ClusterNode) {
		for _, m := range q.Cluster().Nodes {
			if m.ID == int(other.node) {
				n = m
			}
		}
		return n
	}
	for _, q := range []*Store{a, b} {
		eventually(t, "a half each", func() bool {
			return node(q, a) == relay.ClusterNode{ID: int(a.node), Name: "a.example.org", State: relay.NodeWorking, Partitions: queue.Partitions / 2, Self: q == a} &&
				node(q, b) == relay.ClusterNode{ID: int(b.node), Name: "b.example.org", State: relay.NodeWorking, Partitions: queue.Partitions / 2, Self: q == b}
		})
	}
	c := a.Cluster()
	if nodes, parts := c.Working(); nodes != 2 || parts != queue.Partitions/2 {
		t.Errorf("%d nodes, %d partitions", nodes, parts)
	}
	if d := c.Database; d.WaitingFor != "" || !d.AllowAsync || d.Primary == "" {
		t.Errorf("the database: %+v", d)
	}

	p.shut(true)
	p.cut()
	eventually(t, "it waits for the database", func() bool { return b.Cluster().Database.WaitingFor == relay.WaitDatabase })
	eventually(t, "it is gone", func() bool { return node(a, b).State == relay.NodeGone && node(a, a).Partitions == queue.Partitions })
	p.shut(false)
}

// testActs: what an operator asks for at one node is done by the node that has the mail, also
// while the mail goes from one to another.
func testActs(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	a, b := open(t, options(dsn, t.TempDir())), open(t, options(dsn, t.TempDir()))
	eventually(t, "a half each", func() bool { return len(a.parts()) == len(b.parts()) })
	id := mustEnqueue(t, b, 10)

	var mu sync.Mutex
	var done []wish.Act
	answer, deaf := error(nil), false // of b
	atA := a.Desk(func(_ context.Context, w wish.Act) error {
		mu.Lock()
		defer mu.Unlock()
		done = append(done, w)
		return nil
	})
	atB := b.Desk(func(_ context.Context, w wish.Act) error {
		mu.Lock()
		defer mu.Unlock()
		if deaf { // its scheduler has given the mail up
			return relay.ErrNotFound
		}
		done = append(done, w)
		return answer
	})
	var desks sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer desks.Wait()
	defer stop()
	desks.Go(func() { atA.Run(ctx) })
	desks.Go(func() { atB.Run(ctx) })

	for _, w := range []wish.Act{
		{ID: id, Whole: true, Verb: relay.VerbHold},
		{ID: id, Job: 0, Recipients: []int{0}, Verb: relay.VerbDelete},
		{ID: id, Verb: relay.VerbReroute, Route: "smart"},
	} {
		mu.Lock()
		done = nil
		mu.Unlock()
		began := time.Now()
		if err := atA.Do(ctx, w); err != nil || !reflect.DeepEqual(done, []wish.Act{w}) {
			t.Errorf("%+v: %v, done %+v", w, err, done)
		}
		t.Logf("done by the other node after %v", time.Since(began).Round(time.Millisecond))
	}
	answer = relay.ErrPending
	if err := atA.Do(ctx, wish.Act{ID: id, Whole: true, Verb: relay.VerbHold}); !errors.Is(err, relay.ErrPending) {
		t.Errorf("of an attempt under way: %v", err)
	}
	answer = errors.New("it is held")
	if err := atA.Do(ctx, wish.Act{ID: id, Whole: true, Verb: relay.VerbHold}); err == nil || err.Error() != "it is held" {
		t.Errorf("an error: %v", err)
	}
	answer, deaf = nil, true
	if err := atA.Do(ctx, wish.Act{ID: id, Job: 7, Verb: relay.VerbHold}); !errors.Is(err, relay.ErrNotFound) {
		t.Errorf("of what is not there: %v", err)
	}
	deaf = false

	var many sync.WaitGroup
	for range 300 {
		many.Go(func() {
			if err := atA.Do(ctx, wish.Act{ID: id, Whole: true, Verb: relay.VerbRetry}); err != nil {
				t.Error(err)
			}
		})
	}
	many.Wait()

	mu.Lock()
	deaf, done = true, nil
	mu.Unlock()
	moved := make(chan error, 1)
	go func() { moved <- atA.Do(ctx, wish.Act{ID: id, Whole: true, Verb: relay.VerbRelease}) }()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-moved; err != nil || len(done) != 1 {
		t.Errorf("of mail that moved: %v, done %+v", err, done)
	}
	if n := s.ExecIn(dsn, "select count(*) from dawk.wish where answer is not null or not taken")[0]; n != "0" {
		t.Errorf("%s rows are left", n)
	}
}

// testGiveAway: a node that is to stop hands its mail to the others first; one that is alone
// keeps it.
func testGiveAway(t *testing.T, s *postgrestest.Server) {
	dsn := database(t, s)
	opt := options(dsn, t.TempDir())
	opt.Forget = func(context.Context, func(relay.QueueID) bool) error { return nil }
	opt.Timing.Rest = time.Hour // no new mail comes: there is nothing to wait for
	a := open(t, opt)
	a.GiveAway(t.Context())
	if n := len(a.parts()); n != queue.Partitions {
		t.Errorf("alone it has %d partitions", n)
	}
	a.Close()

	opt.Dir, opt.Timing.Rest = t.TempDir(), quick.Rest
	a = open(t, opt)
	opt.Dir = t.TempDir()
	b := open(t, opt)
	eventually(t, "a half each", func() bool { return len(a.parts()) == len(b.parts()) })
	ids := []relay.QueueID{mustEnqueue(t, a, 10), mustEnqueue(t, a, 10)}
	a.GiveAway(t.Context())
	if n := len(a.parts()); n != 0 {
		t.Errorf("it has %d partitions", n)
	}
	eventually(t, "all of them at the other", func() bool { return len(b.parts()) == queue.Partitions })
	for _, id := range ids {
		if !entries(t, b)[id] {
			t.Errorf("%s is not there", id)
		}
	}
}

// testPooler: PgBouncer refuses what our sessions are set to. That is told, and not waited for.
func testPooler(t *testing.T, _ *postgrestest.Server) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := pgproto3.NewBackend(c, c)
			if _, err := b.ReceiveStartupMessage(); err == nil {
				b.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: "08P01", Message: "unsupported startup parameter: lock_timeout"})
				b.Flush()
			}
			c.Close()
		}
	}()
	_, err = Open(t.Context(), options(fmt.Sprintf("host=127.0.0.1 port=%d user=dawk sslmode=disable", l.Addr().(*net.TCPAddr).Port), t.TempDir()))
	if err == nil || Unreachable(err) || !strings.Contains(err.Error(), "name the servers themselves") {
		t.Errorf("it says: %v", err)
	}
}

// TestStandbyGone: where one server is enough, mail is taken while the standby is away.
func TestStandbyGone(t *testing.T) {
	postgrestest.Need(t)
	a := postgrestest.Start(t)
	a.Exec("alter system set synchronous_standby_names = 'b'")
	b := a.Standby("b", "synchronous_standby_names=")
	a.Exec("select pg_reload_conf()")
	opt := options(a.DSN(), t.TempDir())
	opt.Timing.Check = 100 * time.Millisecond
	q := open(t, opt)
	standby := func(name string) func() bool {
		return func() bool { return q.Cluster().Database.Standby == name }
	}
	eventually(t, "a standby", standby("b"))
	if got := q.synchronous(); got != "on" {
		t.Errorf("with a standby synchronous_commit is %s", got)
	}
	mustEnqueue(t, q, 10)
	b.Kill()
	eventually(t, "that it is gone", standby(""))
	mustEnqueue(t, q, 10)
	if d := q.Cluster().Database; d.WaitingFor != "" {
		t.Errorf("it waits for the %s", d.WaitingFor)
	}
}
