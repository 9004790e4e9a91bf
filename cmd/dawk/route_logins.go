package main

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"dawk/cmd/dawk/internal/check"
	"dawk/mx"
	"dawk/relay"
)

// The logins of routes: their tokens are kept fresh while the relay runs, and
// trouble with one holds its route.

// onHold tells of a route that is held or free again, and wakes the mail that
// waited for it.
func (r *instance) onHold(route string, held bool, why relay.Reply) {
	e := relay.Event{Kind: relay.EventRouteFree, Time: time.Now(), Route: route, Reply: why}
	if held {
		e.Kind = relay.EventRouteHeld
	}
	r.observer.Observe(e)
	r.heldRoutes.note(route, held, why)
	if !held {
		r.dispatcher.Wake(mx.RoutePrefix + route)
	}
}

// runLogins keeps all logins fresh until ctx ends.
func (r *instance) runLogins(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range r.logins {
		wg.Go(func() { s.Run(ctx) })
	}
	wg.Wait()
}

// routeHeld is for `dawk why`.
func (r *instance) routeHeld(route string) (since time.Time, why relay.Reply) {
	for _, h := range r.transport.HeldRoutes() {
		if h.Route == route {
			return h.Since, h.Reply
		}
	}
	return time.Time{}, relay.Reply{}
}

// routesHeld is for the metrics: every route with a login, and whether it is
// held.
func (r *instance) routesHeld() map[string]bool {
	all := make(map[string]bool)
	if r.transport == nil {
		return all
	}
	for i := range r.cfg.Routes {
		if r.cfg.Routes[i].LogsIn() {
			all[r.cfg.Routes[i].RouteName()] = false
		}
	}
	for _, h := range r.transport.HeldRoutes() {
		all[h.Route] = true
	}
	return all
}

// loginHandler serves the paths of `dawk oauth`, before those of next.
func (r *instance) loginHandler(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/oauth", func(w http.ResponseWriter, _ *http.Request) {
		all := check.LoginStatuses(r.logins)
		for i := range all {
			if since, why := r.routeHeld(all[i].Route); !since.IsZero() {
				all[i].HeldSince, all[i].Why, all[i].Remedy = since, why.String(), why.Remedy
			}
		}
		writeJSON(w, http.StatusOK, all)
	})
	mux.HandleFunc("POST /v1/oauth/test", func(w http.ResponseWriter, q *http.Request) {
		out, err := check.TestLogin(q.Context(), r.transport, r.logins, q.URL.Query().Get("route"))
		if err != nil {
			writeJSON(w, http.StatusNotFound, map[string]string{"error": err.Error()})
			return
		}
		writeJSON(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /v1/budgets", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, r.transport.Budgets())
	})
	mux.Handle("/", next)
	return mux
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client has gone if this fails
}
