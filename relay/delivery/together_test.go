package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"
)

// dice are luck that several goroutines share.
type dice struct {
	mu   sync.Mutex
	luck *rand.Rand
}

func newDice(seed uint64) *dice { return &dice{luck: rand.New(rand.NewPCG(seed, 1))} }

func (d *dice) Int64N(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.luck.Int64N(n)
}

func (d *dice) IntN(n int) int { return int(d.Int64N(int64(n))) }

// letter is a notice that reached somebody.
type letter struct {
	after time.Duration // since the message was accepted
	of    []string      // the recipients that it tells of
}

// mailbox is a transport script that takes notices, and gives everything else
// to another one.
type mailbox struct {
	began   time.Time
	mu      sync.Mutex
	letters []letter
}

func (b *mailbox) script(rest func(context.Context, relay.Task) relay.Result) func(context.Context, relay.Task) relay.Result {
	return func(ctx context.Context, task relay.Task) relay.Result {
		if !task.Message.Notice {
			return rest(ctx, task)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		content := make([]byte, task.Content.Size())
		task.Content.ReadAt(content, 0)
		b.letters = append(b.letters, letter{time.Since(b.began).Round(time.Millisecond), toldOf(content)})
		return all(task, relayed)
	}
}

// toldOf are the recipients that a notice tells of.
func toldOf(notice []byte) (all []string) {
	for _, v := range fieldsOf(notice, "Final-Recipient") {
		all = append(all, strings.TrimPrefix(v, "rfc822; "))
	}
	slices.Sort(all)
	return all
}

// at is a next hop that answers after a time.
type at struct {
	after time.Duration
	reply relay.Reply
}

func answers(by map[string]at) func(context.Context, relay.Task) relay.Result {
	return func(ctx context.Context, task relay.Task) relay.Result {
		a, ok := by[task.Destination]
		if !ok {
			a.reply = noUser
		}
		select {
		case <-time.After(a.after):
			return all(task, a.reply)
		case <-ctx.Done():
			return all(task, noConnect)
		}
	}
}

// Recipients of a message that fail together, at several destinations, share a
// notice; no notice waits for longer than half a minute, or for what will not
// tell anything.
func TestRecipientsThatFailTogetherShareANotice(t *testing.T) {
	unread := func(r *rig, id relay.QueueID) { r.store.unread[id] = relay.ErrContentLost }
	for _, c := range []struct {
		name    string
		from    string // "sender@example.org" when empty
		cfg     delivery.Config
		hops    map[string]at
		to      []string
		notify  relay.Notify
		budget  time.Duration // for so long nothing may go to one.test
		prepare func(*rig, relay.QueueID)
		want    []letter
	}{
		{name: "at once", to: []string{"a@one.test", "b@two.test", "c@three.test"}, want: []letter{{0, []string{"a@one.test", "b@two.test", "c@three.test"}}}},
		{name: "within seconds", to: []string{"a@one.test", "b@two.test"}, hops: map[string]at{"one.test": {3 * time.Second, noUser}},
			want: []letter{{3 * time.Second, []string{"a@one.test", "b@two.test"}}}},
		{name: "the other one is taken", to: []string{"a@one.test", "b@two.test"}, hops: map[string]at{"one.test": {3 * time.Second, relayed}},
			want: []letter{{3 * time.Second, []string{"b@two.test"}}}},
		{name: "the other one is put off", to: []string{"a@one.test", "b@two.test"}, hops: map[string]at{"one.test": {3 * time.Second, greylist}},
			want: []letter{{3 * time.Second, []string{"b@two.test"}}}},
		{name: "the other one takes long", to: []string{"a@one.test", "b@two.test", "c@three.test"},
			hops: map[string]at{"one.test": {40 * time.Second, noUser}, "three.test": {10 * time.Second, noUser}},
			want: []letter{{30 * time.Second, []string{"b@two.test", "c@three.test"}}, {40 * time.Second, []string{"a@one.test"}}}},
		{name: "two pairs", to: []string{"a@one.test", "b@two.test", "c@three.test", "d@four.test", "e@five.test"},
			hops: map[string]at{"one.test": {50 * time.Second, noUser}, "three.test": {51 * time.Second, noUser}, "five.test": {99 * time.Second, relayed}},
			want: []letter{{30 * time.Second, []string{"b@two.test", "d@four.test"}}, {80 * time.Second, []string{"a@one.test", "c@three.test"}}}},
		{name: "the other one's turn does not come", to: []string{"a@one.test", "b@two.test"},
			budget: time.Hour, want: []letter{{30 * time.Second, []string{"b@two.test"}}, {time.Hour, []string{"a@one.test"}}}},
		{name: "success that was asked for", notify: relay.NotifySuccess, to: []string{"a@one.test", "b@two.test"},
			hops: map[string]at{"one.test": {0, relayed}, "two.test": {time.Second, relayed}},
			want: []letter{{time.Second, []string{"a@one.test", "b@two.test"}}}},
		{name: "success and failure", notify: relay.NotifySuccess | relay.NotifyFailure, to: []string{"a@one.test", "b@two.test", "c@three.test"},
			hops: map[string]at{"one.test": {time.Second, relayed}},
			want: []letter{{time.Second, []string{"a@one.test"}}, {time.Second, []string{"b@two.test", "c@three.test"}}}},
		{name: "double bounces", from: "-", cfg: delivery.Config{Postmaster: path("postmaster@example.org")}, to: []string{"a@one.test", "b@two.test"},
			want: []letter{{0, []string{"a@one.test", "b@two.test"}}}},
		{name: "damaged content", to: []string{"a@one.test", "b@two.test"}, prepare: unread, want: []letter{{0, []string{"a@one.test", "b@two.test"}}}},
		{name: "held back for a digest", cfg: delivery.Config{NoticeLimit: 1}, to: []string{"a@one.test", "b@two.test"},
			prepare: func(r *rig, _ relay.QueueID) { r.store.accept(mail("sender@example.org", "first@zero.test")) },
			want:    []letter{{0, []string{"first@zero.test"}}, {time.Hour, []string{"a@one.test", "b@two.test"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := mailbox{began: time.Now()}
				c.cfg.Limits.Reserve = func(dest string) (again time.Time) {
					if dest == "one.test" && time.Since(box.began) < c.budget {
						again = box.began.Add(c.budget)
					}
					return again
				}
				r := begin(t, c.cfg, func(r *rig) { r.hop.script = box.script(answers(c.hops)) })
				if c.from == "" {
					c.from = "sender@example.org"
				}
				m := mail(strings.TrimPrefix(c.from, "-"), c.to...)
				for i := range m.Recipients {
					m.Recipients[i].Notify = c.notify
				}
				r.store.mu.Lock()
				m.ID = r.store.nextID()
				r.store.mu.Unlock()
				if c.prepare != nil {
					c.prepare(r, m.ID)
					synctest.Wait()
				}
				r.store.accept(m)
				pass(2 * time.Hour)
				slices.SortStableFunc(box.letters, func(a, b letter) int {
					return int(a.after-b.after) + strings.Compare(a.of[0], b.of[0])
				})
				if !slices.EqualFunc(box.letters, c.want, func(a, b letter) bool { return a.after == b.after && slices.Equal(a.of, b.of) }) {
					t.Errorf("notices %v, want %v", box.letters, c.want)
				}
				if n := r.d.Joints(); n != 0 {
					t.Errorf("%d messages are remembered whose notices have gone", n)
				}
			})
		})
	}
}

// What replaces a notice is told of, and so is the end of the notice.
func TestAReplacedNoticeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box mailbox
		r := begin(t, delivery.Config{}, func(r *rig) { r.hop.script = box.script(answers(map[string]at{"two.test": {time.Second, noUser}})) })
		id := r.store.accept(mail("sender@example.org", "a@one.test", "b@two.test"))
		pass(time.Minute)
		var told []relay.Event
		for _, e := range r.ledger.events {
			if e.Kind == relay.EventNotified || e.Kind == relay.EventDeleted {
				told = append(told, e)
			}
		}
		if len(told) != 3 || told[0].Count != 1 || told[1].Kind != relay.EventDeleted || told[1].ID != told[0].NoticeID || told[1].Destination != "example.org" ||
			told[1].Reply.Text != "listed in the notice "+told[2].NoticeID.String() || told[2].Count != 2 || told[2].ID != id ||
			told[2].Rule != "in the place of "+told[0].NoticeID.String()+", with its recipients" {
			t.Errorf("%+v", told)
		}
	})
}

// An operator's bounce of a message with several destinations is one notice,
// also where some of them are being attempted.
func TestOperatorsBounceIsOneNotice(t *testing.T) {
	for name, script := range map[string]map[string]at{
		"all wait":               {"one.test": {0, greylist}, "two.test": {0, greylist}, "three.test": {0, greylist}},
		"picked one by one":      {"one.test": {0, greylist}, "two.test": {0, greylist}, "three.test": {0, greylist}},
		"one is being attempted": {"one.test": {0, greylist}, "two.test": {5 * time.Minute, greylist}, "three.test": {0, greylist}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := mailbox{began: time.Now()}
				r := begin(t, delivery.Config{Retry: []time.Duration{time.Hour}}, func(r *rig) { r.hop.script = box.script(answers(script)) })
				id := r.store.accept(mail("sender@example.org", "a@one.test", "b@two.test", "c@three.test"))
				synctest.Wait()
				if name == "picked one by one" {
					done := r.d.Together(id)
					for job := range uint16(3) {
						if err := r.d.ActOn(t.Context(), id, job, []int{int(job)}, delivery.VerbBounce); err != nil {
							t.Fatal(err)
						}
					}
					done()
				} else if err := r.d.Act(t.Context(), id, delivery.VerbBounce); err != nil {
					t.Fatal(err)
				}
				pass(time.Minute)
				var all []string
				for _, l := range box.letters {
					all = append(all, l.of...)
				}
				slices.Sort(all)
				if name != "one is being attempted" && len(box.letters) != 1 || len(box.letters) > 2 || !slices.Equal(all, []string{"a@one.test", "b@two.test", "c@three.test"}) {
					t.Errorf("notices %v", box.letters)
				}
				if r.store.queued() != 0 || r.d.Joints() != 0 {
					t.Errorf("%d are queued, %d remembered", r.store.queued(), r.d.Joints())
				}
			})
		})
	}
}

// When the time of a message is up, the last attempts for all its destinations
// are made together, and end in one notice.
func TestDestinationsExpireTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := mailbox{began: time.Now()}
		luck := newDice(3)
		r := begin(t, delivery.Config{Rand: luck.Int64N}, func(r *rig) {
			r.hop.script = box.script(func(_ context.Context, task relay.Task) relay.Result {
				if task.Destination == "three.test" {
					return all(task, relayed)
				}
				return all(task, noConnect)
			})
		})
		r.store.accept(mail("sender@example.org", "a@one.test", "b@two.test", "c@three.test", "d@four.test"))
		pass(5*24*time.Hour + 3*time.Hour)
		if len(box.letters) != 1 || len(box.letters[0].of) != 3 || box.letters[0].after < 5*24*time.Hour {
			t.Errorf("notices %v", box.letters)
		}
		if n := r.ledger.count(relay.EventExpired); n != 3 {
			t.Errorf("%d recipients expired", n)
		}
	})
}

// A message with very many failing destinations is told of in bounded notices.
func TestVeryManyFailuresAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box mailbox
		r := begin(t, delivery.Config{}, func(r *rig) { r.hop.script = box.script(answers(nil)) })
		m := mail("sender@example.org")
		const n = 1000
		for i := range n {
			m.Recipients = append(m.Recipients, relay.Recipient{Path: path(fmt.Sprintf("r@dest%d.test", i))})
		}
		r.store.accept(m)
		pass(time.Minute)
		seen := map[string]int{}
		for _, l := range box.letters {
			for _, to := range l.of {
				seen[to]++
			}
			if len(l.of) > 100 {
				t.Errorf("a notice tells of %d", len(l.of))
			}
		}
		t.Logf("%d notices", len(box.letters))
		if len(seen) != n || slices.Max(slices.Collect(values(seen))) != 1 || r.store.queued() != 0 {
			t.Errorf("%d recipients are told of, %d are queued", len(seen), r.store.queued())
		}
	})
}

func values(m map[string]int) func(func(int) bool) {
	return func(yield func(int) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// Whatever happens, and wherever it is cut off: what the store holds as failed
// is told in exactly one notice that the store holds or that has gone out.
func TestNoNoticeIsLostOrRepeated(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			luck := newDice(seed)
			hops := map[string]at{}
			m := mail("sender@example.org")
			for i := range 1 + luck.IntN(6) {
				dest := fmt.Sprintf("d%d.test", i)
				for j := range 1 + luck.IntN(2) {
					m.Recipients = append(m.Recipients, relay.Recipient{Path: path(fmt.Sprintf("r%d@%s", j, dest))})
				}
				hops[dest] = at{time.Duration(luck.IntN(5)*luck.IntN(15)) * time.Second, []relay.Reply{noUser, noUser, noUser, relayed, greylist}[luck.IntN(5)]}
			}
			var fails atomic.Int32 // of four commits with a notice
			fails.Store(int32(luck.IntN(4)))
			stopAfter := time.Duration(luck.IntN(80)) * time.Second
			var s *store
			check := func() {
				if err := s.tellsOnce(m); err != nil {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			prepare := func(r *rig) {
				if s != nil {
					watch := r.store.watch
					r.store = s
					s.watch = watch
				}
				s = r.store
				r.hop.script = new(mailbox).script(answers(hops))
				s.committed = check
				s.refuse = func(st relay.Settlement) error {
					if len(st.Notices) > 0 && luck.IntN(4) < int(fails.Load()) {
						return errDisk
					}
					return nil
				}
			}
			r := begin(t, delivery.Config{MaxConnections: 1 + luck.IntN(6), Grace: time.Second}, prepare)
			id := s.accept(m)
			pass(stopAfter)
			if luck.IntN(3) == 0 {
				if err := r.d.Act(t.Context(), id, delivery.VerbBounce); err != nil && !errors.Is(err, relay.ErrNotFound) && !errors.Is(err, errDisk) {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			if luck.IntN(2) == 0 { // a restart
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				fails.Store(0)
				r = begin(t, delivery.Config{}, prepare)
			}
			fails.Store(0)
			pass(time.Hour)
			if err := r.d.Act(t.Context(), id, delivery.VerbBounce); err != nil && !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("seed %d: %v", seed, err)
			}
			pass(time.Hour)
			if s.queued() != 0 || r.d.Joints() != 0 {
				t.Errorf("seed %d: %d are queued, %d remembered", seed, s.queued(), r.d.Joints())
			}
		})
	}
}

// tellsOnce says whether each failed recipient of m stands in exactly one
// notice that waits or was handed on.
func (s *store) tellsOnce(m *relay.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	failed, sent := map[string]bool{}, map[relay.QueueID]bool{}
	notices := map[relay.QueueID][]byte{}
	for _, st := range s.settled {
		for _, o := range st.Outcomes {
			switch {
			case st.ID == m.ID && o.Action == relay.ActionFailed:
				failed[m.Recipients[o.Recipient].Path.String()] = true
			case s.msgs[st.ID].Notice && o.Action == relay.ActionRelayed:
				sent[st.ID] = true
			}
		}
		for _, n := range st.Notices {
			notices[n.Message.ID] = n.Content
		}
	}
	times := map[string]int{}
	for id, content := range notices {
		if s.jobs[jobKey{id, 0}] == nil && !sent[id] {
			continue
		}
		for _, to := range toldOf(content) {
			times[to]++
		}
	}
	for to := range failed {
		if times[to] != 1 {
			return fmt.Errorf("%s has failed and stands in %d notices", to, times[to])
		}
	}
	if len(times) != len(failed) {
		return fmt.Errorf("notices tell of %v; %v have failed", times, failed)
	}
	return nil
}
