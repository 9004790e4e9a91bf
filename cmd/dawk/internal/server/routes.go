package server

import (
	"bytes"
	"context"
	"time"

	"dawk/mx"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/delivery"
)

// holds passes on what the transport says of routes that are held for trouble
// with their account. The dispatcher comes after the transport, so that what
// concerns it waits for run.
type holds struct {
	observer relay.Observer
	free     chan string // routes whose mail may go on
}

// maxFree is how many routes may wait to be free; more than anybody has.
const maxFree = 1024

func newHolds(seen relay.Observer) *holds {
	return &holds{seen, make(chan string, maxFree)}
}

// note hears of a route that is held or free again.
func (h *holds) note(route string, held bool, why relay.Reply) {
	e := relay.Event{Kind: relay.EventRouteFree, Time: time.Now(), Route: route, Reply: why}
	if held {
		e.Kind = relay.EventRouteHeld
	}
	h.observer.Observe(e)
	if !held {
		select {
		case h.free <- route:
		default: // its mail goes on when it is due
		}
	}
}

// run wakes the mail of routes that are free again, until ctx ends.
func (h *holds) run(ctx context.Context, d *delivery.Dispatcher) {
	for {
		select {
		case <-ctx.Done():
			return
		case route := <-h.free:
			d.Wake(mx.RoutePrefix + route)
		}
	}
}

// sendLetter queues a letter about a hold to the postmaster.
func (s *Server) sendLetter(ctx context.Context, n relay.Notice) error {
	_, err := s.submit(ctx, accept.Submission{Submitter: accept.Submitter{Identity: "dawk", Listener: "route", Protocol: "ESMTP"},
		Envelope: n.Message.Envelope, Content: bytes.NewReader(n.Content)})
	return err
}

// heldRoutes is for the answers of package admin.
func (s *Server) heldRoutes() (all []admin.HeldRoute) {
	for _, h := range s.now().transport.HeldRoutes() {
		all = append(all, admin.HeldRoute(h))
	}
	return all
}

// routesHeld says of every route with a smart host whether it is held.
func (s *Server) routesHeld() map[string]bool {
	all := make(map[string]bool)
	routes := s.now().cfg.Routes
	for i := range routes {
		if len(routes[i].Via) > 0 {
			all[routes[i].RouteName()] = false
		}
	}
	for _, h := range s.now().transport.HeldRoutes() {
		all[h.Route] = true
	}
	return all
}

// routesDown says of every route with a smart host whether that lets nobody in.
func (s *Server) routesDown() map[string]bool {
	all := s.routesHeld()
	for route := range all {
		toward := s.dispatcher.Toward(mx.RoutePrefix + route)
		all[route] = toward.Unreachable()
	}
	return all
}
