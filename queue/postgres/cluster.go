package postgres

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"dawk/queue/postgres/wish"
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
		case m.Self && q.leaving.Load():
			m.State = relay.NodeDraining
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

// Desk is for acts on mail that other nodes have. do does one to mail of this node.
func (q *Store) Desk(do func(context.Context, wish.Act) error) *wish.Desk {
	return wish.New(wish.Config{Pool: q.pool, Owns: q.owns, Parts: q.parts, Do: do, Log: q.log})
}

// GiveAway has the other nodes take all partitions, with what waits in them, and this one take
// none any more. It returns when they have gone, when no other node works, or when ctx ends; what is
// still ours then is delivered as before.
func (q *Store) GiveAway(ctx context.Context) {
	q.leaving.Store(true)
	t := time.NewTicker(q.opt.Timing.Look / 4)
	defer t.Stop()
	for len(q.parts()) > 0 {
		others := func(n relay.ClusterNode) bool { return !n.Self && n.State == relay.NodeWorking }
		if all := q.nodes.Load(); all != nil && !slices.ContainsFunc(*all, others) {
			return
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		case <-q.ending:
			return
		}
	}
}

// offer has the others want what is ours, the last partition when all else has gone: what ends
// meanwhile may need it for a notice.
func (m *mover) offer(ctx context.Context, parts []part, has map[int16]int) error {
	var ours, offered, to []int16
	for _, p := range parts {
		if p.Node == nil || *p.Node != m.q.node {
			continue
		}
		if ours = append(ours, p.Part); p.Want == nil {
			offered = append(offered, p.Part)
		}
	}
	if len(ours) > 1 {
		offered = slices.DeleteFunc(offered, func(p int16) bool { return p == ours[0] })
	}
	delete(has, m.q.node)
	if len(offered) == 0 || len(has) == 0 {
		return nil
	}
	for range offered {
		least := slices.MinFunc(slices.Sorted(maps.Keys(has)), func(a, b int16) int { return has[a] - has[b] })
		has[least]++
		to = append(to, least)
	}
	_, err := m.q.pool.Exec(ctx, `update dawk.part p set want = u.node from unnest($1::smallint[], $2::smallint[]) as u (part, node)
		where p.part = u.part and p.node = $3 and p.want is null`, offered, to, m.q.node)
	return err
}
