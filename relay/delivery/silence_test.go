package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/schedule"
)

// hang is an attempt at a host that says nothing for so long after a stage.
func hang(ctx context.Context, task relay.Task, stage relay.Stage, d time.Duration) relay.Result {
	task.Progress.At("mx.example.org", stage)
	slow(ctx, d)
	words := "timed out"
	if ctx.Err() != nil {
		words = "the attempt was stopped"
	}
	return all(task, relay.Failure(stage, relay.Status{Class: 4, Subject: 4, Detail: 2}, "%s", words))
}

// 600 recipients at hosts that accept a connection and say nothing: others' mail goes
// at once where there are many slots, and within a minute where there are four. What
// gave its slot up was not attempted, and its next attempt has all its time.
func TestSilentHostsTakeNobodysSlots(t *testing.T) {
	for _, c := range []struct {
		slots int
		most  time.Duration
	}{{500, 0}, {4, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{Schedule: schedule.Config{Attempts: c.slots}})
			r.hop.answer(func(ctx context.Context, task relay.Task) relay.Result {
				if task.Message.Identity == "attacker" {
					return hang(ctx, task, relay.StageGreeting, 5*time.Minute)
				}
				slow(ctx, 100*time.Millisecond)
				return all(task, relayed)
			})
			var to []string
			for i := range 600 {
				to = append(to, fmt.Sprintf("x@silent%d.test", i))
			}
			attack := mail("", to...)
			attack.Identity = "attacker"
			r.store.accept(attack)
			pass(10 * time.Second)
			began := time.Now()
			for i := range 10 {
				r.store.accept(mail("", fmt.Sprintf("x@good%d.test", i)))
			}
			for r.ledger.count(relay.EventRelayed) < 10 && time.Since(began) < 10*time.Minute {
				pass(100 * time.Millisecond)
			}
			if took := time.Since(began) - 100*time.Millisecond; took > c.most+time.Second {
				t.Errorf("%d slots: ten messages took %v, want %v at most", c.slots, took, c.most)
			}
			if n := r.ledger.count(relay.EventDelayed); n != 0 {
				t.Errorf("%d slots: %d attempts counted that gave their slots up", c.slots, n)
			}
		})
	}
}

// An identity with more silent hosts than it may have slots for gives them to its
// own other mail; whoever gave a slot up once has all its time in the next attempt.
func TestASlotIsGivenUpOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Schedule: schedule.Config{Attempts: 2}})
		took := map[string][]time.Duration{}
		r.hop.answer(func(ctx context.Context, task relay.Task) relay.Result {
			began := time.Now()
			res := hang(ctx, task, relay.StageRcpt, 5*time.Minute)
			r.hop.mu.Lock()
			defer r.hop.mu.Unlock()
			took[task.Destination] = append(took[task.Destination], time.Since(began).Round(time.Second))
			return res
		})
		for i := range 3 {
			r.store.accept(mail("", fmt.Sprintf("x@d%d.test", i)))
		}
		pass(20 * time.Minute)
		for dest, all := range took {
			for i, d := range all {
				if d != 5*time.Minute && (i > 0 && all[i-1] != 5*time.Minute || d < 30*time.Second) {
					t.Errorf("%s: attempts took %v: after one that was cut the next has all its time", dest, all)
				}
			}
		}
		if r.ledger.count(relay.EventDelayed) < 3 || r.d.Stats().GivenUp == 0 {
			t.Errorf("%d attempts ended, %d slots were given up", r.ledger.count(relay.EventDelayed), r.d.Stats().GivenUp)
		}
	})
}

// Three silent recipients take all connections of a route: after a minute one is
// given up for other mail, and no limit is exceeded.
func TestSilentConnectionsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Limits: delivery.Limits{Allowance: func(string) delivery.Allowance { return delivery.Allowance{Connections: 3} }}})
		open := func(ctx context.Context, task relay.Task) relay.Result {
			slow(ctx, 100*time.Millisecond)
			return all(task, relayed)
		}
		r.hop.answer(open)
		for range 20 { // it has shown that it takes three
			r.store.accept(mail("", "x@smart.test"))
		}
		pass(time.Minute)
		r.hop.answer(func(ctx context.Context, task relay.Task) relay.Result {
			if task.Message.Identity == "hung" {
				return hang(ctx, task, relay.StageRcpt, 5*time.Minute)
			}
			return open(ctx, task)
		})
		for range 3 {
			m := mail("", "x@smart.test")
			m.Identity = "hung"
			r.store.accept(m)
		}
		pass(time.Second)
		began := time.Now()
		m := mail("", "x@smart.test")
		r.store.accept(m)
		for len(r.ledger.kinds(m.ID)) == 0 && time.Since(began) < 10*time.Minute {
			pass(time.Second)
		}
		if took := time.Since(began); took < 50*time.Second || took > 65*time.Second {
			t.Errorf("it went after %v, want a minute", took)
		}
		if n := r.hop.peaks()["smart.test"]; n != 3 {
			t.Errorf("%d connections at once, want 3", n)
		}
	})
}

// retry now cuts an attempt, unless its final dot is on its way.
func TestRetryNowCutsAnAttempt(t *testing.T) {
	for _, dot := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{})
			r.hop.answer(func(ctx context.Context, task relay.Task) relay.Result {
				if dot && task.Progress.Final() != nil {
					t.Error("nobody has cut it")
				}
				return hang(ctx, task, relay.StageBody, 5*time.Minute)
			})
			id := r.store.accept(mail("", "x@dest.test"))
			pass(time.Second)
			if err := r.d.Act(t.Context(), id, relay.VerbRetryNow); errors.Is(err, relay.ErrPending) != dot || !dot && err != nil {
				t.Errorf("final dot sent: %v: %v", dot, err)
			}
			pass(time.Second)
			if n := len(r.hop.attempts("")); n != 1 && dot || n != 2 && !dot {
				t.Errorf("final dot sent: %v: %d attempts", dot, n)
			}
			if n := r.ledger.count(relay.EventAttempted); n != 0 {
				t.Errorf("%d attempts counted", n)
			}
			pass(10 * time.Minute)
		})
	}
}

// An operator who cuts all attempts at a silent host does not make the next ones hold the
// connections for all their time: a minute later one gives way, as before.
// Nor does one begin between the cut and the act, which then would wait for it.
func TestCutByHandIsNotGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Limits: delivery.Limits{Allowance: func(string) delivery.Allowance { return delivery.Allowance{Connections: 2} }}})
		r.hop.answer(func(ctx context.Context, task relay.Task) relay.Result {
			if task.Message.Identity == "hung" {
				return hang(ctx, task, relay.StageRcpt, 5*time.Minute)
			}
			slow(ctx, 100*time.Millisecond)
			return all(task, relayed)
		})
		var hung []relay.QueueID
		for range 2 {
			m := mail("", "x@smart.test")
			m.Identity = "hung"
			hung = append(hung, r.store.accept(m))
		}
		pass(time.Second)
		for _, id := range hung {
			if err := r.d.Act(t.Context(), id, relay.VerbRetryNow); err != nil {
				t.Fatal(err)
			}
		}
		pass(time.Second)
		began := time.Now()
		m := mail("", "x@smart.test")
		r.store.accept(m)
		for len(r.ledger.kinds(m.ID)) == 0 && time.Since(began) < 10*time.Minute {
			pass(time.Second)
		}
		if took := time.Since(began); took > 65*time.Second {
			t.Errorf("it went after %v, want a minute", took)
		}
	})
}
