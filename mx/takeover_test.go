package mx_test

import (
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/shaping"
	"dawk/relay/replies"
)

// successor is a transport with routes, which takes over from another; nil: the first.
func successor(t *testing.T, before *mx.Transport, h *holds, routes ...mx.Route) *mx.Transport {
	t.Helper()
	cfg := mx.Config{Hostname: "relay.test", Resolver: failingLookup{}, HoldProbe: time.Hour, OnHold: h.note, IdleTimeout: -1, Routes: routes}
	if before == nil {
		return newTransport(t, cfg)
	}
	way, err := mx.NewRouting(cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := before.Successor(way, cfg)
	if err != nil {
		t.Fatal(err)
	}
	tr.TakeOver(before)
	return tr
}

// A reload keeps the hold of a route whose host and login are what they were: the trouble of its
// account has not ended. For another login, or without the route, it ends, and that is told.
func TestTakeOverOfHolds(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*mx.Route)
		held   bool
	}{
		"nothing changes":     {func(*mx.Route) {}, true},
		"other recipients":    {func(r *mx.Route) { r.To = []string{"b.test"} }, true},
		"another login":       {func(r *mx.Route) { r.User = "other@example.org" }, false},
		"another host":        {func(r *mx.Route) { r.Via[0].Host = "127.0.0.2" }, false},
		"the route is not it": {func(r *mx.Route) { r.Name = "other" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := newServer(t, mxtest.Config{})
			route := func() mx.Route {
				return mx.Route{Name: "office", To: []string{"*"}, Via: []mx.Hop{{Host: "127.0.0.1", Port: uint16(srv.Port())}}}
			}
			first, second := &holds{}, &holds{}
			before := successor(t, nil, first, route())
			if err := srv.Script("rcpt", "550 5.7.64 TenantAttribution; Relay Access Denied", 1); err != nil {
				t.Fatal(err)
			}
			before.Deliver(t.Context(), task(t, letter, "b@b.test"))
			held := before.HeldRoutes()
			if len(held) != 1 {
				t.Fatalf("held is %v", held)
			}
			next := route()
			c.change(&next)
			now := successor(t, before, second, next).HeldRoutes()
			if c.held && (len(now) != 1 || now[0] != held[0] || len(second.told) != 0) {
				t.Errorf("held is %v, was %v; told %v", now, held, second.told)
			}
			if !c.held && (len(now) != 0 || len(second.told) != 1 || second.told[0]) {
				t.Errorf("held is %v; told %v", now, second.told)
			}
		})
	}
}

// What a mailbox has sent today counts after a reload too, also by a route of another name; a
// budget that has changed begins anew.
func TestTakeOverOfBudgets(t *testing.T) {
	route := func(name string, b shaping.Budget) mx.Route {
		return mx.Route{Name: name, To: []string{"*"}, User: "one@example.org", Password: "x", Via: []mx.Hop{{Host: "127.0.0.1", Port: 25}},
			Provider: replies.ProviderMicrosoft, Budget: b}
	}
	two := shaping.Budget{MessagesPerDay: 2}
	before := successor(t, nil, &holds{}, route("a", two))
	for range 2 {
		if wait := before.Reserve("route:a"); !wait.IsZero() {
			t.Fatal(wait)
		}
	}
	if successor(t, before, &holds{}, route("a", two)).Reserve("route:a").IsZero() {
		t.Error("after a reload a mailbox may send more")
	}
	if successor(t, before, &holds{}, route("b", two)).Reserve("route:b").IsZero() {
		t.Error("by another name a mailbox may send more")
	}
	if wait := successor(t, before, &holds{}, route("a", shaping.Budget{MessagesPerDay: 9})).Reserve("route:a"); !wait.IsZero() {
		t.Errorf("with a larger budget it waits until %v", wait)
	}
}
