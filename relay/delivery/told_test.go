package delivery_test

import (
	"context"
	"encoding/json"
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

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
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

// Recipients that end in one settlement share a notice; others get their own, at
// once, and no notice waits for another.
func TestWhoSharesANotice(t *testing.T) {
	unread := func(r *rig, id relay.QueueID) { r.store.unread[id] = relay.ErrContentLost }
	for _, c := range []struct {
		name    string
		from    string // "sender@example.org" when empty
		cfg     delivery.Config
		hops    map[string]at
		to      []string
		notify  relay.Notify
		prepare func(*rig, relay.QueueID)
		want    []letter
	}{
		{name: "one destination", to: []string{"a@one.test", "b@one.test"}, want: []letter{{0, []string{"a@one.test", "b@one.test"}}}},
		{name: "two destinations", to: []string{"a@one.test", "b@two.test", "c@two.test"}, hops: map[string]at{"one.test": {3 * time.Second, noUser}},
			want: []letter{{0, []string{"b@two.test", "c@two.test"}}, {3 * time.Second, []string{"a@one.test"}}}},
		{name: "success and failure", notify: relay.NotifySuccess | relay.NotifyFailure, to: []string{"a@one.test", "b@two.test"},
			hops: map[string]at{"one.test": {time.Second, relayed}},
			want: []letter{{0, []string{"b@two.test"}}, {time.Second, []string{"a@one.test"}}}},
		{name: "double bounces", from: "-", cfg: delivery.Config{Notices: notices.Config{Bounce: bounce.Config{Postmaster: path("postmaster@example.org")}}}, to: []string{"a@one.test", "b@one.test"},
			want: []letter{{0, []string{"a@one.test", "b@one.test"}}}},
		{name: "damaged content", to: []string{"a@one.test", "b@one.test"}, prepare: unread, want: []letter{{0, []string{"a@one.test", "b@one.test"}}}},
		{name: "too many notices", cfg: delivery.Config{Notices: notices.Config{Limit: 1}}, to: []string{"a@one.test", "b@two.test"},
			hops:    map[string]at{"one.test": {3 * time.Second, noUser}},
			prepare: func(r *rig, _ relay.QueueID) { r.store.accept(mail("sender@example.org", "first@zero.test")) },
			want:    []letter{{0, []string{"first@zero.test"}}, {time.Hour, []string{"a@one.test", "b@two.test"}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				box := mailbox{began: time.Now()}
				r := begin(t, c.cfg, func(r *rig) { r.hop.script = box.script(answers(c.hops)) })
				if c.from == "" {
					c.from = "sender@example.org"
				}
				m := mail(strings.TrimPrefix(c.from, "-"), c.to...)
				for i := range m.Recipients {
					m.Recipients[i].Notify = c.notify
				}
				m.ID = r.store.NextID()
				if c.prepare != nil {
					c.prepare(r, m.ID)
					synctest.Wait()
				}
				r.store.accept(m)
				pass(2 * time.Hour)
				slices.SortStableFunc(box.letters, func(a, b letter) int { return int(a.after - b.after) })
				if !slices.EqualFunc(box.letters, c.want, func(a, b letter) bool { return a.after == b.after && slices.Equal(a.of, b.of) }) {
					t.Errorf("notices %v, want %v", box.letters, c.want)
				}
			})
		})
	}
}

// A message with very many failing destinations is told of in bounded lists.
func TestVeryManyFailuresAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var box mailbox
		r := begin(t, delivery.Config{Notices: notices.Config{Limit: 10}}, func(r *rig) { r.hop.script = box.script(answers(nil)) })
		m := mail("sender@example.org")
		const n = 2500
		for i := range n {
			to := relay.Recipient{Path: path(fmt.Sprintf("r@dest%d.test", i))}
			if i >= 1500 { // in one settlement
				to.Path = path(fmt.Sprintf("r%d@many.test", i))
			}
			m.Recipients = append(m.Recipients, to)
		}
		r.store.accept(m)
		pass(2 * time.Hour)
		seen := map[string]int{}
		for _, l := range box.letters {
			for _, to := range l.of {
				seen[to]++
			}
			if len(l.of) > 1000 {
				t.Errorf("a notice tells of %d", len(l.of))
			}
		}
		if len(box.letters) < 12 || len(box.letters) > 15 {
			t.Errorf("%d notices", len(box.letters))
		}
		if len(seen) != n || slices.Max(slices.Collect(values(seen))) != 1 || r.store.queued() != 0 || r.store.waiting() != 0 {
			t.Errorf("%d recipients are told of, %d are queued, %d rows", len(seen), r.store.queued(), r.store.waiting())
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
// is told in exactly one notice, or row of a list to come, that the store holds or
// that has gone out.
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
					if len(st.Notices)+len(st.Rows) > 0 && luck.IntN(4) < int(fails.Load()) {
						return errDisk
					}
					return nil
				}
			}
			limit := luck.IntN(4)
			r := begin(t, delivery.Config{Schedule: schedule.Config{Attempts: 1 + luck.IntN(6)}, Grace: time.Second, Notices: notices.Config{Limit: limit, Span: time.Duration(1+luck.IntN(90)) * time.Second}}, prepare)
			id := s.accept(m)
			pass(stopAfter)
			if luck.IntN(3) == 0 {
				if err := r.d.Act(t.Context(), id, relay.VerbBounce); err != nil && !errors.Is(err, relay.ErrNotFound) && !errors.Is(err, relay.ErrPending) && !errors.Is(err, errDisk) {
					t.Errorf("seed %d: %v", seed, err)
				}
			}
			if luck.IntN(2) == 0 { // a restart
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				fails.Store(0)
				r = begin(t, delivery.Config{Notices: notices.Config{Limit: limit}}, prepare)
			}
			fails.Store(0)
			pass(time.Hour)
			if err := r.d.Act(t.Context(), id, relay.VerbBounce); err != nil && !errors.Is(err, relay.ErrNotFound) {
				t.Errorf("seed %d: %v", seed, err)
			}
			pass(2 * time.Hour)
			if s.queued() != 0 || s.waiting() != 0 {
				t.Errorf("seed %d: %d are queued, %d rows", seed, s.queued(), s.waiting())
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
			case st.ID == m.ID && (o.Action == relay.ActionFailed || o.Action == relay.ActionExpired):
				failed[m.Recipients[o.Recipient].Path.String()] = true
			case !st.ID.IsZero() && s.msgs[st.ID].Notice && o.Action == relay.ActionRelayed:
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
	for _, data := range s.rows {
		var row struct{ Status string }
		if err := json.Unmarshal(data, &row); err != nil {
			return err
		}
		for _, to := range toldOf([]byte(row.Status)) {
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
