package mx_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/shaping"
)

// To a provider idle connections are connections, and those on which we are
// about to leave as well: whichever of its hosts mail goes to, and however many
// addresses they have, there are never more than it allows.
func TestLimitIsWhatTheProviderSees(t *testing.T) {
	for _, c := range []struct{ name, second string }{{"an address a host", ""}, {"two, and one is dead", "127.0.0.9"}} {
		t.Run(c.name, func(t *testing.T) {
			shaping, err := shaping.New(0, []shaping.Rule{{Name: "big", MX: []string{"*.big.test"}, Connections: 2, MessagesPerConnection: 3}})
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, mxtest.Config{}, func(c *mx.Config) { c.Shaping = shaping })
			for i := range 4 {
				records := fmt.Sprintf("d%d.test. MX 10 mx%[1]d.big.test.\nmx%[1]d.big.test. A 127.0.0.1\n", i)
				if c.second != "" {
					records += fmt.Sprintf("mx%d.big.test. A %s\n", i, c.second)
				}
				if err := w.dns.Add(records); err != nil {
					t.Fatal(err)
				}
			}
			w.script("quit", "delay 20ms drop", 0) // it is in no hurry
			var wg sync.WaitGroup
			for worker := range 2 { // as many as the dispatcher would let in
				wg.Go(func() {
					for i := range 8 {
						task := task(t, letter, fmt.Sprintf("x@d%d.test", (i+2*worker)%4))
						if res := w.deliver(task); !res.Replies[0].Positive() {
							t.Errorf("%+v", res)
						}
					}
				})
			}
			wg.Wait()
			if n := w.srv.MostAtOnce(); n != 2 {
				t.Errorf("%d connections at once, want 2", n)
			}
		})
	}
}

// A smart host with a budget of connections counts them likewise: one that has
// carried its messages is gone before the next one comes.
func TestLimitOfARoute(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	hop, err := mx.ParseHop(w.srv.Addr(), false)
	if err != nil {
		t.Fatal(err)
	}
	tr := newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, w.dns), MessagesPerConnection: 1,
		Routes: []mx.Route{{Name: "out", Via: []mx.Hop{hop}, Budget: shaping.Budget{Connections: 1}}}})
	w.script("quit", "delay 20ms drop", 0)
	w.tr = tr
	for range 4 {
		if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() {
			t.Errorf("%+v", res)
		}
	}
	if n := w.srv.MostAtOnce(); n != 1 || w.srv.Sessions() != 4 {
		t.Errorf("%d connections at once of %d, want 1", n, w.srv.Sessions())
	}
}

// Where several machines share a limit and our share shrinks, idle connections beyond it are
// closed, and counted until they are.
func TestSharesThatShrink(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	hop, err := mx.ParseHop(w.srv.Addr(), false)
	if err != nil {
		t.Fatal(err)
	}
	share := 2
	tr := newTransport(t, mx.Config{Hostname: "relay.example.org", Resolver: newResolver(t, w.dns), IdleTimeout: time.Hour,
		Share: func(name string, limit int) int {
			if name != "route:out" || limit != 3 {
				t.Errorf("asked for the share of %q, %d", name, limit)
			}
			return share
		},
		Routes: []mx.Route{{Name: "out", Via: []mx.Hop{hop}, Limits: shaping.Rule{Connections: 3}}}})
	w.tr = tr
	if res := w.deliver(task(t, letter, "x@b.test")); !res.Replies[0].Positive() {
		t.Errorf("%+v", res)
	}
	if got := tr.Allowance("route:out").Connections; got != 2 {
		t.Errorf("%d connections are allowed, want 2", got)
	}
	if n := tr.Shrink(); n != 0 {
		t.Errorf("%d connections are too much with one idle", n)
	}
	share = 0
	if n := tr.Shrink(); n != 1 {
		t.Errorf("%d connections are too much, want the idle one", n)
	}
	for tr.Shrink() > 0 { // the farewell takes a moment
		runtime.Gosched()
	}
	if err := w.srv.WaitCommand(t.Context(), "QUIT", 1); err != nil {
		t.Error(err)
	}
}
