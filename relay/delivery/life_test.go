package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
)

// waits are the times between attempts.
func waits(at []time.Time) (w []time.Duration) {
	for i := 1; i < len(at); i++ {
		w = append(w, at[i].Sub(at[i-1]).Round(time.Millisecond))
	}
	return w
}

func TestFiveDaysOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
			if task.Message.Notice {
				return all(task, relayed)
			}
			return all(task, greylist)
		}
		start := time.Now()
		id := r.store.accept(mail("sender@example.org", "one@dest.test"))
		pass(6 * 24 * time.Hour)
		synctest.Wait()

		at := r.hop.attempts("dest.test")
		want := []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour}
		for len(want) < len(at)-1 {
			want = append(want, 2*time.Hour)
		}
		if got := waits(at); !slices.Equal(got, want) {
			t.Errorf("waits\n%v, want\n%v", got, want)
		}
		// 1:51 after five steps, then every two hours: the first attempt at or
		// after 120 h is at 121:51.
		if last := at[len(at)-1].Sub(start); last != 121*time.Hour+51*time.Minute || len(at) != 66 {
			t.Errorf("%d attempts, the last after %v; want 66, the last after 121h51m", len(at), last)
		}
		kinds := r.ledger.kinds(id)
		wantEnd := []relay.EventKind{relay.EventAttempted, relay.EventExpired, relay.EventNotified}
		if got := kinds[len(kinds)-3:]; !slices.Equal(got, wantEnd) {
			t.Errorf("it ended with %v, want %v", got, wantEnd)
		}
		if n := r.ledger.count(relay.EventNotified); n != 2 {
			t.Errorf("%d notices, want a delay notice and a bounce", n)
		}
		if e := r.ledger.first(relay.EventNotified); e.NoticeKind != "delayed" || e.Age != 4*time.Hour {
			t.Errorf("the first notice is %q at %v, want the delay notice after 4h", e.NoticeKind, e.Age)
		}
		if n := r.store.queued(); n != 0 {
			t.Errorf("%d deliveries left", n)
		}
	})
}

func TestOutcomesOfOneAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
			res := all(task, relayed)
			if task.Attempt == 1 && !task.Message.Notice {
				res.Replies = []relay.Reply{relayed, noUser, greylist, noUser}
			}
			return res
		}
		id := r.store.accept(mail("sender@example.org", "a@dest.test", "b@dest.test", "c@dest.test", "d@dest.test"))
		synctest.Wait()
		want := []relay.EventKind{relay.EventAttempted, relay.EventRelayed, relay.EventFailed, relay.EventDelayed, relay.EventFailed, relay.EventNotified}
		if got := r.ledger.kinds(id); !slices.Equal(got, want) {
			t.Fatalf("events %v, want %v", got, want)
		}
		r.store.mu.Lock() // the notice may be settled already
		first := r.store.settled[0]
		r.store.mu.Unlock()
		if len(first.Notices) != 1 || first.Attempt.N != 1 || len(first.Attempt.Outcomes) != 4 {
			t.Errorf("one notice for both failures in the settlement of attempt 1: got %d notices, attempt %+v", len(first.Notices), first.Attempt)
		}
		if e := r.ledger.first(relay.EventDelayed); e.Rule != "retry step 1 of 6: 1m ±10 %" || e.Next.IsZero() || e.Reason != "greylisted" {
			t.Errorf("delayed: rule %q, next %v, reason %q", e.Rule, e.Next, e.Reason)
		}
		pass(time.Minute)
		synctest.Wait()
		if last := r.hop.tries[len(r.hop.tries)-1].task; !slices.Equal(last.Recipients, []int{2}) || last.Attempt != 2 {
			t.Errorf("attempt %d for %v, want attempt 2 for the one that is left", last.Attempt, last.Recipients)
		}
		if r.store.queued() != 0 {
			t.Error("something is left in the queue")
		}
	})
}

func TestUnknownOutcomeWaitsForTheThirdStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
			if task.Attempt == 1 {
				return all(task, noAnswer)
			}
			return all(task, relayed)
		}
		r.store.accept(mail("sender@example.org", "a@dest.test"))
		pass(time.Hour)
		if got := waits(r.hop.attempts("dest.test")); !slices.Equal(got, []time.Duration{15 * time.Minute}) {
			t.Errorf("it waited %v, want 15m", got)
		}
		if e := r.ledger.first(relay.EventDelayed); !e.Unknown {
			t.Error("the event does not say that the outcome is unknown")
		}
	})
}

// An outage of six days bounces nothing untried: expiry follows an attempt.
func TestOutageOfSixDays(t *testing.T) {
	for _, reply := range []relay.Reply{relayed, greylist} {
		synctest.Test(t, func(t *testing.T) {
			var id relay.QueueID
			r := begin(t, delivery.Config{}, func(r *rig) {
				m := mail("sender@example.org", "a@dest.test")
				r.store.enqueue(m)
				id = m.ID
				r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
					if task.Message.Notice {
						return all(task, relayed)
					}
					return all(task, reply)
				}
				pass(6 * 24 * time.Hour)
			})
			want := relay.EventRelayed
			if reply == greylist {
				want = relay.EventExpired
			}
			if k := r.ledger.kinds(id); len(k) < 2 || k[0] != relay.EventAttempted || k[1] != want {
				t.Errorf("events %v, want an attempt and then %q", k, want)
			}
		})
	}
}

func TestMessageLifetimeAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) }
		m := mail("", "otp@dest.test")
		m.MaxAge = relay.Millis(5 * time.Minute)
		r.store.accept(m)
		future := mail("", "later@future.test")
		future.NotBefore = time.Now().Add(36 * time.Hour)
		future.MaxAge = relay.Millis(30 * time.Minute)
		begun := time.Now()
		r.store.accept(future)
		pass(72 * time.Hour)
		if n := len(r.hop.attempts("dest.test")); n != 3 { // 0, 1, 6 min
			t.Errorf("%d attempts within a lifetime of 5m, want 3", n)
		}
		at := r.hop.attempts("future.test")
		if len(at) != 5 || at[0].Sub(begun) != 36*time.Hour { // 0 1 6 21 51 min
			t.Errorf("future release: attempts %v, want 5 from 36h on: its lifetime counts from then", at)
		}
		if n := r.ledger.count(relay.EventDropped); n != 2 {
			t.Errorf("%d dropped events, want 2: the null reverse-path and no postmaster", n)
		}
	})
}

func TestDoubleBounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Postmaster: path("postmaster@example.org")}}})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, noUser) }
		r.store.accept(mail("sender@example.org", "a@dest.test"))
		pass(time.Minute)
		var kinds []string
		for _, e := range r.ledger.events {
			if e.Kind == relay.EventNotified || e.Kind == relay.EventDropped {
				kinds = append(kinds, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s", e.Kind, e.NoticeKind, e.Recipient)), " "))
			}
		}
		// The notice may be on its way before the event tells of it.
		want := []string{"dropped postmaster@example.org", "notified double-bounce postmaster@example.org", "notified failed sender@example.org"}
		slices.Sort(kinds)
		if !slices.EqualFunc(kinds, want, func(a, b string) bool { return a == b }) {
			t.Errorf("notices\n%q, want\n%q", kinds, want)
		}
		if r.store.queued() != 0 {
			t.Error("something is left")
		}
	})
}
