package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// inAttempt runs a verb while an attempt is in progress that then ends with
// reply, and says what the verb returned.
func inAttempt(t *testing.T, r *rig, reply relay.Reply, verb relay.Verb) (id relay.QueueID, err error) {
	t.Helper()
	r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
		if task.Message.Notice {
			return all(task, relayed)
		}
		time.Sleep(10 * time.Second)
		return all(task, reply)
	})
	id = r.store.accept(mail("sender@example.org", "a@dest.test"))
	pass(time.Second)
	began := time.Now()
	err = r.d.Act(context.Background(), id, verb)
	if took := time.Since(began); took > time.Second {
		t.Errorf("%s took %v, want an answer within a second", verb, took)
	}
	pass(20 * time.Second)
	return id, err
}

func TestVerbsDuringAnAttempt(t *testing.T) {
	attempt := []relay.EventKind{relay.EventAttempted, relay.EventDelayed}
	for _, c := range []struct {
		verb relay.Verb
		then []relay.EventKind
		left int
	}{
		{relay.VerbHold, []relay.EventKind{relay.EventHeld}, 1},
		{relay.VerbRelease, nil, 1},
		{relay.VerbDelete, []relay.EventKind{relay.EventDeleted}, 0},
		{relay.VerbBounce, []relay.EventKind{relay.EventFailed, relay.EventNotified}, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{})
			id, err := inAttempt(t, r, greylist, c.verb)
			if !errors.Is(err, relay.ErrPending) {
				t.Errorf("%s: %v", c.verb, err)
			}
			if k := r.ledger.kinds(id); !slices.Equal(k, append(slices.Clone(attempt), c.then...)) {
				t.Errorf("%s: events %v, want %v after the attempt's", c.verb, k, c.then)
			}
			if n := r.store.queued(); n != c.left {
				t.Errorf("%s: %d left, want %d", c.verb, n, c.left)
			}
		})
	}
}

func TestVerbOnWhatIsDeliveredMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		if _, err := inAttempt(t, r, relayed, relay.VerbBounce); !errors.Is(err, relay.ErrPending) {
			t.Errorf("bounce of a delivered message: %v", err)
		}
		if n := r.ledger.count(relay.EventNotified); n != 0 {
			t.Error("the sender was told that it failed")
		}
	})
}

func TestVerbThatDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
			time.Sleep(10 * time.Second)
			return all(task, relayed)
		})
		id := r.store.accept(mail("", "a@dest.test"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if err := r.d.Act(ctx, id, relay.VerbDelete); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "in progress") {
			t.Errorf("%v", err)
		}
		pass(time.Minute)
		if r.ledger.count(relay.EventRelayed) != 1 {
			t.Error("the attempt was not settled")
		}
	})
}

func TestHoldAndRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour, MaxAge: 24 * time.Hour})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
			if task.Message.Notice {
				return all(task, relayed)
			}
			return all(task, greylist)
		})
		id := r.store.accept(mail("sender@example.org", "a@dest.test", "b@other.test"))
		pass(time.Second)
		if err := r.d.Act(context.Background(), id, relay.VerbHold); err != nil {
			t.Fatal(err)
		}
		if err := r.d.Act(context.Background(), id, relay.VerbHold); err != nil {
			t.Errorf("hold again: %v", err)
		}
		if err := r.d.Act(context.Background(), id, relay.VerbRetry); !errors.Is(err, delivery.ErrHeld) {
			t.Errorf("retry while held: %v", err)
		}
		if w := r.d.Where(id); len(w) != 2 || w[0].State != relay.StateHeld || w[1].State != relay.StateHeld {
			t.Errorf("where: %+v", w)
		}
		pass(72 * time.Hour)
		if n := len(r.hop.attempts("dest.test")); n != 1 {
			t.Errorf("%d attempts, want none while on hold", n)
		}
		if n := r.ledger.count(relay.EventNotified); n != 1 { // for both Deliveries
			t.Errorf("%d notices, want the delay notice, once, on hold too", n)
		}
		if e := r.ledger.first(relay.EventNotified); e.NoticeKind != "delayed" || e.Age != 4*time.Hour {
			t.Errorf("notice %q at %v, want delayed at 4h", e.NoticeKind, e.Age)
		}
		if err := r.d.Act(context.Background(), id, relay.VerbRelease); err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if n := len(r.hop.attempts("dest.test")); n != 2 {
			t.Errorf("%d attempts, want one right after the release", n)
		}
		if n := r.ledger.count(relay.EventExpired); n != 0 {
			t.Error("three days on hold counted towards its lifetime of one day")
		}
		pass(26 * time.Hour)
		if n := r.ledger.count(relay.EventExpired); n != 2 {
			t.Errorf("%d expired, want both once a day has passed off hold", n)
		}
		if n := r.ledger.count(relay.EventHeld); n != 2 {
			t.Errorf("%d held events, want one a recipient", n)
		}
	})
}

// What was on hold before a restart still gets its delay notice, and only one.
func TestHeldAtStart(t *testing.T) {
	for _, noticed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{DelayNotice: 4 * time.Hour}, func(r *rig) {
				for range 10 {
					m := mail("sender@example.org", "a@dest.test")
					e := r.store.enqueue(m)
					d := r.store.jobs[jobKey{m.ID, e[0].Job}]
					d.Held, d.HeldAt, d.DelayNoticed = true, time.Now(), noticed
				}
				time.Sleep(10 * time.Hour)
			})
			pass(24 * time.Hour)
			want := 10
			if noticed {
				want = 0
			}
			if n := r.ledger.count(relay.EventNotified); n != want {
				t.Errorf("noticed before %v: %d notices, want %d", noticed, n, want)
			}
			if st := r.d.Stats(); st.Held != 10 || st.Queued != 10 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

func TestRetryNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result { return all(task, noConnect) })
		id := r.store.accept(mail("", "a@dest.test"))
		later := mail("", "b@later.test")
		later.NotBefore = time.Now().Add(time.Hour)
		r.store.accept(later)
		pass(time.Second)
		for _, id := range []relay.QueueID{id, later.ID} {
			if err := r.d.Act(context.Background(), id, relay.VerbRetry); err != nil {
				t.Error(err)
			}
		}
		pass(0)
		if n, m := len(r.hop.attempts("dest.test")), len(r.hop.attempts("later.test")); n != 2 || m != 1 {
			t.Errorf("attempts %d and %d, want 2, though its destination rests, and 1, though it is early", n, m)
		}
	})
}

func TestVerbThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) })
		id := r.store.accept(mail("", "a@dest.test"))
		synctest.Wait()
		r.store.mu.Lock()
		r.store.refuse = func(relay.Settlement) error { return relay.ErrNoSpace }
		r.store.mu.Unlock()
		if err := r.d.Act(context.Background(), id, relay.VerbDelete); !errors.Is(err, relay.ErrNoSpace) {
			t.Errorf("delete: %v", err)
		}
		r.store.mu.Lock()
		r.store.refuse = nil
		r.store.mu.Unlock()
		pass(time.Minute)
		if n := len(r.hop.attempts("")); n != 2 {
			t.Errorf("%d attempts, want the schedule to go on as before", n)
		}
	})
}

// Some recipients of a Delivery end by the operator's hand: the others stay as
// they were, and nobody else is told.
func TestVerbsOnSomeRecipients(t *testing.T) {
	for _, c := range []struct {
		verb relay.Verb
		kind relay.EventKind
		told int
	}{{relay.VerbDelete, relay.EventDeleted, 0}, {relay.VerbBounce, relay.EventFailed, 1}} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{Retry: []time.Duration{time.Hour}})
			r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
				if task.Message.Notice {
					return all(task, relayed)
				}
				return all(task, greylist)
			})
			id := r.store.accept(mail("sender@example.org", "a@dest.test", "b@dest.test", "c@dest.test"))
			synctest.Wait()
			if err := r.d.ActOn(context.Background(), id, 0, []int{1, 7}, c.verb); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			d := r.store.jobs[jobKey{id, 0}]
			if got := d.Recipients(); !slices.Equal(got, []int{0, 2}) || d.Attempts != 1 || d.Open[0].Last != greylist {
				t.Errorf("%s: left %+v", c.verb, d)
			}
			if e := r.ledger.first(c.kind); e.Recipient.String() != "b@dest.test" || r.ledger.count(c.kind) != 1 || r.ledger.count(relay.EventNotified) != c.told {
				t.Errorf("%s: events %v, of %s", c.verb, r.ledger.kinds(id), e.Recipient)
			}
			if err := r.d.ActOn(context.Background(), id, 0, []int{1}, c.verb); !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("%s again: %v", c.verb, err)
			}
			if err := r.d.ActOn(context.Background(), id, 0, []int{0}, relay.VerbHold); err == nil {
				t.Error("hold of one recipient was taken")
			}
			pass(59 * time.Minute)
			if n := len(r.hop.attempts("dest.test")); n != 1 {
				t.Errorf("%s: %d attempts before the hour of the others", c.verb, n)
			}
			pass(time.Minute)
			if try := r.hop.tries[len(r.hop.tries)-1]; !slices.Equal(try.task.Recipients, []int{0, 2}) {
				t.Errorf("%s: then %v were tried", c.verb, try.task.Recipients)
			}
			err := r.d.ActOn(context.Background(), id, 0, []int{0, 2}, c.verb)
			synctest.Wait() // the notice of a bounce is on its way
			if err != nil || r.store.jobs[jobKey{id, 0}] != nil {
				t.Errorf("%s of the rest: %v", c.verb, err)
			}
		})
	}
}

// Whoever is told by queue bounce hears what expiry would tell: the last reply.
// Of the administrator he hears only where there was no attempt, also of what
// is on hold.
func TestBounceTellsTheLastReply(t *testing.T) {
	for _, c := range []struct {
		name         string
		before       time.Duration // of the first attempt
		want, wanted string
	}{
		{"attempted", 0, "because the recipient's mail system puts off mail", "Diagnostic-Code: smtp; " + greylist.String()},
		{"never attempted", time.Hour, "because the administrator of this mail system stopped it", "Status: 5.3.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{})
			var told string
			r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
				if task.Message.Notice {
					r.store.mu.Lock()
					told = string(r.store.body[task.Message.ID])
					r.store.mu.Unlock()
					return all(task, relayed)
				}
				return all(task, greylist)
			})
			m := mail("sender@example.org", "a@dest.test")
			if c.before > 0 {
				m.NotBefore = time.Now().Add(c.before)
			}
			id := r.store.accept(m)
			pass(time.Second)
			for _, verb := range []relay.Verb{relay.VerbHold, relay.VerbBounce} {
				if err := r.d.Act(t.Context(), id, verb); err != nil {
					t.Fatal(c.name, verb, err)
				}
			}
			pass(time.Second)
			told = strings.Join(strings.Fields(told), " ")
			if !strings.Contains(told, c.want) || !strings.Contains(told, c.wanted) || (c.before == 0) == strings.Contains(told, "administrator of") {
				t.Errorf("%s: the notice is\n%s", c.name, told)
			}
			if e := r.ledger.first(relay.EventFailed); e.Reason != "operator" || !strings.Contains(e.Rule, "by the administrator") {
				t.Errorf("%s: the event is %+v", c.name, e)
			}
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result { return all(task, greylist) })
		var ids []relay.QueueID
		for range 1000 {
			ids = append(ids, r.store.accept(mail("", "a@dest.test")))
		}
		synctest.Wait()
		ids = append(ids, relay.QueueID{Key: 1, Dir: 7})
		errs := make([]error, len(ids))
		var wg sync.WaitGroup
		for i, id := range ids {
			wg.Go(func() { errs[i] = r.d.Act(context.Background(), id, relay.VerbDelete) })
		}
		wg.Wait()
		for i, err := range errs[:1000] {
			if err != nil {
				t.Fatalf("%s: %v", ids[i], err)
			}
		}
		if !errors.Is(errs[1000], relay.ErrNotFound) {
			t.Errorf("unknown ID: %v", errs[1000])
		}
		if r.store.queued() != 0 {
			t.Errorf("%d left", r.store.queued())
		}
	})
}

// Two operators at once, while an attempt runs: each act happens, in turn.
func TestActsQueueUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.answer(func(_ context.Context, task relay.Task) relay.Result {
			time.Sleep(200 * time.Millisecond)
			return all(task, greylist)
		})
		id := r.store.accept(mail("", "a@dest.test"))
		synctest.Wait()
		var errs [3]error
		for i, verb := range []relay.Verb{relay.VerbHold, relay.VerbRelease, relay.VerbDelete} {
			go func() { errs[i] = r.d.Act(context.Background(), id, verb) }()
			synctest.Wait() // in this order
		}
		pass(time.Second)
		want := []relay.EventKind{relay.EventAttempted, relay.EventDelayed, relay.EventHeld, relay.EventReleased, relay.EventDeleted}
		if k := r.ledger.kinds(id); !slices.Equal(k, want) || errors.Join(errs[:]...) != nil {
			t.Errorf("events %v, errors %v", k, errs)
		}
	})
}

func TestParseVerb(t *testing.T) {
	if v, err := relay.ParseVerb("Hold"); err != nil || v != relay.VerbHold {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := relay.ParseVerb("requeue\r\n"); err == nil || strings.ContainsAny(err.Error(), "\r\n") {
		t.Errorf("%v", err)
	}
}
