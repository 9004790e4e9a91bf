package postgres

import (
	"strings"
	"time"

	"dawk/relay"
)

// members remembers the nodes as the keeper has just seen them.
func (k *keeper) members(nodes []node, parts []part) {
	q, has := k.q, make(map[int16]int)
	for _, p := range parts {
		if p.Node != nil {
			has[*p.Node]++
		}
	}
	all := make([]relay.ClusterNode, 0, len(nodes))
	for _, n := range nodes {
		m := relay.ClusterNode{ID: int(n.ID), Name: n.Name, State: relay.NodeWorking, Partitions: has[n.ID], Self: n.ID == q.node}
		switch o := k.seen[n.ID]; {
		case !n.Live:
			m.State = relay.NodeGone
		case !m.Self && time.Since(o.since) > 2*q.opt.Timing.Beat:
			m.State = relay.NodeSilent
		}
		all = append(all, m)
	}
	q.nodes.Store(&all)
}

// Cluster is the nodes and the database as last seen. It asks nobody.
func (q *Store) Cluster() relay.Cluster {
	st := q.state.Load()
	c := relay.Cluster{Nodes: []relay.ClusterNode{}, Database: relay.ClusterDatabase{Primary: st.primary, Standby: strings.Join(st.synced, ", "), AllowAsync: q.opt.AllowAsync}}
	if all := q.nodes.Load(); all != nil {
		c.Nodes = append(c.Nodes, *all...)
	}
	switch {
	case !q.w.downSince().IsZero(), q.clock()-time.Duration(q.lastBeat.Load()) > 2*q.opt.Timing.Beat:
		c.Database.WaitingFor = relay.WaitDatabase
	case st.waiting > 0, len(st.synced) == 0 && !q.opt.AllowAsync:
		c.Database.WaitingFor = relay.WaitStandby
	}
	return c
}
