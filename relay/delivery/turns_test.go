package delivery_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/schedule"
)

// slow answers after a while, or when the attempt is called off.
func slow(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func TestDeadDomainDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			if task.Destination == "dead.test" {
				slow(ctx, 30*time.Second)
				return all(task, noConnect)
			}
			slow(ctx, 100*time.Millisecond)
			return all(task, relayed)
		}
		for range 10_000 {
			r.store.accept(mail("", "x@dead.test"))
		}
		pass(10 * time.Minute)
		began := time.Now()
		for i := range 100 {
			r.store.accept(mail("", fmt.Sprintf("x@live%d.test", i)))
		}
		pass(time.Second)
		if n := r.ledger.count(relay.EventRelayed); n != 100 {
			t.Errorf("%d of 100 others relayed within a second", n)
		}
		for _, at := range r.hop.attempts("live99.test") {
			if at.Sub(began) > 0 {
				t.Errorf("it waited %v", at.Sub(began))
			}
		}
		if n := r.hop.peaks()["dead.test"]; n > 10 {
			t.Errorf("%d attempts at once for the dead domain, want 10 at most", n)
		}
		r.hop.answer(nil)
		pass(3 * time.Hour)
		if n := r.store.queued(); n != 0 {
			t.Errorf("%d deliveries left after the domain came back", n)
		}
	})
}

// A host that resets every connection is asked about once a second, however
// much waits for it, and each Delivery keeps its own attempts.
func TestResettingHostIsNotHammered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, noConnect) }
		for range 5000 {
			r.store.accept(mail("", "x@reset.test"))
		}
		pass(time.Hour)
		at := r.hop.attempts("reset.test")
		if len(at) > 3620 || len(at) < 1000 {
			t.Errorf("%d attempts in an hour, want one a second at most, and not many fewer", len(at))
		}
		if st := r.d.Stats(); st.Resting != 1 {
			t.Errorf("stats do not show that it rests: %+v", st)
		}
	})
}

func TestFloodingIdentityDelaysNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Limits: perProvider(1)})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			slow(ctx, time.Second)
			return all(task, relayed)
		}
		for range 1000 {
			r.store.accept(mail("", "x@dest.test"))
		}
		pass(10*time.Second + 500*time.Millisecond)
		m := mail("", "x@dest.test")
		m.Identity = "other"
		r.store.accept(m)
		pass(3 * time.Second)
		if n := len(r.ledger.kinds(m.ID)); n != 2 {
			t.Errorf("the other identity had to wait for more than one turn: %d events", n)
		}
		st := r.d.Stats()
		if st.Queued != st.Ready+st.InFlight {
			t.Errorf("stats %+v", st)
		}
	})
}

// Each device of a trusted network has turns of its own, and its mail of an earlier
// run as well.
func TestDevicesOfANetworkDoNotWaitForEachOther(t *testing.T) {
	from := func(client string) *relay.Message {
		m := mail("", "x@dest.test")
		m.Identity, m.Client = "network:192.0.2.0/24", client
		return m
	}
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Limits: perProvider(1)}, func(r *rig) {
			r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
				slow(ctx, time.Second)
				return all(task, relayed)
			}
			for range 400 {
				r.store.enqueue(from("192.0.2.7"))
			}
		})
		m := from("192.0.2.8")
		r.store.accept(m)
		pass(3 * time.Second)
		if n := len(r.ledger.kinds(m.ID)); n != 2 {
			t.Errorf("the other device had to wait for more than one turn: %d events", n)
		}
	})
}

func TestBudgetsAreNeverExceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Schedule: schedule.Config{Attempts: 25}, Limits: perProvider(4)})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			slow(ctx, 100*time.Millisecond)
			return all(task, relayed)
		}
		for i := range 2000 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.test", i%50)))
		}
		pass(time.Minute)
		for dest, n := range r.hop.peaks() { // an eighth of the slots is left to others
			if want := 4; dest != "" && n > want || dest == "" && n != 21 {
				t.Errorf("%d attempts at once for %q", n, dest)
			}
		}
		if r.store.queued() != 0 {
			t.Errorf("%d left", r.store.queued())
		}
	})
}
