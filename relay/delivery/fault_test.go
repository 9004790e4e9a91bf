package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
)

// A settlement that cannot be written is tried again; the message is not sent
// again, and nobody hears of it before.
func TestSettlementThatCannotBeWritten(t *testing.T) {
	for _, cause := range []error{relay.ErrNoSpace, errDisk} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{})
			refused := 0
			r.store.refuse = func(relay.Settlement) error { refused++; return cause }
			id := r.store.accept(mail("sender@example.org", "a@dest.test"))
			pass(10 * time.Minute)
			if refused < 5 || refused > 20 {
				t.Errorf("%d tries in ten minutes, want some and no storm", refused)
			}
			if k := r.ledger.kinds(id); len(k) != 0 {
				t.Errorf("observers heard %v before the commit", k)
			}
			r.store.mu.Lock()
			r.store.refuse = nil
			r.store.mu.Unlock()
			pass(time.Minute)
			if n := len(r.hop.attempts("")); n != 1 {
				t.Errorf("it was sent %d times", n)
			}
			if k := r.ledger.kinds(id); !slices.Equal(k, []relay.EventKind{relay.EventAttempted, relay.EventRelayed}) {
				t.Errorf("events %v", k)
			}
			if st := r.d.Stats(); st.Unsaved == 0 || st.Queued != 0 {
				t.Errorf("unsaved %d, queued %d", st.Unsaved, st.Queued)
			}
		})
	}
}

// While nothing can be settled, only so much is sent as may be sent twice.
func TestUnsettledMailIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Schedule: schedule.Config{Attempts: 20}, Limits: perProvider(20)})
		r.store.refuse = func(relay.Settlement) error { return relay.ErrNoSpace }
		for range 1000 {
			r.store.accept(mail("", "a@dest.test"))
		}
		pass(time.Minute)
		if n := len(r.hop.attempts("")); n != 20+256 {
			t.Errorf("%d messages were sent and not settled, want 276", n)
		}
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if n := r.store.queued(); n != 1000 {
			t.Errorf("%d in the queue, want all 1000", n)
		}
	})
}

func TestPanicIsATemporaryFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{})
		r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
			switch task.Attempt {
			case 1:
				panic("nil map\r\nsecond line")
			case 2:
				return relay.Result{} // no replies at all
			}
			return all(task, relayed)
		}
		id := r.store.accept(mail("", "a@dest.test", "b@dest.test"))
		pass(time.Hour)
		want := []relay.EventKind{relay.EventAttempted, relay.EventDelayed, relay.EventDelayed,
			relay.EventAttempted, relay.EventDelayed, relay.EventDelayed,
			relay.EventAttempted, relay.EventRelayed, relay.EventRelayed}
		if k := r.ledger.kinds(id); !slices.Equal(k, want) {
			t.Errorf("events %v, want %v", k, want)
		}
	})
}

func TestDamagedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{}, func(r *rig) {
			unreadable := mail("", "a@dest.test")
			r.store.enqueue(unreadable)
			r.store.broken[unreadable.ID] = relay.ErrCorrupt
			damaged := mail("", "b@dest.test")
			r.store.enqueue(damaged)
			r.store.corrupt[damaged.ID] = true
			r.store.enqueue(mail("", "c@dest.test"))
		})
		st := r.d.Stats()
		if st.Corrupt != 2 || st.Queued != 0 || r.ledger.count(relay.EventRelayed) != 1 {
			t.Errorf("corrupt %d, queued %d; want 2 counted and the good one relayed", st.Corrupt, st.Queued)
		}
	})
}

func TestStoreThatCannotBeLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		m := mail("", "a@dest.test")
		s.enqueue(m)
		s.broken[m.ID] = errDisk
		d := delivery.New(delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Hostname: "relay.example.org"}}}, s, &nextHop{}, nil)
		if err := d.Run(context.Background()); !errors.Is(err, errDisk) {
			t.Errorf("Run: %v, want the disk's error", err)
		}
		if err := d.Act(context.Background(), m.ID, relay.VerbHold); !errors.Is(err, relay.ErrClosed) {
			t.Errorf("Act afterwards: %v", err)
		}
	})
}

// Routes change: one Delivery becomes several, each attempted at its own place.
func TestRoutesPart(t *testing.T) {
	for _, first := range []relay.Reply{relayed, greylist} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{})
			r.hop.route = func(_ *relay.Message, p relay.Path) string {
				if strings.HasPrefix(p.Local(), "vip") {
					return "route:vip"
				}
				return p.Domain()
			}
			r.hop.script = func(_ context.Context, task relay.Task) relay.Result {
				if task.Destination == "dest.test" && task.Attempt == 1 {
					return all(task, first)
				}
				return all(task, relayed)
			}
			id := r.store.accept(mail("", "a@dest.test", "vip1@dest.test", "vip2@dest.test", "vip3@other.test"))
			pass(time.Hour)
			sent := map[string]int{}
			for _, try := range r.hop.tries {
				sent[try.dest] += len(try.task.Recipients)
			}
			if want := 1; first == greylist {
				want++
				if sent["dest.test"] != want {
					t.Errorf("dest.test got %d, want %d", sent["dest.test"], want)
				}
			}
			if sent["route:vip"] != 3 || r.ledger.count(relay.EventRelayed) != 4 || r.store.queued() != 0 {
				t.Errorf("sent %v, relayed %d, left %d", sent, r.ledger.count(relay.EventRelayed), r.store.queued())
			}
			if st := r.d.Where(id); len(st) != 0 {
				t.Errorf("still scheduled: %+v", st)
			}
		})
	}
}

func TestDueTimesFromAClockThatRanAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{}, func(r *rig) {
			m := mail("", "old@dest.test")
			e := r.store.enqueue(m)
			r.store.jobs[jobKey{m.ID, e[0].Job}].Attempts = 2
			r.store.jobs[jobKey{m.ID, e[0].Job}].Due = time.Now().Add(365 * 24 * time.Hour)
			fresh := mail("", "new@dest.test")
			fresh.Arrival = time.Now().Add(365 * 24 * time.Hour)
			r.store.enqueue(fresh)
		})
		if n := len(r.hop.attempts("")); n != 1 {
			t.Errorf("%d attempts at once, want the one of the fresh message", n)
		}
		pass(2*time.Hour + 12*time.Minute)
		if n := len(r.hop.attempts("")); n != 2 {
			t.Errorf("%d attempts within the longest step, want both", n)
		}
	})
}

func TestStopGivesGraceThenCallsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := begin(t, delivery.Config{Grace: 5 * time.Second})
		r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
			switch task.Destination {
			case "quick.test":
				slow(ctx, 2*time.Second)
				return all(task, relayed)
			case "dot.test":
				slow(ctx, time.Hour)
				return all(task, noAnswer)
			}
			slow(ctx, time.Hour)
			return all(task, noConnect)
		}
		quick := r.store.accept(mail("", "a@quick.test"))
		stuck := r.store.accept(mail("", "a@stuck.test"))
		dot := r.store.accept(mail("", "a@dot.test"))
		synctest.Wait()
		began := time.Now()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("the stop took %v, want the grace of 5s", took)
		}
		if k := r.ledger.kinds(quick); len(k) != 2 || k[1] != relay.EventRelayed {
			t.Errorf("what ended in time: %v", k)
		}
		if k := r.ledger.kinds(stuck); len(k) != 0 {
			t.Errorf("what was called off is parked, not counted: %v", k)
		}
		if k := r.ledger.kinds(dot); len(k) != 2 || k[1] != relay.EventDelayed {
			t.Errorf("an unknown outcome is settled in any case: %v", k)
		}
		r.store.accept(mail("", "a@after.test"))
		synctest.Wait()
		if n := len(r.hop.attempts("after.test")); n != 0 {
			t.Error("an attempt began after the stop")
		}
		if n := r.store.queued(); n != 3 {
			t.Errorf("%d left, want 3", n)
		}
	})
}

// A stop cuts off an attempt for a message whose time is up, after one of its
// recipients got an answer: the others were not refused by anybody, and do not
// expire for it.
func TestStopExpiresNothing(t *testing.T) {
	for _, first := range []relay.Reply{relayed, noUser} {
		synctest.Test(t, func(t *testing.T) {
			r := begin(t, delivery.Config{Grace: 5 * time.Second, MaxAge: 24 * time.Hour})
			r.hop.script = func(ctx context.Context, task relay.Task) relay.Result {
				slow(ctx, time.Hour)
				res := all(task, noConnect)
				res.Replies[0] = first
				return res
			}
			m := mail("", "a@dest.test", "b@dest.test", "c@dest.test")
			m.Arrival = time.Now().Add(-25 * time.Hour)
			id := r.store.accept(m)
			synctest.Wait()
			if err := r.stop(); err != nil {
				t.Fatal(err)
			}
			if n := r.ledger.count(relay.EventExpired); n != 0 {
				t.Errorf("%d recipients expired: %v", n, r.ledger.kinds(id))
			}
			if d := r.store.jobs[jobKey{id, 0}]; d == nil || !slices.Equal(d.Recipients(), []int{1, 2}) {
				t.Errorf("left %+v, want the recipients without an answer", d)
			}
		})
	}
}

func TestATransportThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, release := newStore(t), make(chan struct{})
		hop := &nextHop{script: func(_ context.Context, task relay.Task) relay.Result {
			<-release
			return all(task, noConnect)
		}}
		d := delivery.New(delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Hostname: "relay.example.org"}}, Grace: time.Second}, s, hop, nil)
		ctx, cancel := context.WithCancel(context.Background())
		result := make(chan error, 1)
		go func() { result <- d.Run(ctx) }()
		synctest.Wait()
		s.accept(mail("", "a@dest.test"))
		synctest.Wait()
		began := time.Now()
		cancel()
		if err := <-result; err == nil || !strings.Contains(err.Error(), "1 attempts did not end") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
		close(release)
		synctest.Wait()
		if s.queued() != 1 {
			t.Error("it is not in the queue any more")
		}
	})
}
