package server

import (
	"context"

	"dawk/queue/postgres"
	"dawk/queue/postgres/wish"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/delivery"
)

// remote is the dispatcher where other nodes have a part of the queue: an act on their mail
// is done by them.
type remote struct {
	operated
	desk *wish.Desk
}

// operator is what acts are asked of.
func (s *Server) operator() admin.Dispatcher {
	here := operated{s.dispatcher}
	if s.desk == nil {
		return here
	}
	return remote{here, s.desk}
}

// newDesk is for acts on mail of other nodes.
func (s *Server) newDesk(q *postgres.Store) *wish.Desk {
	return q.Desk(func(ctx context.Context, a wish.Act) error {
		select {
		case <-s.running.started:
			return actOn(ctx, s.dispatcher, a)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
}

func actOn(ctx context.Context, d *delivery.Dispatcher, a wish.Act) error {
	switch {
	case a.Verb == relay.VerbReroute:
		return d.Reroute(ctx, a.ID, a.Job, a.Recipients, a.Route)
	case a.Whole:
		return d.Act(ctx, a.ID, a.Verb)
	}
	return d.ActOn(ctx, a.ID, a.Job, a.Recipients, a.Verb)
}

func (r remote) Act(ctx context.Context, id relay.QueueID, verb relay.Verb) error {
	return r.desk.Do(ctx, wish.Act{ID: id, Whole: true, Verb: verb})
}

func (r remote) ActOn(ctx context.Context, id relay.QueueID, job uint16, recipients []int, verb relay.Verb) error {
	return r.desk.Do(ctx, wish.Act{ID: id, Job: job, Recipients: recipients, Verb: verb})
}

func (r remote) Reroute(ctx context.Context, id relay.QueueID, job uint16, recipients []int, route string) error {
	return r.desk.Do(ctx, wish.Act{ID: id, Job: job, Recipients: recipients, Verb: relay.VerbReroute, Route: route})
}
