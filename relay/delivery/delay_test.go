package delivery_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/schedule"
)

// told are the times of the delay notices, and whom they name.
func (r *rig) told() (at []time.Time) {
	r.ledger.mu.Lock()
	defer r.ledger.mu.Unlock()
	for _, e := range r.ledger.events {
		if e.Kind == relay.EventNotified && e.NoticeKind == "delayed" {
			at = append(at, e.Time)
		}
	}
	return at
}

// The delay notice goes out when it is due, once, wherever the mail waits; and
// the attempts are made as if there were none.
func TestDelayNoticeGoesOutAtItsTime(t *testing.T) {
	const notice = 4 * time.Hour
	busy := func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) }
	for _, c := range []struct {
		name   string
		cfg    delivery.Config
		script func(context.Context, relay.Task) relay.Result
		extra  int // messages that wait with it
		change func(*relay.Message)
		after  func(*rig, relay.QueueID)
		at     time.Duration // after arrival; 0: never
	}{
		{name: "between two attempts", script: busy, at: notice},
		{name: "its next hop rests", extra: 50, at: notice, script: func(_ context.Context, task relay.Task) relay.Result {
			return all(task, noConnect)
		}},
		{name: "its turn does not come", cfg: delivery.Config{Limits: perProvider(1)}, extra: 1, at: notice,
			script: func(ctx context.Context, task relay.Task) relay.Result { <-ctx.Done(); return all(task, greylist) }},
		{name: "the budget of its next hop is used up", at: notice, cfg: delivery.Config{Limits: delivery.Limits{
			Reserve: func(string) time.Time { return time.Now().Add(24 * time.Hour) }}}},
		{name: "its route is held", at: notice, script: func(_ context.Context, task relay.Task) relay.Result {
			res := all(task, relay.Failure(relay.StageAuth, relay.Status{Class: 4, Subject: 7, Detail: 8}, "the route is held"))
			res.HeldSince = task.Message.Arrival
			return res
		}},
		{name: "it is held", script: busy, at: notice, after: func(r *rig, id relay.QueueID) {
			if err := r.d.Act(r.t.Context(), id, relay.VerbHold); err != nil {
				t.Error(err)
			}
		}},
		{name: "it was held, and no longer", script: busy, at: notice, after: func(r *rig, id relay.QueueID) {
			for _, verb := range []relay.Verb{relay.VerbHold, relay.VerbRelease, relay.VerbRetry} {
				if err := r.d.Act(r.t.Context(), id, verb); err != nil {
					t.Error(err)
				}
			}
		}},
		{name: "it is to go later", script: busy, at: 10*time.Hour + notice, change: func(m *relay.Message) {
			m.NotBefore = time.Now().Round(0).Add(10 * time.Hour)
		}},
		{name: "nobody wants to be told", script: busy, change: func(m *relay.Message) { m.Recipients[0].Notify = relay.NotifyFailure }},
		{name: "it was delivered before", at: 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var with []time.Time
			for _, delay := range []time.Duration{notice, 0} {
				synctest.Test(t, func(t *testing.T) {
					cfg := c.cfg
					cfg.DelayNotice = delay
					r := begin(t, cfg, func(r *rig) { r.hop.script = c.script })
					for range c.extra {
						m := mail("sender@example.org", "a@dest.test")
						m.NoDelayNotes = true
						r.store.accept(m)
					}
					m := mail("sender@example.org", "a@dest.test")
					if c.change != nil {
						c.change(m)
					}
					id := r.store.accept(m)
					synctest.Wait()
					if c.after != nil {
						c.after(r, id)
					}
					pass(20 * time.Hour)
					var want []time.Time
					if c.at > 0 && delay > 0 {
						want = []time.Time{m.Arrival.Add(c.at)}
					}
					if got := r.told(); !slices.EqualFunc(got, want, time.Time.Equal) {
						t.Errorf("told at %v, want %v", got, want)
					}
					var tries []time.Time
					for _, at := range r.hop.attempts("dest.test") {
						tries = append(tries, at.Round(time.Millisecond))
					}
					if delay > 0 {
						with = tries
					} else if c.extra == 0 && !slices.EqualFunc(with, tries, time.Time.Equal) {
						t.Errorf("the notice changed the attempts: %d with it, %d without", len(with), len(tries))
					}
				})
			}
		})
	}
}

// One notice tells of all recipients of a message that wait, at however many
// destinations; who is being tried just then is told of when that has ended.
func TestOneDelayNoticeForAMessage(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails int // commits of the notice that fail
		hold  bool
		busy  bool // an attempt is being made when the notice is due
		want  []int
	}{
		{name: "all wait", want: []int{30}},
		{name: "the commit fails at first", fails: 3, want: []int{30}},
		{name: "on hold", hold: true, want: []int{30}},
		{name: "one is being tried", busy: true, want: []int{29, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := begin(t, delivery.Config{DelayNotice: time.Hour}, func(r *rig) {
					r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
						if c.busy && task.Destination == "dest7.test" && task.Attempt == 1 {
							select {
							case <-time.After(61 * time.Minute):
							case <-ctx.Done():
							}
						}
						return all(task, greylist)
					}
					r.store.refuse = func(s relay.Settlement) error {
						if len(s.Notices) > 0 && c.fails > 0 {
							c.fails--
							return errDisk
						}
						return nil
					}
				})
				m := mail("sender@example.org", "reader0@dest0.test")
				for i := range 29 {
					m.Recipients = append(m.Recipients, mail("", fmt.Sprintf("reader%d@dest%d.test", i+1, i+1)).Recipients...)
				}
				id := r.store.accept(m)
				synctest.Wait()
				if c.hold {
					if err := r.d.Act(r.t.Context(), id, relay.VerbHold); err != nil {
						t.Fatal(err)
					}
				}
				pass(3 * time.Hour)
				var got []int
				r.ledger.mu.Lock()
				for _, e := range r.ledger.events {
					if e.Kind == relay.EventNotified && e.NoticeKind == "delayed" {
						got = append(got, e.Count)
					}
				}
				r.ledger.mu.Unlock()
				if !slices.Equal(got, c.want) {
					t.Errorf("notices tell of %v recipients, want %v", got, c.want)
				}
				r.store.mu.Lock()
				defer r.store.mu.Unlock()
				for k, d := range r.store.jobs {
					if k.id == id && !d.DelayNoticed {
						t.Errorf("%s is not marked as told", d.Destination)
					}
				}
				if r.store.claims != 0 {
					t.Errorf("%d contents are open", r.store.claims)
				}
			})
		})
	}
}

// What a restart finds is told on time, or at once when the time has passed;
// what was told before is not told again.
func TestDelayNoticeAfterARestart(t *testing.T) {
	for _, c := range []struct {
		name          string
		age, want     time.Duration // at the start; the notice after it
		noticed, held bool
	}{
		{"not yet due", 3 * time.Hour, time.Hour, false, false},
		{"overdue", 30 * time.Hour, 0, false, false},
		{"overdue and held", 30 * time.Hour, 0, false, true},
		{"told before", 3 * time.Hour, -1, true, false},
		{"told before, and held", 30 * time.Hour, -1, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now().Round(0)
				claims := 0
				r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour}, func(r *rig) {
					m := mail("sender@example.org", "a@dest.test")
					m.Arrival = began.Add(-c.age)
					r.store.enqueue(m)
					for _, d := range r.store.jobs {
						d.Attempts, d.Due, d.DelayNoticed, d.Held = 9, began.Add(2*time.Hour), c.noticed, c.held
						d.Open[0].Last = greylist
					}
					r.store.onClaim = func() { claims++ }
					r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) }
				})
				pass(90 * time.Minute)
				var want []time.Time
				if c.want >= 0 {
					want = []time.Time{began.Add(c.want)}
				}
				if got := r.told(); !slices.EqualFunc(got, want, time.Time.Equal) {
					t.Errorf("told at %v, want %v", got, want)
				}
				r.store.mu.Lock()
				defer r.store.mu.Unlock()
				if c.want < 0 && claims != 0 {
					t.Errorf("it was read %d times to find that nothing is to be told", claims)
				}
			})
		})
	}
}

// A delay notice whose commit fails is tried again, and told once.
func TestDelayNoticeThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour}, func(r *rig) {
			r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) }
		})
		m := mail("sender@example.org", "a@dest.test")
		r.store.accept(m)
		pass(3*time.Hour + 58*time.Minute)
		r.store.mu.Lock()
		r.store.refuse = func(relay.Settlement) error { return errDisk }
		r.store.mu.Unlock()
		pass(10 * time.Minute)
		if got := r.told(); len(got) != 0 {
			t.Fatalf("told at %v, before the commit", got)
		}
		r.store.mu.Lock()
		r.store.refuse = nil
		r.store.mu.Unlock()
		pass(6 * time.Hour)
		if got := r.told(); len(got) != 1 {
			t.Errorf("told at %v, want once", got)
		}
	})
}

// Many delay notices at once take turns and starve no mail.
func TestManyDelayNoticesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{DelayNotice: time.Hour, Schedule: schedule.Config{Attempts: 5}}, func(r *rig) {
			r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
				if task.Destination == "dest.test" {
					return all(task, noConnect)
				}
				return all(task, relayed)
			}
		})
		const n = 1000
		for range n {
			r.store.accept(mail("sender@example.org", "a@dest.test"))
		}
		pass(time.Hour)
		if got := len(r.told()); got != n {
			t.Errorf("%d were told, want %d", got, n)
		}
		r.store.accept(mail("", "b@good.test"))
		pass(time.Second)
		if n := len(r.hop.attempts("good.test")); n != 1 {
			t.Errorf("%d attempts for another destination", n)
		}
	})
}

// The time on hold of a route does not count when it is over either: what is
// then put off by its receiver has the rest of its lifetime left.
func TestRouteOnHoldDoesNotAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const hold, life = 10 * 24 * time.Hour, 5 * 24 * time.Hour
		began := time.Now()
		r := begin(t, delivery.Config{}, func(r *rig) {
			r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
				res := all(task, greylist)
				if time.Since(began) < hold {
					res = all(task, relay.Failure(relay.StageAuth, relay.Status{Class: 4, Subject: 7, Detail: 8}, "the route is held"))
					res.HeldSince = began
				}
				res.Began = time.Now()
				return res
			}
		})
		r.store.accept(mail("sender@example.org", "a@dest.test"))
		pass(hold + life - 4*time.Hour)
		if n := r.ledger.count(relay.EventExpired); n != 0 {
			t.Error("it expired before its time")
		}
		pass(10 * time.Hour)
		if n := r.ledger.count(relay.EventExpired); n != 1 {
			t.Errorf("%d expired after its time", n)
		}
	})
}

// A notice that is written between attempts names the last of them for each
// recipient (RFC 3464 §2.3.7), and none where none was made.
func TestLastAttemptOfANoticeBetweenAttempts(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  delivery.Config
		act  func(*rig, relay.QueueID) error
	}{
		{"delay notice", delivery.Config{DelayNotice: 4 * time.Hour}, func(*rig, relay.QueueID) error { return nil }},
		{"operator's bounce", delivery.Config{}, func(r *rig, id relay.QueueID) error {
			return r.d.ActOn(r.t.Context(), id, 0, nil, relay.VerbBounce)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.cfg.Limits = delivery.Limits{Reserve: func(dest string) time.Time {
					if dest == "never.test" {
						return time.Now().Add(24 * time.Hour)
					}
					return time.Time{}
				}}
				r := begin(t, c.cfg, func(r *rig) {
					r.hop.script = func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) }
				})
				id := r.store.accept(mail("sender@example.org", "a@dest.test", "b@dest.test"))
				if c.cfg.DelayNotice > 0 {
					id = r.store.accept(mail("sender@example.org", "a@dest.test", "b@never.test"))
				}
				pass(4*time.Hour + time.Minute)
				if err := c.act(r, id); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				tries := r.hop.attempts("dest.test")
				notice := r.store.noticeAbout(id)
				date := tries[len(tries)-1].Format("Mon, 2 Jan 2006 15:04:05 -0700")
				want := []string{date, date}
				if c.cfg.DelayNotice > 0 {
					want = want[:1] // nobody tried to reach the other
				}
				if got := fieldsOf(notice, "Last-Attempt-Date"); !slices.Equal(got, want) {
					t.Errorf("Last-Attempt-Date %q, want %q, in\n%s", got, want, notice)
				}
			})
		})
	}
}

// The hold of a route ends after it stopped an attempt, and before the Delivery
// is back on the schedule: it leaves at once like all the others.
func TestHoldEndsWhileAnAttemptIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := true
		r := begin(t, delivery.Config{Retry: []time.Duration{time.Hour}}, func(r *rig) {
			r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
				if !held {
					return all(task, relayed)
				}
				res := all(task, relay.Failure(relay.StageAuth, relay.Status{Class: 4, Subject: 7, Detail: 8}, "the route is held"))
				res.HeldSince = res.Began
				return res
			}
			r.store.refuse = func(relay.Settlement) error { // the commit is under way
				if held {
					held = false
					r.d.Wake("dest.test")
				}
				return nil
			}
		})
		r.store.accept(mail("sender@example.org", "a@dest.test"))
		pass(time.Second)
		if n := r.ledger.count(relay.EventRelayed); n != 1 {
			t.Errorf("%d relayed a second after the hold has ended", n)
		}
	})
}
