package delivery_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// What a store hands to another node is forgotten, once what is in progress is
// settled; what it takes over later is delivered.
func TestForgetAndTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Retry: []time.Duration{time.Hour}}, func(r *rig) {
			r.hop.route = func(_ *relay.Message, p relay.Path) string {
				if p == path("parts@slow.test") { // with the attempt that is in progress
					return "route:x"
				}
				return p.Domain()
			}
		})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			if task.Destination == "slow.test" {
				slow(ctx, time.Minute)
			}
			return all(task, greylist)
		}
		leaves := r.store.accept(mail("sender@example.org", "a@one.test", "b@slow.test", "parts@slow.test"))
		held := r.store.accept(mail("sender@example.org", "a@one.test"))
		stays := r.store.accept(mail("sender@example.org", "a@one.test"))
		pass(time.Second)
		if err := r.d.Act(t.Context(), held, relay.VerbHold); err != nil {
			t.Fatal(err)
		}
		match := func(id relay.QueueID) bool { return id == leaves || id == held }
		began := time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.d.Forget(impatient, match); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an impatient Forget: %v", err)
		}
		if err := r.d.Forget(t.Context(), match); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 58*time.Second || took > time.Minute {
			t.Errorf("it waited %v for the attempt", took)
		}
		if n := len(r.d.Where(leaves)) + len(r.d.Where(held)); n != 0 || r.d.Stats().Queued != 1 || len(r.d.Where(stays)) != 1 {
			t.Errorf("%d are left of what was forgotten; %+v", n, r.d.Stats())
		}
		if n := r.store.queued(); n != 5 {
			t.Errorf("the store has %d, want all 5", n)
		}
		attempts := len(r.hop.attempts(""))
		pass(50 * time.Minute) // less than the retry of the one that stays
		if n := len(r.hop.attempts("")); n != attempts {
			t.Errorf("%d attempts of what was forgotten", n-attempts)
		}

		r.hop.answer(nil) // takes all
		var back []relay.Entry
		for e, err := range r.store.Entries() {
			if err == nil && match(e.ID) {
				back = append(back, e)
			}
		}
		r.store.watch(back)
		r.store.watch(back) // told twice, it is there once
		pass(3 * time.Hour)
		if err := r.d.Act(t.Context(), held, relay.VerbRelease); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if n := r.store.queued(); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

// A Forget that waits ends with the relay.
func TestForgetDuringAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Grace: time.Second})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			<-ctx.Done()
			time.Sleep(time.Second)
			return all(task, greylist)
		}
		r.store.accept(mail("sender@example.org", "a@one.test"))
		pass(time.Second)
		forgot := make(chan error, 1)
		go func() { forgot <- r.d.Forget(t.Context(), func(relay.QueueID) bool { return true }) }()
		synctest.Wait()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if err := <-forgot; err != nil && !errors.Is(err, relay.ErrClosed) {
			t.Errorf("Forget: %v", err)
		}
	})
}
