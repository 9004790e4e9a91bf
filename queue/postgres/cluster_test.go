package postgres

import (
	"testing"
	"time"

	"dawk/queue"
	"dawk/queue/postgres/postgrestest"
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
