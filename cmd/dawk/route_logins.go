package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/mx/oauth"
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

// loginStatus is one line of `dawk oauth status`.
type loginStatus struct {
	oauth.Status
	HeldSince time.Time `json:"held_since,omitzero"`
	Why       string    `json:"why,omitempty"` // what the last login brought
}

func loginStatuses(l config.Logins) []loginStatus {
	var all []loginStatus
	for _, s := range l {
		all = append(all, loginStatus{Status: s.Status()})
	}
	slices.SortFunc(all, func(a, b loginStatus) int { return cmp.Compare(a.Route, b.Route) })
	return all
}

// loginTest is what `dawk oauth test` found out.
type loginTest struct {
	OK       bool     `json:"ok"`
	Findings []string `json:"findings"`
	Missing  []string `json:"missing,omitempty"` // what a refused login lacks
}

// testLogin logs in at a route as a delivery would, and sends nothing.
func testLogin(ctx context.Context, t *mx.Transport, l config.Logins, route string) (loginTest, error) {
	probed, ok := t.ProbeRoute(ctx, route)
	if !ok {
		return loginTest{}, fmt.Errorf("there is no route %q with a smart host", route)
	}
	var out loginTest
	for _, p := range probed {
		where := cmp.Or(p.Host, "route "+p.Route)
		switch {
		case !p.Reply.IsZero():
			out.Findings = append(out.Findings, where+": "+p.Reply.Advised())
			out.Missing = append(out.Missing, missing(l, p)...)
		case p.Login != "":
			out.OK = true
			out.Findings = append(out.Findings, fmt.Sprintf("%s lets %s in (%s)", where, p.Login, orClear(p.TLS)))
		default:
			out.OK = true
			out.Findings = append(out.Findings, fmt.Sprintf("%s answers (%s); the route has no login", where, orClear(p.TLS)))
		}
	}
	return out, nil
}

// missing says what a login that was refused lacks.
func missing(l config.Logins, p mx.Probed) []string {
	if s := l[p.Route]; s != nil && p.Reply.Stage == relay.StageAuth && p.Reply.Code/100 == 5 {
		return s.Missing()
	}
	return nil
}

// loginHandler serves the paths of `dawk oauth`, before those of next.
func (r *instance) loginHandler(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/oauth", func(w http.ResponseWriter, _ *http.Request) {
		all := loginStatuses(r.logins)
		for i := range all {
			if since, why := r.routeHeld(all[i].Route); !since.IsZero() {
				all[i].HeldSince, all[i].Why, all[i].Remedy = since, why.String(), why.Remedy
			}
		}
		writeJSON(w, http.StatusOK, all)
	})
	mux.HandleFunc("POST /v1/oauth/test", func(w http.ResponseWriter, q *http.Request) {
		out, err := testLogin(q.Context(), r.transport, r.logins, q.URL.Query().Get("route"))
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
