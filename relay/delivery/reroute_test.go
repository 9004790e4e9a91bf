package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// later begins a relay whose next hops put everything off for an hour.
func later(t *testing.T) *rig {
	r := begin(t, delivery.Config{Retry: []time.Duration{time.Hour}})
	r.hop.routes = []string{"office", "spare"}
	r.hop.answer(func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) })
	return r
}

// of are the Deliveries of a message, by their destinations.
func (s *store) of(id relay.QueueID) map[string]*relay.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]*relay.Delivery{}
	for k, d := range s.jobs {
		if k.id == id {
			all[d.Destination] = d
		}
	}
	return all
}

// What is sent by another route goes there at once, and again after each failure; when
// the route has gone from the configuration it goes as other mail, and says so.
func TestReroute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := later(t)
		id := r.store.accept(mail("sender@example.org", "a@dest.test"))
		synctest.Wait()
		if err := r.d.Reroute(context.Background(), id, 0, nil, "nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere") {
			t.Errorf("a route that is not there: %v", err)
		}
		if err := r.d.Reroute(context.Background(), id, 0, nil, "office"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		pass(2 * time.Hour)
		d := r.store.of(id)["route:office"]
		if n := len(r.hop.attempts("route:office")); d == nil || d.Route != "office" || n < 2 {
			t.Fatalf("%d attempts: %+v", n, d)
		}
		for _, try := range r.hop.tries[1:] {
			if try.task.Route != "office" {
				t.Errorf("an attempt by the route %q", try.task.Route)
			}
		}
		if err := r.d.Reroute(context.Background(), id, d.Job, nil, "office"); err != nil {
			t.Errorf("again: %v", err)
		}

		r.hop.mu.Lock()
		r.hop.routes = nil // a reload
		r.hop.mu.Unlock()
		pass(2 * time.Hour)
		d = r.store.of(id)["dest.test"]
		if d == nil || d.Route != "" || len(r.store.of(id)) != 1 {
			t.Fatalf("after the route has gone: %+v", r.store.of(id))
		}
		said := slices.ContainsFunc(r.store.settled, func(s relay.Settlement) bool {
			return strings.Contains(s.Next.Rule, "the route office, chosen by the administrator of this relay, is not in the configuration any more")
		})
		if !said {
			t.Error("nothing says why")
		}
	})
}

// Recipients that are not picked stay where they are, at their time; what is on hold
// stays so; and "" ends it.
func TestRerouteOfSome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := later(t)
		id := r.store.accept(mail("sender@example.org", "a@dest.test", "b@dest.test"))
		synctest.Wait()
		due := r.store.of(id)["dest.test"].Due
		if err := r.d.Reroute(context.Background(), id, 0, []int{1}, "spare"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		all := r.store.of(id)
		if d := all["dest.test"]; d == nil || !slices.Equal(d.Recipients(), []int{0}) || !d.Due.Equal(due) || d.Route != "" {
			t.Errorf("what was not picked: %+v", d)
		}
		if d := all["route:spare"]; d == nil || !slices.Equal(d.Recipients(), []int{1}) || d.Attempts != 2 {
			t.Fatalf("what was picked: %+v", d)
		}
		if err := r.d.Reroute(context.Background(), id, 0, []int{1}, "spare"); !errors.Is(err, relay.ErrNotFound) {
			t.Errorf("a recipient that has left: %v", err)
		}

		if err := r.d.Act(context.Background(), id, relay.VerbHold); err != nil {
			t.Fatal(err)
		}
		if err := r.d.Reroute(context.Background(), id, all["route:spare"].Job, nil, ""); err != nil {
			t.Fatal(err)
		}
		pass(3 * time.Hour)
		for k, d := range r.store.jobs {
			if k.id == id && (!d.Held || d.Destination != "dest.test" || d.Route != "") {
				t.Errorf("%+v", d)
			}
		}
		if n := len(r.hop.tries); n != 2 {
			t.Errorf("%d attempts: what is on hold was tried", n)
		}
	})
}
